"""The ledger of a gateway whose budget runs out, replayed: plans that were narrowed and refused come out the same."""

from __future__ import annotations

import asyncio
import json
import random
import re
import uuid
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from gateway.cli import run
from gateway.history.reading import read_versions
from gateway.history.recorded import recorded_of
from gateway.history.replaying import replay_history
from gateway.outcome import Outcome
from gateway.stores.redis import RedisStore
from policies.load import load_policy
from policies.model import Policy
from policies.narrowing import Cut
from policies.replay import decide_again, differences
from policies.replay_report import Replay
from tests.http.conftest import StartGateway
from tests.http.running import Gateway
from tests.http.test_replay import MODELS, Recording, named_alone, outcomes_of, roll
from tests.provider import Reply

POLICY = """
version: 1
policy: {name}
budgets:
  - {{scope: tenant, limit_usd: {limit}, window: month, on_exceed: [downgrade_to_floor, refuse]}}
  - {{scope: route, key: cheap, limit_usd: 0.02, window: month}}
  - {{scope: route, key: poor, limit_usd: 0.0005, window: month}}
  - {{scope: route, key: strict, limit_usd: 0.0015, window: month}}
rate_limits: [{{scope: key, tokens_per_minute: 110000}}]
routes:
  - {{name: cheap, match: {{tag: task=cheap}}, candidates: [tiny, small, large], objective: {{minimise: cost}},
     deadline: 5s, max_output_tokens: 300, cache: {{exact_ttl: 0}}}}
  - {{name: checked, match: {{tag: task=checked}}, candidates: [small, large], deadline: 5s, max_output_tokens: 300,
     cascade: {{first: small, then: large, accept: {{no_refusal: true}}}}, cache: {{exact_ttl: 0}}}}
  - {{name: poor, match: {{tag: task=poor}}, candidates: [large, small, tiny], deadline: 5s, cache: {{exact_ttl: 0}}}}
  - {{name: strict, match: {{tag: task=strict}}, candidates: [small, large], deadline: 5s,
     cascade: {{first: small, then: large, accept: {{no_refusal: true}}}}, cache: {{exact_ttl: 0}}}}
  - {{name: chat, match: {{any: true}}, candidates: [large, small, tiny], deadline: 5s, max_output_tokens: 500,
     cache: {{exact_ttl: 1h}}}}
"""
LIMIT = 0.25
COUNT = 200
ALL = COUNT + 3


async def ask_until_it_is_used_up(gateway: Gateway, rng: random.Random) -> None:
    """Send mixed requests, eight at once; the budget is used up by the last of them."""

    async def ask(number: int) -> None:
        text = "word " * rng.choice((3, 30, 300)) + str(number)
        tag = rng.choice(("", "task=cheap", "task=checked"))
        fields: dict[str, object] = {"max_tokens": rng.choice((20, 200))}
        if number % 23 == 0:
            fields = {"web_search_options": {}}
        await gateway.chat(text, headers={"x-foreword-tags": tag} if tag else {}, model="large", **fields)

    gateway.provider.always("*", Reply(usage={"prompt_tokens": 200, "completion_tokens": 100, "total_tokens": 300}))
    # More tokens than a minute allows, whichever model and however few attempts a budget has room for.
    await gateway.chat("word " * 24_000, model="large", max_tokens=20)
    # Room for the cheapest alone, and for the second model of a cascade but not for both.
    for task in ("poor", "strict"):
        await gateway.chat(task, headers={"x-foreword-tags": f"task={task}"}, model="large", max_tokens=20)
    for begin in range(0, COUNT, 8):
        await asyncio.gather(*(ask(number) for number in range(begin, begin + 8)))


async def recording_of(gateway: Gateway, name: str, data_dir: Path) -> Recording:
    """Ask, and roll the ledger into files."""
    store = gateway.worker.store
    assert isinstance(store, RedisStore)
    await ask_until_it_is_used_up(gateway, random.Random(3))
    await gateway.worker.services.ledger.flush()
    assert await roll(store, data_dir, gateway) > 0
    held = await outcomes_of(None, data_dir, name)
    return Recording(store=store, data_dir=data_dir, outcomes=held, texts=await read_versions(store, data_dir))


def cuts(outcomes: list[Outcome]) -> Counter[str]:
    """Return how often each kind of cut was recorded; "" for plans that stayed as they were."""
    found: Counter[str] = Counter()
    for outcome in outcomes:
        assert outcome.decision is not None
        assert outcome.decision.headroom is not None
        cut = outcome.decision.cut
        found[kind_of(cut, outcome)] += 1
    return found


def kind_of(cut: Cut | None, outcome: Outcome) -> str:
    """Return its refusal, else which rung it left."""
    if cut is None or cut.refusal:
        assert outcome.error_code == ("" if cut is None else cut.refusal)
        return cut.refusal if cut is not None else ""
    assert outcome.routed_model in ("", *cut.candidates)
    if outcome.reason.startswith("budget:"):
        return "cheapest"
    return "last word" if outcome.route in ("checked", "strict") else f"{cut.attempts} of {len(cut.candidates)}"


def repeated_one_by_one(recording: Recording, policy: Policy) -> int:
    """Decide each again and find no difference; return how many of those are cut that would differ without a record."""
    would_differ = 0
    for outcome in recording.outcomes:
        entry = recorded_of(outcome, recording.texts)
        assert entry is not None
        assert differences(entry, decide_again(entry, policy)) == ()
        forgotten = msgspec.structs.replace(entry, headroom=None)
        would_differ += bool(differences(forgotten, decide_again(forgotten, policy)))
    return would_differ


async def test_what_a_budget_narrowed_and_refused_is_repeated_exactly_and_told(
    start_gateway: StartGateway, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"p{uuid.uuid4().hex[:8]}"
    gateway = await start_gateway(models=MODELS, policy=POLICY.format(name=name, limit=LIMIT))
    recording = await recording_of(gateway, name, tmp_path)
    assert len(recording.outcomes) == ALL
    kinds = cuts(recording.outcomes)
    assert set(kinds) >= {"", "2 of 3", "1 of 1", "cheapest", "last word", "budget_exceeded", "cost_unbounded"}, kinds
    assert kinds["rate_limit_exceeded"] == 1
    (live,) = recording.policies.values()
    assert repeated_one_by_one(recording, live) == ALL - kinds[""]
    refused = kinds["budget_exceeded"] + kinds["cost_unbounded"] + 1
    result = await recording.under(live)
    assert (result.repeated, result.repeatable, result.violations, result.changed) == (ALL, ALL, (), 0)
    found = result.budgeted
    assert (found.narrowed_then, found.refused_then) == (ALL - kinds[""] - refused, refused)
    assert (found.narrowed_now, found.refused_now, found.unknown) == (found.narrowed_then, refused, 0)
    assert any("narrowed by budget tenant per month: " in line and "USD left" in line for line in found.lines)
    await another_policy_meets_what_was_left(recording, name, refused=refused)
    await the_command_line_tells(tmp_path, redis_url, live.version, gateway, monkeypatch)


async def another_policy_meets_what_was_left(recording: Recording, name: str, *, refused: int) -> None:
    """A limit that is raised leaves more, one that is lowered less; budgets that are new leave nobody knows what."""

    async def under(text: str) -> Replay:
        policy = load_policy(text, source="new.yaml", groups=None)
        return (await replay_history(recording.store, recording.data_dir, lambda _: policy, since_s=0.0)).replay

    same = POLICY.format(name=name, limit=LIMIT)
    more = (await under(re.sub(r"limit_usd: [0-9.]+", "limit_usd: 5", same))).budgeted
    unbounded_and_limited = sum(
        outcome.error_code in ("cost_unbounded", "rate_limit_exceeded") for outcome in recording.outcomes
    )
    assert (more.narrowed_now, more.refused_now, more.unknown) == (0, unbounded_and_limited, 0)
    less = (await under(same.replace(f"limit_usd: {LIMIT}", f"limit_usd: {LIMIT - 0.1:.3f}"))).budgeted
    assert less.refused_now > refused
    other = (await under(same.replace("scope: tenant", "scope: key").replace("window: month", "window: day"))).budgeted
    assert (other.narrowed_now, other.refused_now) == (0, unbounded_and_limited)
    assert other.unknown == ALL - unbounded_and_limited


async def the_command_line_tells(
    data_dir: Path, redis_url: str, version: str, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It exits with 0 for the version that was live, and says what budgets did."""
    named = named_alone(data_dir, redis_url, gateway, monkeypatch)
    assert await asyncio.to_thread(run, ["policy", "replay", "--against", version, *named]) == 0
    narrowed = next(one for one in gateway.outcomes if one.route == "poor")
    async with gateway.session.get(f"{gateway.url}/explain/{narrowed.request_id}") as answer:
        shown = json.loads(await answer.read())
    assert answer.status == 200
    told = "narrowed by budget route poor per month: large, small dropped, 1 attempt at most, 0.0005 USD left"
    assert shown["decision"]["budget"] == told
    assert shown["decision"]["headroom"]["left_nanousd"] == 500_000
