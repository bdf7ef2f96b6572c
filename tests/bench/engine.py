"""What the attempts engine adds to a call that goes well: instructions (callgrind) and CPU, with it and without.

`make bench-engine`; "without" is what any proxy must do: send, read to the end, find usage. The backend's
answers are at hand, so that nothing but our own code is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table as Shown

from gateway.clock import SystemClock
from gateway.settings import process_environment
from policies.model import CacheRules, Plan
from router.attempts import Attempts
from router.facts import DoorLimits, read_request
from router.sse import StreamReader
from router.types import Call, ChatRequest, Deployment, Streamed, Whole
from router.usage import read_answer
from tests.bench.instructions import counts_in
from tests.bench.payloads import COUNTER, chat_answer, chat_body, events
from tests.unit.router.attempts_bench import Table

REPEATS = 200
WARM_UP = 50
ROUNDS = 15
EVENTS = 50
Go = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyBackend:
    """Gives every call the same answer, at once."""

    whole: bytes
    parts: tuple[bytes, ...]

    async def send(self, call: Call) -> Whole | Streamed:
        """Return the answer."""
        if call.stream:
            return Streamed(chunks=self._chunks(), headers={})
        return Whole(body=self.whole, headers={})

    async def close(self) -> None:
        """Do nothing."""

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        for part in self.parts:
            yield part


def request_of(*, stream: bool) -> ChatRequest:
    """Return a request of 0.4 KB."""
    before, after = chat_body(stream=stream)
    return read_request(before + COUNTER % 1 + after, dialect="chat", limits=DoorLimits())


def works() -> dict[str, tuple[Go, Go]]:
    """Return, by name, a call without the engine and the same with it."""
    backend = ReadyBackend(whole=chat_answer(), parts=events())
    table = Table("http://127.0.0.1/v1", {"a": ["a1"], "b": ["b1"]})
    attempts = Attempts(deployments=table, backends={"openai_wire": backend}, clock=SystemClock(), rng=random.Random(7))

    def pair(request: ChatRequest) -> tuple[Go, Go]:
        plan = Plan(
            policy="p",
            policy_version="v",
            route="r",
            candidates=("a", "b"),
            deadline_s=30.0,
            max_output_tokens=None,
            assemble=False,
            cache=CacheRules(),
            reason="bench",
            on_cut="resume",
            hedge=None,
        )

        async def bare() -> None:
            deployment = await table.pick("a", request)
            await read(await backend.send(call_of(request, deployment)))

        async def engine() -> None:
            async for _ in attempts.run(request, plan, traceparent=None):
                pass
            table.reports.clear()

        return bare, engine

    return {
        "whole answer": pair(request_of(stream=False)),
        f"stream of {EVENTS} events": pair(request_of(stream=True)),
    }


def call_of(request: ChatRequest, deployment: Deployment) -> Call:
    """Return the call that a proxy without plans would make."""
    return Call(request=request, deployment=deployment, stream=request.stream, max_output_tokens=None, traceparent=None)


async def read(answer: Whole | Streamed) -> None:
    """Read an answer to its end and find its usage."""
    if isinstance(answer, Whole):
        assert read_answer(answer.body, "chat").usage is not None
        return
    reader = StreamReader()
    async for chunk in answer.chunks:
        reader.feed(chunk)
    reader.end()
    assert reader.usage is not None


async def repeat(go: Go, times: int) -> None:
    """Do it so often."""
    for _ in range(times):
        await go()


def start_counting() -> None:
    """Let callgrind count from here on: the imports would take minutes."""
    subprocess.run(["callgrind_control", "--instr=on", str(os.getpid())], check=True, stdout=subprocess.DEVNULL)


async def count() -> None:
    """Run each between marks at which callgrind writes down what it has counted; see tests/bench/instructions.py."""
    made = works()
    for pair in made.values():
        for go in pair:
            await repeat(go, WARM_UP)
    start_counting()
    for pair in made.values():
        for go in pair:
            await repeat(go, WARM_UP)
            os.sched_yield()
            await repeat(go, REPEATS)
            os.sched_yield()


def instructions() -> list[int]:
    """Return instructions a call: without and with the engine, work by work. Raises RuntimeError without valgrind."""
    if shutil.which("valgrind") is None:
        raise RuntimeError("instructions are not counted: valgrind is not installed")
    with TemporaryDirectory(prefix="fw-callgrind-") as folder:
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--dump-before=sched_yield"]
        command += [f"--callgrind-out-file={folder}/out", sys.executable, "-m", "tests.bench.engine", "--count"]
        environment = {**process_environment(), "PYTHONHASHSEED": "0"}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        return [counted // REPEATS for counted in counts_in(Path(folder))[1::2]]


async def cpu_us(go: Go) -> float:
    """Return the least CPU time of a call in microseconds, over rounds."""
    await repeat(go, WARM_UP)
    least = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        await repeat(go, REPEATS)
        least = min(least, (time.process_time() - begun) / REPEATS)
    return 1e6 * least


async def rows(counted: list[int]) -> list[tuple[str, ...]]:
    """Return the table's rows, in one loop: the engine's timer is bound to it."""
    found: list[tuple[str, ...]] = []
    for name, pair in works().items():
        for label, go in zip(("without", "with the engine"), pair, strict=True):
            found.append((name, label, f"{counted[len(found)]:,}", f"{await cpu_us(go):.1f}"))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", action="store_true", help="run between callgrind's marks; used by this program")
    if parser.parse_args().count:
        asyncio.run(count())
        return
    shown = Shown("work", "", "instructions", "CPU, µs", title="A call that goes well, without and with the engine")
    for row in asyncio.run(rows(instructions())):
        shown.add_row(*row)
    Console(width=100).print(shown)


if __name__ == "__main__":
    main()
