"""The bot of `make report-card`: sends interactions when they are due, whether or not earlier ones are answered.

Times run from when an interaction was due until its answer was read, so a late sender hides no wait.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp
import msgspec
import orjson

from gateway.clock import SystemClock
from tests.bench.report_card_week import MODEL, Announced, Interaction
from tests.e2e.serving import BOUND_S

STEPS = ("analysis", "fallacy")
now = SystemClock().monotonic


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer said of itself. `calls` are provider calls made for it, `cost_usd` what they cost.

    `cache` and `similarity` are the gateway's words; `answer` is the id of a chat answer and `digest` the hash of what
    was told, by which a stored answer is known again. `problem` is "" where all is well.
    """

    calls: int = 0
    cost_usd: float = 0.0
    cache: str = ""
    similarity: float = 0.0
    answer: str = ""
    digest: str = ""
    problem: str = ""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one interaction. `took_s` as measured, compressed; `late_s`: how late it was sent."""

    index: int
    took_s: float
    late_s: float
    told: Told

    @property
    def is_ok(self) -> bool:
        """Whether it was answered, all of it."""
        return not self.told.problem


class _Message(msgspec.Struct, frozen=True):
    content: str


class _Choice(msgspec.Struct, frozen=True):
    message: _Message


class _Chat(msgspec.Struct, frozen=True):
    id: str
    choices: tuple[_Choice, ...]


class _Cache(msgspec.Struct, frozen=True):
    status: str = ""


class _Step(msgspec.Struct, frozen=True):
    status: str
    attempts: int
    cost_usd: float | None
    cache: _Cache
    result: msgspec.Raw = msgspec.Raw(b"null")


class _Run(msgspec.Struct, frozen=True):
    status: str
    steps: dict[str, _Step]


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """One run of the bot: who is asked with which key, what is due when (seconds after the start), and how."""

    url: str
    key: str
    week: Sequence[Interaction]
    due_s: Sequence[float]
    is_sequential: bool = False
    announced: Sequence[tuple[float, Announced]] = ()
    ready_by_s: float = 0.0
    lead_in_s: float = 0.0


def poisson(many: int, *, rate: float, seed: int) -> tuple[float, ...]:
    """Return when `many` interactions are due at `rate` a second: equal seeds give the same arrivals, stretched."""
    rng = random.Random(seed)
    due, at_s = [], 0.0
    for _ in range(many):
        at_s += rng.expovariate(1.0) / rate
        due.append(at_s)
    return tuple(due)


def played(play: Play) -> tuple[Done, ...]:
    """Play it to its end; return what came of every interaction, in their order."""
    return asyncio.run(_play(play))


async def _play(play: Play) -> tuple[Done, ...]:
    headers = {"Authorization": f"Bearer {play.key}"}
    timeout = aiohttp.ClientTimeout(total=BOUND_S * 2)
    connector = aiohttp.TCPConnector(limit=0)
    found: list[Done] = []
    async with aiohttp.ClientSession(play.url, headers=headers, timeout=timeout, connector=connector) as session:
        bot = _Bot(session, play)
        began_s = now() + 0.2 + play.lead_in_s
        async with asyncio.TaskGroup() as group:
            for at_s, announced in play.announced:
                group.create_task(bot.announce(announced, due_s=began_s + at_s))
            tasks = [group.create_task(bot.ask(at, due_s=began_s + play.due_s[at])) for at in range(len(play.week))]
        found = [task.result() for task in tasks]
    return tuple(found)


class _Bot:
    def __init__(self, session: aiohttp.ClientSession, play: Play) -> None:
        self._session = session
        self._play = play

    async def ask(self, index: int, *, due_s: float) -> Done:
        one = self._play.week[index]
        await _until(due_s)
        late_s = now() - due_s
        try:
            if one.kind == "pipeline" and self._play.is_sequential:
                told = _merged([await self._run(one, steps=(step,)) for step in STEPS])
            elif one.kind == "pipeline":
                told = await self._run(one)
            else:
                told = await self._chat(one)
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            told = Told(problem=type(error).__name__)
        return Done(index=index, took_s=now() - due_s, late_s=late_s, told=told)

    async def announce(self, announced: Announced, *, due_s: float) -> None:
        await _until(due_s)
        body = {"transcript": announced.transcript, "model": MODEL, "ready_by_s": self._play.ready_by_s}
        async with self._session.post("/v1/warm", json=body) as answer:
            assert answer.status != 400, await answer.text()

    async def _chat(self, one: Interaction) -> Told:
        status, body, headers = await self._post("/v1/chat/completions", one.body())
        if status != 200:
            return Told(problem=f"{status} {body[:200]!r}")
        chat = msgspec.json.decode(body, type=_Chat)
        return Told(
            calls=int(headers.get("x-foreword-attempts", "0")),
            cost_usd=float(headers.get("x-foreword-cost-usd", "0")),
            cache=headers["x-foreword-cache"],
            similarity=float(headers.get("x-foreword-similarity", "0")),
            answer=chat.id,
            digest=_digest(chat.id.encode(), chat.choices[0].message.content.encode()),
        )

    async def _run(self, one: Interaction, *, steps: Sequence[str] | None = None) -> Told:
        status, body, _ = await self._post("/v1/pipelines/debate", one.body(steps=steps))
        if status != 200:
            return Told(problem=f"{status} {body[:200]!r}")
        run = msgspec.json.decode(body, type=_Run)
        states = {step.cache.status for step in run.steps.values()}
        return Told(
            calls=sum(step.attempts for step in run.steps.values()),
            cost_usd=sum(step.cost_usd or 0.0 for step in run.steps.values()),
            cache=states.pop() if len(states) == 1 else "mixed",
            digest=_digest(*(bytes(step.result) for _, step in sorted(run.steps.items()))),
            problem="" if run.status == "ok" else f"the run is {run.status}",
        )

    async def _post(self, path: str, body: Mapping[str, object]) -> tuple[int, bytes, Mapping[str, str]]:
        data = orjson.dumps(body)
        async with self._session.post(path, data=data, headers={"Content-Type": "application/json"}) as answer:
            return answer.status, await answer.read(), answer.headers


def _merged(parts: Sequence[Told]) -> Told:
    return Told(
        calls=sum(part.calls for part in parts),
        cost_usd=sum(part.cost_usd for part in parts),
        cache=parts[0].cache,
        digest=_digest(*(part.digest.encode() for part in parts)),
        problem="; ".join(part.problem for part in parts if part.problem),
    )


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


async def _until(due_s: float) -> None:
    if (left_s := due_s - now()) > 0:
        await asyncio.sleep(left_s)
