"""Two warmers on one Redis: the one that leads dies in the middle of a call, and nothing is asked twice."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from gateway.clock import SystemClock
from gateway.commands.redis import run_with_store
from gateway.ledger import STREAM, read_ledger
from gateway.outcome import Outcome
from gateway.retained.kept import NOTES, learnt_of
from gateway.stores.embedded import EmbeddedRedis
from gateway.stores.redis import RedisStore
from gateway.warming.day import HOUR_S, DaySpend
from gateway.warming.leader import LEADER
from gateway.warming.notes import MARK
from tests.e2e.serving import BOUND_S, COMMAND, RemoteProvider, Served, remote_provider, serving, until
from tests.provider import Reply
from warmer.learner import VERSION, Announced, Learnt
from warmer.state import dump
from warmer.types import Mark, Position

MODELS = """
model_list:
  - {{model_name: small, litellm_params: {{model: openai/up, api_base: "{origin}/v1", api_key: sk-provider,
     input_cost_per_token: 1.0e-6, output_cost_per_token: 2.0e-6,
     input_cost_per_token_flex: 5.0e-7, output_cost_per_token_flex: 1.0e-6}}, model_info: {{base_model: gpt-4o-mini}}}}
"""
POLICY = """
version: 1
policy: default
warming: {limit_usd_day: 1.0, max_share_of_spend: 1, holdout: 0}
routes:
  - {name: chat, match: {any: true}, candidates: [requested], cache: {exact_ttl: 1h}}
"""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A gateway without a warmer, and what it takes to start warmers on the same Redis."""

    url: str
    provider: RemoteProvider
    served: Served
    stack: ExitStack

    def redis(self, act: Callable[[RedisStore], Awaitable[T]]) -> T | None:
        """Ask the Redis that all share."""
        return run_with_store(self.url, act)

    def asked_cheaply(self) -> list[str]:
        """Return what the provider was asked at the warmer's tier."""
        bodies = [json.loads(str(seen["body"])) for seen in self.provider.requests()]
        return [body["messages"][-1]["content"] for body in bodies if body.get("service_tier") == "flex"]

    def outcomes(self) -> list[Outcome]:
        """Return the ledger."""

        async def read(store: RedisStore) -> list[Outcome]:
            return [outcome async for outcome in read_ledger(store)]

        return self.redis(read) or []

    def leader(self) -> bytes | None:
        """Return who leads."""
        return self.redis(lambda store: store.get(LEADER))

    def announce(self, keys: list[str]) -> None:
        """Note, as a leader before would have, that these will be wanted, and what was spent; their answers end."""

        async def note(store: RedisStore) -> None:
            now = SystemClock().now()
            said = {
                key: Announced(at_s=now, due_at_s=now + 60, until_s=now + 600, level="answer", key=key) for key in keys
            }
            learnt = dump(Learnt(announced=said), version=VERSION)
            day = DaySpend(position=Position(ms=0, sequence=1), spent={"default": {int(now // HOUR_S): 10**12}})
            await store.delete([f"foreword:cache:{{default}}:{key}" for key in keys])
            await store.hash_set(NOTES, learnt_of("default"), learnt)
            await store.hash_set(NOTES, "spend", msgspec.msgpack.encode(day))

        self.redis(note)

    def has_read_all(self) -> bool:
        """Whether the warmer that leads has read the ledger to its end."""

        async def read(store: RedisStore) -> bool:
            *_, (last, _) = await store.read(STREAM, after="0-0", limit=100)
            mark = msgspec.json.decode(await store.hash_get(NOTES, MARK) or b"null", type=Mark | None)
            return mark is not None and f"{mark.counted.ms}-{mark.counted.sequence}" == last

        return bool(self.redis(read))

    def start_warmer(self, *, name: str) -> subprocess.Popen[bytes]:
        """Start `foreword warm` beside the gateway, with a data directory of its own."""
        home = self.served.home
        flags = ["--redis-url", self.url, "--data-dir", str(home / name), "--embedder", "off"]
        files = ["--policies", str(home / "policies"), "--models", str(home / "models.yaml")]
        process = subprocess.Popen([*COMMAND, "warm", *flags, *files], env=self.served.environment)
        self.stack.callback(process.wait, BOUND_S)
        self.stack.callback(process.kill)
        return process


@pytest.fixture
def scene() -> Iterator[Scene]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fw-"))
        server = EmbeddedRedis.start(Path(folder))
        stack.callback(server.stop)
        provider = stack.enter_context(remote_provider())
        options = ("--redis-url", server.url, "--workers", "1", "--memory-cache-bytes", "0")
        models = MODELS.format(origin=provider.origin)
        served = stack.enter_context(serving(policy=POLICY, models=models, options=options))
        yield Scene(url=server.url, provider=provider, served=served, stack=stack)


def test_a_leader_dies_with_a_call_in_the_air_and_the_other_takes_over_without_asking_twice(scene: Scene) -> None:
    for text in ("Why are trams quiet?", "Why are buses loud?"):
        assert scene.served.chat(text, model="small").status == 200
    until(lambda: len(scene.outcomes()) == 2, "the ledger")
    scene.announce([outcome.cache_key for outcome in scene.outcomes()])
    scene.provider.script("up", Reply(gate="never"))
    dying = scene.start_warmer(name="one")
    until(lambda: len(scene.asked_cheaply()) == 2, "both warms", alive=dying)
    hung, warmed = scene.asked_cheaply()
    until(lambda: any(outcome.origin == "warmer" for outcome in scene.outcomes()), "the end of one", alive=dying)
    first = scene.leader()
    heir = scene.start_warmer(name="two")
    dying.kill()
    assert scene.served.chat("Why are bicycles slow?", model="small").status == 200
    until(lambda: scene.leader() not in (None, first) and scene.has_read_all(), "the heir", alive=heir)
    answer = scene.served.chat(warmed, model="small")
    assert answer.headers["x-foreword-cache"] == "hit"
    assert float(answer.headers["x-foreword-saved-usd"]) > 0
    until(lambda: any(outcome.warmed_by and outcome.origin == "user" for outcome in scene.outcomes()), "the hit")
    hit = next(outcome for outcome in scene.outcomes() if outcome.warmed_by and outcome.origin == "user")
    assert (hit.cache_tier, hit.warmed_by, hit.saved_nanousd > 0) == ("redis", "announced", True)
    assert scene.served.chat(hung, model="small").headers["x-foreword-cache"] == "miss"
    assert sorted(scene.asked_cheaply()) == sorted((hung, warmed))
    assert os.getpriority(os.PRIO_PROCESS, heir.pid) > os.getpriority(os.PRIO_PROCESS, 0)  # behind the workers
    heir.terminate()
    assert heir.wait(BOUND_S) == 0
    assert scene.leader() is None
