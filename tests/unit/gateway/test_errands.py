from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator

import pytest

from gateway.clock import SystemClock
from gateway.errands import IDLE, MAX_IDLE
from gateway.supervisor import Supervisor, SupervisorClosed


@pytest.fixture
async def crashes() -> list[str]:
    return []


@pytest.fixture
async def supervisor(crashes: list[str]) -> AsyncIterator[Supervisor]:
    made = Supervisor(clock=SystemClock(), on_crash=lambda name, error: crashes.append(f"{name}: {error!r}"))
    yield made
    assert await made.close(1.0) == ()


async def nothing() -> None: ...


async def for_ever() -> None:
    await asyncio.Event().wait()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_jobs_one_after_the_other_share_a_task(supervisor: Supervisor) -> None:
    seen: list[object] = []

    async def note() -> None:
        seen.append(asyncio.current_task())

    for _ in range(10):
        supervisor.run_errand(note(), name="job", ended=lambda: None)
        await turns()
    assert len(seen) == 10
    assert len(set(seen)) == 1
    assert supervisor.names == (IDLE,)


async def test_a_cancelled_job_ends_and_its_task_goes_on(supervisor: Supervisor, crashes: list[str]) -> None:
    ended: list[str] = []
    for _ in range(3):
        job = supervisor.run_errand(for_ever(), name="job", ended=lambda: ended.append("job"))
        await turns()
        assert supervisor.names == ("job",)
        job.cancel()
        job.cancel()
        await turns()
    assert ended == ["job"] * 3
    assert supervisor.names == (IDLE,)
    assert crashes == []


async def test_a_job_cancelled_before_it_began_never_runs(supervisor: Supervisor) -> None:
    ended: list[str] = []
    supervisor.run_errand(nothing(), name="first", ended=lambda: None)
    await turns()
    job = supervisor.run_errand(for_ever(), name="job", ended=lambda: ended.append("job"))
    job.cancel()
    await turns()
    assert ended == ["job"]
    assert supervisor.names == (IDLE,)


async def test_a_job_that_swallows_its_cancel_leaves_no_cancel_to_the_next(supervisor: Supervisor) -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    ran: list[int] = []

    async def next_one() -> None:
        task = asyncio.current_task()
        assert task is not None
        ran.append(task.cancelling())

    job = supervisor.run_errand(stubborn(), name="job", ended=lambda: None)
    await turns()
    job.cancel()
    await turns()
    supervisor.run_errand(next_one(), name="next", ended=lambda: None)
    await turns()
    assert ran == [0]


async def test_a_crash_is_reported_and_the_task_goes_on(supervisor: Supervisor, crashes: list[str]) -> None:
    async def crash() -> None:
        raise ValueError("boom")

    ended: list[str] = []
    supervisor.run_errand(crash(), name="job", ended=lambda: ended.append("job"))
    await turns()
    assert crashes == ["job: ValueError('boom')"]
    assert ended == ["job"]
    assert supervisor.names == (IDLE,)


async def test_closing_ends_jobs_and_idle_tasks_and_takes_no_more() -> None:
    made = Supervisor(clock=SystemClock(), on_crash=lambda name, error: pytest.fail(f"{name}: {error!r}"))
    ended: list[str] = []
    made.run_errand(nothing(), name="short", ended=lambda: ended.append("short"))
    made.run_errand(for_ever(), name="long", ended=lambda: ended.append("long"))
    await turns()
    assert await made.close(1.0) == ()
    assert ended == ["short", "long"]
    with pytest.raises(SupervisorClosed):
        made.run_errand(nothing(), name="late", ended=lambda: None)


async def test_no_more_than_so_many_tasks_wait_for_work(supervisor: Supervisor) -> None:
    for _ in range(MAX_IDLE + 10):
        supervisor.run_errand(nothing(), name="job", ended=lambda: None)
    await turns()
    assert supervisor.names == (IDLE,) * MAX_IDLE


async def test_a_task_that_waits_keeps_nothing_of_its_last_job(supervisor: Supervisor) -> None:
    class Answer:
        def end(self) -> None: ...

    async def fail(_answer: Answer) -> None:
        raise asyncio.CancelledError

    answers = [Answer(), Answer()]
    kept = [weakref.ref(answer) for answer in answers]
    supervisor.run_errand(nothing(), name="good", ended=answers[0].end)
    job = supervisor.run_errand(fail(answers[1]), name="bad", ended=answers[1].end)
    job.cancel()
    del job
    answers.clear()
    await turns()
    assert supervisor.names == (IDLE, IDLE)
    assert [ref() for ref in kept] == [None, None]
