"""An event loop whose waiting takes no time, and a provider that is late by that loop's reckoning: for many simulated
requests in a second or two. Nothing here opens a socket."""

from __future__ import annotations

import asyncio
import json
import random
import selectors
from collections.abc import AsyncGenerator, Callable, Coroutine

from policies.model import CacheRules, Plan
from policies.rules import HedgeRules
from router.attempts import Attempts, Limits
from router.ports import Backend
from router.types import AttemptRecord, Call, ChatRequest, Finished, Opened, Streamed, Whole
from tests.unit.router.attempts_bench import Table

OUTPUT_TOKENS = 150
_ANSWER = b"".join(
    b"data: " + json.dumps(event).encode() + b"\n\n"
    for event in (
        {"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 400, "completion_tokens": OUTPUT_TOKENS}},
    )
)
_MESSAGES = [{"role": "user", "content": "word " * 320}]  # 400 tokens
REQUEST = ChatRequest(
    dialect="chat",
    body=json.dumps(_MESSAGES).encode(),
    document={"model": "any", "messages": _MESSAGES, "stream": True},
    requested_model="any",
    stream=True,
    include_usage=False,
)


class _Leaping(selectors.SelectSelector):
    """Moves the clock on instead of waiting."""

    elapsed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everybody waits for somebody else")
        self.elapsed_s += 0.0 if ready else timeout or 0.0
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`asyncio.Runner(loop_factory=VirtualTimeLoop)`: what would take hours takes as long as its work."""

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.elapsed_s


def in_virtual_time(waiting: Coroutine[None, None, None]) -> None:
    """Run it where no machine is too slow."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(waiting)


class LoopClock:
    """The loop's time as a router.ports.Clock."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)


class LateBackend:
    """Gives every call the same answer, `draw_s()` after it was asked."""

    def __init__(self, draw_s: Callable[[], float]) -> None:
        self._draw_s = draw_s
        self.open = 0

    async def send(self, call: Call) -> Whole | Streamed:
        return Streamed(chunks=self._chunks(self._draw_s()), headers={})

    async def close(self) -> None:
        pass

    async def _chunks(self, delay_s: float) -> AsyncGenerator[bytes, None]:
        self.open += 1
        try:
            await asyncio.sleep(delay_s)
            yield _ANSWER + b"data: [DONE]\n\n"
        finally:
            self.open -= 1


class Fleet:
    """An Attempts over late deployments: group "two" has t1 and t2, "next" n1. `took_s` are times to first token."""

    def __init__(self, draw_s: Callable[[], float], *, hedge: HedgeRules | None, limits: Limits, seed: int) -> None:
        self.backend = LateBackend(draw_s)
        backends: dict[str, Backend] = {"openai_wire": self.backend}
        table = Table("http://127.0.0.1:1/v1", {"two": ["t1", "t2"], "next": ["n1"]})
        self.attempts = Attempts(
            deployments=table, backends=backends, clock=LoopClock(), rng=random.Random(seed), limits=limits
        )
        self.journals: list[tuple[AttemptRecord, ...]] = []
        self.took_s: list[float] = []
        self.cost_nanousd = 0
        self._hedge = hedge

    async def ask(self, *groups: str) -> None:
        """Run one request to its end."""
        plan = Plan(
            policy="p",
            policy_version="v",
            route="r",
            candidates=groups,
            deadline_s=120.0,
            max_output_tokens=None,
            assemble=False,
            cache=CacheRules(),
            reason="test",
            hedge=self._hedge,
        )
        async for event in self.attempts.run(REQUEST, plan, traceparent=None):
            if isinstance(event, Opened):
                self.took_s.append(event.first_token_s)
            if isinstance(event, Finished):
                self.journals.append(event.attempts)
                self.cost_nanousd += event.cost_nanousd or 0

    async def ask_many(self, count: int, *groups: str, per_s: float, rng: random.Random) -> None:
        """Run `count` requests, which arrive at random, `per_s` a second."""
        async with asyncio.TaskGroup() as arriving:
            for _ in range(count):
                arriving.create_task(self.ask(*groups))
                await asyncio.sleep(rng.expovariate(per_s))
