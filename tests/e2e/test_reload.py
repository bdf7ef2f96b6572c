"""SIGHUP and a killed worker under load, at the real process: whom they may cost something, and what is in force after.

One gateway serves all tests, and each leaves one that runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.e2e.serving import MODELS, POLICY, Served, request, serving, until

CLIENTS = 8
HEAVY = ("onnxruntime", "tokenizers", "onnx", "matplotlib", "torch", "pandas")
MORE = "  - {model_name: newcomer, litellm_params: {model: simulated/gpt-4o-mini}}\n"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as running:
        yield running


class Load:
    """Clients that each ask again and again on a kept connection, and what they were told."""

    def __init__(self, url: str) -> None:
        self.url = url + "/v1/chat/completions"
        self.answered = 0
        self.failed: list[str] = []
        self.is_over = False

    async def ask(self, session: aiohttp.ClientSession, client: int) -> None:
        """Ask until the load is over; every question is a new one, every other answer streamed."""
        number = 0
        while not self.is_over:
            number += 1
            content = [{"role": "user", "content": f"{client} asks {number}"}]
            body = {"model": "pretend", "stream": number % 2 == 0, "messages": content}
            try:
                async with session.post(self.url, json=body) as answer:
                    text = await answer.text()
            except (aiohttp.ClientError, OSError) as error:
                self.failed.append(repr(error))
                continue
            if answer.status == 200 and (number % 2 or text.rstrip().endswith("[DONE]")):
                self.answered += 1
            else:
                self.failed.append(f"{answer.status} {text}")


def client_of(served: Served) -> aiohttp.ClientSession:
    """Nothing is sent twice: aiohttp repeats idempotent methods only."""
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(headers={"Authorization": f"Bearer {served.key}"}, connector=connector)


async def begin(group: asyncio.TaskGroup, session: aiohttp.ClientSession, served: Served) -> Load:
    """Start the clients, and return once all are at it."""
    load = Load(served.url)
    for client in range(CLIENTS):
        group.create_task(load.ask(session, client))
    await more(load)
    return load


async def end(load: Load) -> None:
    await more(load)
    load.is_over = True


async def more(load: Load) -> None:
    """Return once some hundred more were answered."""
    enough = load.answered + 100
    await holds(lambda: load.answered >= enough, "more answers")


async def holds(check: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(until, check, what)


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def connections_of(pid: int, url: str) -> int:
    """Return how many clients of `url` the process serves now."""
    port = f":{urlsplit(url).port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(port) and row[3] == "01"}
    held = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            held += os.readlink(descriptor) in established
    return held


def serving_workers(served: Served) -> set[int]:
    """Return the pids of the workers that have said that they serve."""
    lines = [json.loads(line) for line in served.logged().splitlines() if '"process serves"' in line]
    return {line["pid"] for line in lines} & served.workers()


def models(served: Served) -> set[str]:
    listed = json.loads(request(served.url, "/v1/models", key=served.key).body)
    return {entry["id"] for entry in listed["data"]}


async def test_sighup_under_load_brings_new_models_and_policies_and_fails_no_request(served: Served) -> None:
    old = await asyncio.to_thread(served.workers)
    async with client_of(served) as session, asyncio.TaskGroup() as group:
        load = await begin(group, session, served)
        await asyncio.to_thread((served.home / "models.yaml").write_text, MODELS + MORE)
        await asyncio.to_thread(served.policy_file.write_text, POLICY.replace("ROUTE", "changed"))
        os.kill(served.pid, signal.SIGHUP)
        await holds(lambda: '"event":"reloaded"' in served.logged(), "the new workers")
        # In the middle of the load: its connections go over by themselves, long before the drain time is over.
        await holds(lambda: not old & served.workers(), "the end of the old ones")
        await end(load)
    assert load.failed == []
    assert await asyncio.to_thread(models, served) >= {"newcomer", "pretend"}
    answer = await asyncio.to_thread(served.chat, "who are you", model="newcomer")
    assert (answer.status, answer.headers["x-foreword-route"]) == (200, "changed")
    assert await asyncio.to_thread(threads, served.pid) == 1


def test_sighup_reads_the_settings_again_and_takes_another_number_of_workers(served: Served) -> None:
    def reload(text: str, workers: int) -> None:
        before = served.logged().count('"event":"reloaded"')
        served.config.write_text(text)
        os.kill(served.pid, signal.SIGHUP)
        until(lambda: served.logged().count('"event":"reloaded"') > before, "the new workers")
        until(lambda: len(serving_workers(served)) == len(served.workers()) == workers, "the right number")

    reload("max_body_bytes: 1KiB\nworkers: 1\n", workers=1)
    assert served.chat("x" * 2000, model="pretend").status == 413
    reload("workers: 2\n", workers=2)
    assert served.chat("x" * 2000, model="pretend").status == 200


async def test_a_bad_models_file_keeps_the_old_workers_and_a_dead_one_comes_back_with_the_good_one(
    served: Served,
) -> None:
    before, known = await asyncio.to_thread(served.workers), await asyncio.to_thread(models, served)
    bad = "model_list:\n  - {model_name: small}\n"
    await asyncio.to_thread((served.home / "models.yaml").write_text, bad)
    os.kill(served.pid, signal.SIGHUP)
    await holds(lambda: "not reloaded" in served.logged(), "the refusal")
    assert "models.yaml:2: model_list[0].litellm_params: missing" in await asyncio.to_thread(served.logged)
    assert await asyncio.to_thread(served.workers) == before
    for victim in before:
        os.kill(victim, signal.SIGKILL)
    await holds(lambda: len(serving_workers(served) - before) == 2, "two new workers")
    assert await asyncio.to_thread(models, served) == known


async def test_a_killed_worker_takes_only_its_own_connections_along(served: Served) -> None:
    """A connection has one question at a time, so each of them fails at most once."""
    victim = min(await asyncio.to_thread(served.workers))
    async with client_of(served) as session, asyncio.TaskGroup() as group:
        load = await begin(group, session, served)
        theirs = await asyncio.to_thread(connections_of, victim, served.url)
        os.kill(victim, signal.SIGKILL)
        await holds(lambda: len(serving_workers(served) - {victim}) == 2, "another worker")
        await end(load)
    assert 0 < theirs < CLIENTS
    assert len(load.failed) <= theirs, load.failed
    assert [failure for failure in load.failed if failure[0].isdigit()] == []  # lost ones, and no error answers


def test_workers_load_no_library_that_only_the_semantic_tier_needs(served: Served) -> None:
    """Tens of megabytes each; a library's own files are mapped into every process that has it."""
    for pid in (served.pid, *served.workers()):
        mapped = Path(f"/proc/{pid}/maps").read_text()
        assert [name for name in HEAVY if f"/{name}/" in mapped] == []
