"""Faults that need more than one request to show: each function tells one, asserts it and returns what was seen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tests import anthropic_provider as anthropic
from tests.e2e.serving import BOUND_S
from tests.faults.running import BACKUP_TEXT, LETTERS, UPSTREAM, Backend, Faulty, Mode
from tests.provider import Reply

Tell = Callable[[Faulty, Backend, Mode], Awaitable[str]]
WHATS = ("down", "learnt", "cold", "limited", "endless", "late", "left")
NAMES = (
    "plain",
    "spaced",
    *(f"{what}-{mode}" for what in WHATS for mode in ("stream", "whole")),
)
COLD_SAMPLES = 50
AT_ONCE = 12
ENDLESS_BYTES = 8 << 20
BACKENDS: tuple[Backend, ...] = ("openai", "litellm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """`tell` in one backend's words."""

    name: str
    tell: Tell
    backend: Backend
    modes: tuple[Mode, ...] = ("stream", "whole")


async def warm_up(faulty: Faulty) -> None:
    """Let LiteLLM load a provider's code, which it does on its first calls and may take longer than we wait here."""
    faulty.reset()
    for stream in (True, False):
        async with asyncio.timeout(BOUND_S):
            while (await faulty.chat("a-plain", stream=stream)).text == BACKUP_TEXT:
                pass


def always(faulty: Faulty, backend: Backend, model: str, openai: Reply, litellm: anthropic.Reply) -> None:
    """Give the reply in the backend's own shape."""
    if backend == "openai":
        faulty.openai.always(model, openai)
    else:
        faulty.anthropic.always(model, litellm)


async def nobody_listens(faulty: Faulty, backend: Backend, mode: Mode) -> str:
    """Nobody listening is tried twice, and then the fallback answers."""
    got = await faulty.chat(f"{LETTERS[backend]}-refused", stream=mode == "stream")
    assert (got.is_complete, got.text) == (True, BACKUP_TEXT)
    assert (got.headers["x-foreword-attempts"], got.headers["x-foreword-model"]) == ("3", "o-backup")
    assert faulty.counts == {"up-backup": 1}
    return "fallback's answer after 2 refused connections"


async def nobody_accepts(faulty: Faulty, backend: Backend, mode: Mode) -> str:
    """A connection that does not come about in time is not tried again: the fallback answers, else a 504."""
    group = f"{LETTERS[backend]}-unreachable"
    got = await faulty.chat(group, stream=mode == "stream")
    assert (got.is_complete, got.text) == (True, BACKUP_TEXT)
    assert (got.headers["x-foreword-attempts"], got.headers["x-foreword-model"]) == ("2", "o-backup")
    alone = await faulty.chat(group, stream=mode == "stream", route="alone")
    assert (alone.status, alone.error["code"], alone.error["source"]) == (504, "provider_unreachable", "gateway")
    assert faulty.counts == {"up-backup": 1}
    return "fallback's answer after 1 attempt; without a fallback 504 provider_unreachable"


async def told_to_wait(faulty: Faulty, backend: Backend, mode: Mode) -> str:
    """A Retry-After that nothing can wait for is passed on."""
    model, group = f"{UPSTREAM[backend]}-limited-{mode}", f"{LETTERS[backend]}-limited-{mode}"
    error = {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down"}}
    later = {"Retry-After": "30"}
    refusal = anthropic.Reply(status=429, error=error, headers=later)
    always(faulty, backend, model, Reply(status=429, headers=later), refusal)
    got = await faulty.chat(group, stream=mode == "stream", route="alone")
    assert (got.status, got.headers["Retry-After"]) == (429, "30")
    again = await faulty.chat(group, stream=mode == "stream", route="alone")
    assert (again.status, len(faulty.asked(model))) == (429, 1)
    return "429 with Retry-After: 30; the next request too, without a call"


async def deadline_passes(faulty: Faulty, backend: Backend, mode: Mode) -> str:
    """A caller's own deadline ends the request before any other limit does, and the provider is hung up on."""
    model, group = f"{UPSTREAM[backend]}-late-{mode}", f"{LETTERS[backend]}-late-{mode}"
    always(faulty, backend, model, Reply(fault="silent"), anthropic.Reply(silent=True))
    got = await faulty.chat(group, stream=mode == "stream", deadline_s=0.6)  # less than CAP_S
    assert (got.status, got.error["code"], got.error["source"]) == (504, "deadline_exceeded", "gateway")
    async with asyncio.timeout(BOUND_S):
        await faulty.asked(model)[0].hung_up.wait()
    assert faulty.counts == {model: 1}
    return "504 deadline_exceeded, 1 call, dropped"


async def client_leaves(faulty: Faulty, backend: Backend, mode: Mode) -> str:
    """A client that leaves takes the provider's connection with it, at once."""
    model, group = f"{UPSTREAM[backend]}-left-{mode}", f"{LETTERS[backend]}-left-{mode}"
    request_id, loop = f"left-{backend}-{mode}", asyncio.get_running_loop()
    if mode == "stream":  # its words come too often for the gap's limit, and for ever
        content = ({"type": "text", "text": "more"},)
        unending = anthropic.Reply(content=content, is_endless=True, drip_s=0.02)
        always(faulty, backend, model, Reply(fault="endless", piece_bytes=4096, drip_s=0.02), unending)
    else:
        always(faulty, backend, model, Reply(fault="silent"), anthropic.Reply(silent=True))
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(BOUND_S):
        begun = asyncio.Event()
        leaving = tasks.create_task(ask_for_ever(faulty, group, mode, request_id, begun))
        while not faulty.asked(model):  # noqa: ASYNC110 - a few turns of the loop
            await asyncio.sleep(0)
        if mode == "stream":
            await begun.wait()
        leaving.cancel()
        left_s = loop.time()
        await faulty.asked(model)[0].hung_up.wait()
        took_ms = 1000 * (loop.time() - left_s)
        while not (said := await asyncio.to_thread(said_of, faulty, request_id)):  # noqa: ASYNC110 - another process's log
            await asyncio.sleep(0.01)
    assert (said["result"], said["status"]) == ("cancelled", 499)
    return f"provider dropped {took_ms:.1f} ms after the client had left; one access line, cancelled"


async def ask_for_ever(faulty: Faulty, group: str, mode: Mode, request_id: str, begun: asyncio.Event) -> None:
    async with faulty.ask(group, stream=mode == "stream", headers={"x-request-id": request_id}) as answer:
        await answer.content.readany()
        begun.set()
        await asyncio.Event().wait()


def said_of(faulty: Faulty, request_id: str) -> dict[str, object]:
    """Return the access line of a request, {} while there is none; blocks."""
    with_id = [line for line in faulty.served.logged().splitlines() if request_id in line and line.endswith("}")]
    found: dict[str, object] = json.loads(with_id[0]) if with_id else {}
    return found


async def usage_without_done(faulty: Faulty, backend: Backend, mode: Mode) -> str:
    """Usage is told where the provider left [DONE] out."""
    faulty.openai.always("up-plain", Reply(done=False))
    got = await faulty.chat("o-plain", stream=True, stream_options={"include_usage": True})
    assert got.documents[-1]["usage"]["completion_tokens"] == 4
    return "complete, [DONE] added, usage told"


async def down_and_up_again(faulty: Faulty, backend: Backend, mode: Mode) -> str:
    """Down for a while: the breaker opens, the fallback serves, one probe at a time; then the primary serves again."""
    model, group = f"{UPSTREAM[backend]}-down-{mode}", f"{LETTERS[backend]}-down-{mode}"
    error = {"type": "error", "error": {"type": "api_error", "message": "down"}}
    always(faulty, backend, model, Reply(status=500), anthropic.Reply(status=500, error=error))
    served = 0

    async def asked_meanwhile() -> bool:
        """Whether the primary was asked for one more request; the fallback must have answered it."""
        nonlocal served
        before = len(faulty.asked(model))
        got = await faulty.chat(group, stream=mode == "stream")
        served += 1
        assert (got.is_complete, got.text) == (True, BACKUP_TEXT)
        return len(faulty.asked(model)) > before

    while await asked_meanwhile():
        assert served < 10
    opened_after = len(faulty.asked(model))
    assert opened_after == 5  # failures in a row
    silent = anthropic.Reply(silent=True)
    always(faulty, backend, model, Reply(fault="silent"), silent)
    for probes in range(1, 4):
        async with asyncio.timeout(BOUND_S):
            while len(faulty.asked(model)) == opened_after + probes - 1:
                async with asyncio.TaskGroup() as together:
                    for _ in range(AT_ONCE):
                        together.create_task(asked_meanwhile())
        assert len(faulty.asked(model)) == opened_after + probes  # one of them is the probe
    always(faulty, backend, model, Reply(), anthropic.Reply())
    well_s = asyncio.get_running_loop().time()
    async with asyncio.timeout(30):  # reliability.md's bound
        while not await is_answered(faulty, group, mode):
            served += 1
    used_s = asyncio.get_running_loop().time() - well_s
    assert all([await is_answered(faulty, group, mode) for _ in range(AT_ONCE)])
    return f"open after 5 failures; {served} served by the fallback, 3 probes; used again after {used_s:.1f} s"


async def is_answered(faulty: Faulty, group: str, mode: Mode) -> bool:
    """Whether the model itself answers a request; its fallback may."""
    got = await faulty.chat(group, stream=mode == "stream")
    assert got.is_complete
    return got.text != BACKUP_TEXT


async def learnt_limit(faulty: Faulty, backend: Backend, mode: Mode) -> str:
    """How long a silent model is waited for follows from what it took lately."""
    model, group = f"{UPSTREAM[backend]}-learnt-{mode}", f"{LETTERS[backend]}-learnt-{mode}"

    cold_model, cold_group = model.replace("learnt", "cold"), group.replace("learnt", "cold")
    for _ in range(COLD_SAMPLES):
        assert (await faulty.chat(group, stream=mode == "stream")).text not in ("", BACKUP_TEXT)
    for silent in (model, cold_model):
        always(faulty, backend, silent, Reply(fault="silent"), anthropic.Reply(silent=True))
    async with asyncio.TaskGroup() as both, asyncio.timeout(BOUND_S):
        asking = [both.create_task(faulty.chat(cold_group, stream=mode == "stream"))]
        while not faulty.asked(cold_model):  # noqa: ASYNC110 - a few turns of the loop
            await asyncio.sleep(0)
        asking.append(both.create_task(faulty.chat(group, stream=mode == "stream")))
        while len(faulty.asked(model)) == COLD_SAMPLES:  # noqa: ASYNC110 - a few turns of the loop
            await asyncio.sleep(0)
        await faulty.asked(model)[-1].hung_up.wait()
        assert not faulty.asked(cold_model)[0].hung_up.is_set()
    assert [task.result().text for task in asking] == [BACKUP_TEXT] * 2
    return f"asked later than an unknown model, given up sooner: {COLD_SAMPLES} quick answers were known of it"


async def endless(faulty: Faulty, backend: Backend, mode: Mode) -> str:
    """An endless answer is bounded: read no faster than its reader, which LiteLLM cannot, or given up."""
    model, group = f"{UPSTREAM[backend]}-endless-stream", f"{LETTERS[backend]}-endless-stream"
    piece = "x" * 16384
    content = ({"type": "text", "text": piece},)
    reply = Reply(words=(piece,) * 1024, fault="endless")
    always(faulty, backend, model, reply, anthropic.Reply(content=content, is_endless=True))
    body = {"model": group, "stream": True, "messages": [{"role": "user", "content": "on"}], "max_tokens": 100}
    size, tail, before_kib = 0, b"", await asyncio.to_thread(resident_kib, faulty)
    async with faulty.session.post(faulty.served.url + "/v1/chat/completions", json=body) as answer:
        while size < ENDLESS_BYTES and (part := await answer.content.readany()):
            size, tail = size + len(part), part
        grown_kib = await asyncio.to_thread(resident_kib, faulty) - before_kib
        answer.close()
    async with asyncio.timeout(BOUND_S):
        await faulty.asked(model)[0].hung_up.wait()
    assert grown_kib < ENDLESS_BYTES * 3 / 4 / 1024, f"grew by {grown_kib} KiB"
    told = f"{size / 2**20:.1f} MiB read, the gateway grew by {grown_kib / 1024:.1f} MiB"
    if backend == "openai":
        assert size >= ENDLESS_BYTES
        return f"{told}; provider dropped when the reader left"
    assert b'"error"' in tail
    return f"{told}; error event and provider dropped at max_answer_bytes"


def resident_kib(faulty: Faulty) -> int:
    """Return the memory that the workers hold; blocks."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in faulty.served.workers()]
    return sum(int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("VmRSS"))


STORIES = (
    *(Story(name="nobody-listens", tell=nobody_listens, backend=backend) for backend in BACKENDS),
    *(Story(name="nobody-accepts", tell=nobody_accepts, backend=backend) for backend in BACKENDS),
    *(Story(name="retry-after-passed-on", tell=told_to_wait, backend=backend) for backend in BACKENDS),
    *(Story(name="deadline-passes", tell=deadline_passes, backend=backend) for backend in BACKENDS),
    *(Story(name="client-leaves", tell=client_leaves, backend=backend) for backend in BACKENDS),
    Story(name="no-done-with-usage", tell=usage_without_done, backend="openai", modes=("stream",)),
    *(Story(name="down-and-up-again", tell=down_and_up_again, backend=backend) for backend in BACKENDS),
    *(Story(name="limit-learnt", tell=learnt_limit, backend=backend) for backend in BACKENDS),
    *(Story(name="endless-stream", tell=endless, backend=backend, modes=("stream",)) for backend in BACKENDS),
)
