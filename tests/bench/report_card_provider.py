"""The provider of `make report-card`, a process of its own on loopback: OpenAI's wire, lognormal waits, so many places.

Waits are the simulated backend's (router/simulation/pace.py), divided by the time compression; output lengths of chat
answers are a production trace's; steps are answered from the transcript. Beyond its places calls wait in order of
arrival. Must not know which row is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import sys
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec
import orjson
from aiohttp import web

from gateway.clock import SystemClock
from router.simulation import asked, debate
from router.simulation.compose import input_tokens
from router.simulation.pace import Pace, pace_of

EVENTS: Final = 6
"""Events of one answer at most: what is measured is not the cost of a chunk."""
UNBOUNDED: Final = 1_000_000
now = SystemClock().monotonic


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What its answers are made of: the class of a question's meaning, and output lengths of real chat answers."""

    classes: dict[str, int]
    lengths: tuple[int, ...]

    def vocabulary(self) -> tuple[str, ...]:
        """Return the words of all questions."""
        return tuple(sorted({word for text in self.classes for word in text.lower().split() if word.isalpha()}))


class Counts(msgspec.Struct, kw_only=True):
    """What happened since the last reset. `busy_s`: seconds for which places were taken, compressed like all waits;
    `flex_s` of these for flex calls. `full_s`: those while a call waited in line, `flex_full_s` of them for flex."""

    calls: dict[str, int]
    flex_calls: int = 0
    busy_s: float = 0.0
    flex_s: float = 0.0
    full_s: float = 0.0
    flex_full_s: float = 0.0
    most_at_once: int = 0
    queued: int = 0
    cancelled: int = 0


@dataclass(slots=True, kw_only=True)
class Places:
    """Calls at once, first come first served; the owner of the queue."""

    limit: int = UNBOUNDED
    taken: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    flex: int = 0
    told_s: float = 0.0

    @asynccontextmanager
    async def taking(self, counts: Counts, *, is_flex: bool) -> AsyncIterator[None]:
        """Hold a place for the block; wait for it if there is none."""
        self._tell(counts)
        if self.taken >= self.limit:
            counts.queued += 1
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.give_back()
                raise
        else:
            self.taken += 1
        self._tell(counts)
        counts.most_at_once = max(counts.most_at_once, self.taken)
        self.flex += is_flex
        began_s = now()
        try:
            yield
        finally:
            self._tell(counts)
            self.flex -= is_flex
            counts.busy_s += now() - began_s
            counts.flex_s += is_flex * (now() - began_s)
            self.give_back()

    def _tell(self, counts: Counts) -> None:
        """Count the time since the last change, if calls waited."""
        now_s = now()
        if any(not turn.done() for turn in self.waiting):
            counts.full_s += self.taken * (now_s - self.told_s)
            counts.flex_full_s += self.flex * (now_s - self.told_s)
        self.told_s = now_s

    def give_back(self) -> None:
        """Hand the place to whoever has waited longest, or free it."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.taken -= 1


@dataclass(slots=True, kw_only=True)
class Provider:
    """One provider: its places, what it counted, and how often it has been asked what."""

    compression: float
    seed: int
    known: Known
    words: tuple[str, ...]
    places: Places = field(default_factory=Places)
    counts: Counts = field(default_factory=lambda: Counts(calls={}))
    asked_before: Counter[str] = field(default_factory=Counter)
    number: int = 0

    async def complete(self, http: web.Request) -> web.StreamResponse:
        """Answer one chat completion, whole or as a stream."""
        document = orjson.loads(await http.read())
        self.number += 1
        answer = self._answer(document)
        try:
            async with self.places.taking(self.counts, is_flex=bool(answer.tier)):
                return await self._send(http, document, answer)
        except (asyncio.CancelledError, ConnectionError):
            self.counts.cancelled += 1
            raise

    def _answer(self, document: Mapping[str, object]) -> Answer:
        model = str(document.get("model"))
        tier = "flex" if document.get("service_tier") == "flex" else ""
        # The same for every row that asks it the n-th time: only what a row changes makes its waits differ.
        what = hashlib.sha256(orjson.dumps([document.get("messages"), document.get("response_format")])).hexdigest()
        again = self.asked_before[what] = self.asked_before[what] + 1
        rng = random.Random(f"{self.seed} {what} {again}")
        pace = pace_of(model, rng=rng, scale=1 / self.compression, tier=tier)
        text, is_cut = _cut(self._said(document, random.Random(what)), document)
        self.counts.calls[model] = self.counts.calls.get(model, 0) + 1
        self.counts.flex_calls += bool(tier)
        finish = "length" if is_cut else "stop"
        return Answer(name=f"chatcmpl-card-{self.number}", model=model, tier=tier, text=text, finish=finish, pace=pace)

    async def _send(self, http: web.Request, document: Mapping[str, object], answer: Answer) -> web.StreamResponse:
        began_s = now()
        tokens = asked.tokens_in(answer.text)
        prompt = input_tokens(document)
        usage = {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}
        whole_s = answer.pace.first_token_s + tokens * answer.pace.token_gap_s
        if not document.get("stream"):
            await _until(began_s + whole_s)
            return web.json_response(answer.whole(usage))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await _until(began_s + answer.pace.first_token_s)
        await response.prepare(http)
        size = max(1, -(-len(answer.text) // EVENTS))
        pieces = [answer.text[at : at + size] for at in range(0, len(answer.text), size)]
        for at, piece in enumerate(pieces):
            share = (at + 1) / len(pieces)
            await response.write(answer.event({"content": piece, **({"role": "assistant"} if at == 0 else {})}))
            await _until(began_s + answer.pace.first_token_s + share * tokens * answer.pace.token_gap_s)
        await response.write(
            answer.event({}, finish=answer.finish) + answer.event(None, usage=usage) + b"data: [DONE]\n\n"
        )
        await response.write_eof()
        return response

    def _said(self, document: Mapping[str, object], rng: random.Random) -> str:
        """Return an answer's text. Steps: what the simulated backend finds in the transcript, marked with its number.

        Chat: of a real answer's length, in words drawn by what the question means, so that the semantic tier finds
        two answers alike where the questions are, and only there.
        """
        wanted, transcript = asked.wanted_schema(document), asked.transcript(document)
        if wanted is not None and transcript is not None:
            return _step(wanted[0], transcript).replace("[simulated]", f"[simulated {self.number}]")
        text = asked.last_user_text(document)
        meaning = self.known.classes.get(text)
        words = random.Random(text if meaning is None else f"class {meaning}")
        own = [words.choice(self.words) for _ in range(24)]
        tokens = rng.choice(self.known.lengths)
        return "[simulated] " + " ".join(words.choice(own) for _ in range(tokens))[: max(4, tokens * 4 - 12)]

    async def control(self, http: web.Request) -> web.Response:
        """Tell the counts and begin anew: `{"places": 16}`, 0 for no bound; nobody has asked before."""
        wanted = orjson.loads(await http.read())
        told, self.counts = self.counts, Counts(calls={})
        self.places.limit = wanted["places"] or UNBOUNDED
        self.asked_before.clear()
        return web.Response(body=msgspec.json.encode(told), content_type="application/json")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer: `name` is its id, by which whoever gets it again can tell that it is this one."""

    name: str
    model: str
    tier: str
    text: str
    finish: str
    pace: Pace

    def _head(self, kind: str) -> dict[str, object]:
        tier = {"service_tier": self.tier} if self.tier else {}
        return {"id": self.name, "object": kind, "created": 0, "model": self.model, **tier}

    def whole(self, usage: Mapping[str, int]) -> dict[str, object]:
        """Return it as one body."""
        choice = {"index": 0, "message": {"role": "assistant", "content": self.text}, "finish_reason": "stop"}
        return {**self._head("chat.completion"), "choices": [choice], "usage": usage}

    def event(
        self, delta: Mapping[str, str] | None, *, finish: str | None = None, usage: Mapping[str, int] | None = None
    ) -> bytes:
        """Return one event; without `delta` it has no choice."""
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
        body = {**self._head("chat.completion.chunk"), "choices": choices, "usage": usage}
        return b"data: " + orjson.dumps(body) + b"\n\n"


def _cut(text: str, document: Mapping[str, object]) -> tuple[str, bool]:
    """Return no more of it than the request allows, and whether that is less: a prompt that is only to be read (the
    warmer's prefix) takes one token."""
    cap = document.get("max_completion_tokens") or document.get("max_tokens")
    if not isinstance(cap, int) or asked.tokens_in(text) <= cap:
        return text, False
    return text[: 4 * cap], True


async def _until(due_s: float) -> None:
    if (left_s := due_s - now()) > 0:
        await asyncio.sleep(left_s)


@lru_cache(maxsize=4096)
def _step(name: str, transcript: str) -> str:
    return json.dumps(debate.answer(name, transcript), ensure_ascii=False)


def options_of() -> argparse.Namespace:
    """Read the command line: `--known` names a file of Known."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--compression", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--known", type=Path, required=True)
    return parser.parse_args()


async def main() -> None:
    """Serve until killed; prints the port."""
    options = options_of()
    known = msgspec.json.decode(options.known.read_bytes(), type=Known)
    provider = Provider(compression=options.compression, seed=options.seed, known=known, words=known.vocabulary())
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/chat/completions", provider.complete)
    app.router.add_post("/control", provider.control)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
