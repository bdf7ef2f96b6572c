"""The ledger of a running gateway, replayed: hundreds of mixed requests, a model that fails, two policy versions."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.archive import policy_texts
from gateway.cli import run
from gateway.history.reading import Texts, read_history, read_versions
from gateway.history.recorded import recorded_of
from gateway.history.replaying import replay_history, version_of
from gateway.history.roller import FOLDER, keep_texts, step
from gateway.history.segments import SegmentWriter
from gateway.outcome import Outcome
from gateway.settings import process_environment
from gateway.stores.redis import RedisStore
from policies.load import load_policy
from policies.model import Policy
from policies.replay import decide_again, differences
from policies.replay_report import Replay
from tests.http.conftest import StartGateway
from tests.http.running import Gateway
from tests.provider import Reply

MODELS = """
model_list:
  - {{model_name: small, litellm_params: {{model: openai/up-small, api_base: "{base}", api_key: k,
     input_cost_per_token: 1.0e-6, output_cost_per_token: 2.0e-6}}, model_info: {{base_model: gpt-4o-mini}}}}
  - {{model_name: large, litellm_params: {{model: openai/up-large, api_base: "{base}", api_key: k,
     input_cost_per_token: 5.0e-6, output_cost_per_token: 15.0e-6}}, model_info: {{base_model: gpt-4o}}}}
  - {{model_name: tiny, litellm_params: {{model: openai/up-tiny, api_base: "{base}", api_key: k,
     input_cost_per_token: 1.0e-7, output_cost_per_token: 2.0e-7, max_input_tokens: 300}},
     model_info: {{base_model: gpt-4o-mini}}}}
  - {{model_name: embed, litellm_params: {{model: openai/up-embed, api_base: "{base}", api_key: k}},
     model_info: {{base_model: text-embedding-3-small}}}}
"""
POLICY = """
version: 1
policy: {name}
models:
  low: {{group: tiny, quality_prior: {{any: 0.5}}}}
  mid: {{group: small, quality_prior: {{any: 0.9}}}}
  top: {{group: large, quality_prior: {{any: 0.95}}, reference: true}}
routes:
  - {{name: embeddings, match: {{dialect: embeddings}}, candidates: [requested], cache: {{exact_ttl: 1h}}}}
  - {{name: cheap, match: {{tag: task=cheap}}, candidates: [tiny, small, large], objective: {{minimise: cost}},
     fallbacks: [large], deadline: 5s, max_output_tokens: 900, cache: {{exact_ttl: 1h}}}}
  - {{name: good, match: {{tag: task=good}}, candidates: [low, mid, top], deadline: 5s, cache: {{exact_ttl: 1h}},
     objective: {{minimise: cost, quality: {{floor: 0.9, of: reference}}}},
     selector: {{type: quality_floor, control: 0.3}}}}
  - {{name: long, match: {{input_tokens: {{gt: 200}}}}, candidates: [large], fallbacks: [small], deadline: 5s,
     cache: {{exact_ttl: 1h, max_temperature: null}}}}
  - {{name: chat, match: {{any: true}}, candidates: [requested], fallbacks: [{last}], deadline: 5s,
     cache: {{exact_ttl: {ttl}}}}}
"""


async def roll(store: RedisStore, data_dir: Path, gateway: Gateway) -> int:
    """Write the whole stream into files, as the warmer's process does."""
    writer = await asyncio.to_thread(SegmentWriter, data_dir / FOLDER, keep_s=1e9, max_bytes=1 << 30)
    await keep_texts(store, writer)
    count = 0
    while found := await step(store, writer, clock=gateway.worker.services.clock):
        count += found
    writer.close()
    return count


async def ask_for_all_sorts(gateway: Gateway, rng: random.Random, count: int) -> None:
    """Send mixed requests, some of which fail; small goes out of service after a while, and stays so for a while."""

    async def ask(number: int) -> None:
        words = "word " * rng.choice((3, 20, 400))
        text = f"{words}{rng.randrange(count // 2)}"
        tags = rng.choice(("", "task=cheap", "task=good", "task=other,show=weekly"))
        headers = {"x-foreword-tags": tags, "x-foreword-session": f"s{number % 7}"} if tags else {}
        if number % 9 == 0:
            await gateway.post("/v1/embeddings", {"model": "embed", "input": text}, **headers)
            return
        model = rng.choice(("small", "large", "tiny", "no-such-model"))
        fields = {"max_tokens": 50} if number % 3 else {"tools": [tool()], "stream": number % 2 == 0}
        await gateway.chat(text, headers=headers, model=model, **fields)

    for begin in range(0, count, 20):
        if begin == count // 3:
            gateway.provider.always("up-small", Reply(status=401))
        await asyncio.gather(*(ask(number) for number in range(begin, begin + 20)))


def tool() -> Mapping[str, object]:
    return {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


async def outcomes_of(store: RedisStore | None, data_dir: Path, name: str) -> list[Outcome]:
    return [outcome async for outcome in read_history(store, data_dir) if outcome.policy == name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What a gateway recorded: its outcomes, and the text of each policy version."""

    store: RedisStore
    data_dir: Path
    outcomes: list[Outcome]
    texts: Texts

    @property
    def policies(self) -> dict[str, Policy]:
        """Every version that decided anything."""
        versions = {outcome.policy_version for outcome in self.outcomes}
        return {version: version_of(self.texts, version) for version in versions}

    async def under(self, policy: Policy) -> Replay:
        """Replay all of it."""
        return (await replay_history(self.store, self.data_dir, lambda _: policy, since_s=0.0)).replay


async def recording_of(gateway: Gateway, name: str, edited: str, data_dir: Path) -> Recording:
    """Send 300 requests, the last 120 under the edited policy; roll the ledger into files."""
    services, rng = gateway.worker.services, random.Random(7)
    store = gateway.worker.store
    assert isinstance(store, RedisStore)
    await ask_for_all_sorts(gateway, rng, 180)
    await asyncio.to_thread((services.settings.policies / "default.yaml").write_text, edited)
    await asyncio.to_thread(services.book.refresh)
    gateway.provider.reset()
    await ask_for_all_sorts(gateway, rng, 120)
    await services.ledger.flush()
    assert await roll(store, data_dir, gateway) > 0
    held = await outcomes_of(None, data_dir, name)
    assert [one.request_id for one in await outcomes_of(store, data_dir, name)] == [one.request_id for one in held]
    return Recording(store=store, data_dir=data_dir, outcomes=held, texts=await read_versions(store, data_dir))


def assert_repeated_one_by_one(recording: Recording) -> None:
    policies, views = recording.policies, []
    for outcome in recording.outcomes:
        entry = recorded_of(outcome, recording.texts)
        assert entry is not None
        assert differences(entry, decide_again(entry, policies[entry.policy_version])) == ()
        if entry.view is not None:
            views.append(entry.view)
    assert len(views) > 120
    assert len({view.draw for view in views}) == len(views)
    assert {"small"} in [set(view.unhealthy) for view in views]


def assert_of_all_sorts(outcomes: list[Outcome]) -> None:
    assert len(outcomes) == 300
    assert len({outcome.policy_version for outcome in outcomes}) == 2
    assert {outcome.route for outcome in outcomes} == {"embeddings", "cheap", "good", "long", "chat"}
    deciders = {outcome.reason.partition(":")[0] for outcome in outcomes if outcome.route == "good"}
    assert deciders >= {"quality_floor", "control_arm"}
    assert {outcome.cache for outcome in outcomes} >= {"hit", "miss"}
    assert any(one.decision is not None and one.decision.view and not one.decision.candidates for one in outcomes)


async def test_every_recorded_decision_is_repeated_exactly_and_another_policy_shows_what_it_would_change(
    start_gateway: StartGateway, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"p{uuid.uuid4().hex[:8]}"
    before = POLICY.format(name=name, last="large", ttl="1h")
    gateway = await start_gateway(models=MODELS, policy=before)
    recording = await recording_of(gateway, name, POLICY.format(name=name, last="tiny", ttl="30m"), tmp_path)
    assert_of_all_sorts(recording.outcomes)
    assert_repeated_one_by_one(recording)
    for version, policy in recording.policies.items():
        result = await recording.under(policy)
        assert result.requests == 300
        assert result.repeated == result.repeatable > 100
        assert result.repeatable == sum(one.policy_version == version for one in recording.outcomes)
        assert result.violations == result.not_repeated == ()

    tempting = before.replace("candidates: [large], fallbacks: [small]", "candidates: [tiny], fallbacks: [small]")
    result = await recording.under(load_policy(tempting, source="new.yaml", groups=None))
    assert {change.model_now for change in result.most_changed} >= {"tiny"}
    assert 0 < len(result.most_changed) <= 20
    of_route = {row.route: row for row in result.routes}
    assert of_route["long"].now.cost_nanousd < of_route["long"].then.cost_nanousd
    await the_command_line_says_the_same(tmp_path, redis_url, tempting, gateway, monkeypatch)


def named_alone(data_dir: Path, redis_url: str, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what tells the command line of this gateway's ledger, with nothing in the environment that would."""
    for variable in process_environment():
        if variable.startswith("FOREWORD_"):
            monkeypatch.delenv(variable)
    models = str(gateway.worker.services.settings.models)
    return ["--models", models, "--data-dir", str(data_dir), "--redis-url", redis_url, "--since", "1h"]


async def the_command_line_says_the_same(
    data_dir: Path, redis_url: str, text: str, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = named_alone(data_dir, redis_url, gateway, monkeypatch)

    def write_and_run() -> list[int]:
        good, bad, drawn = data_dir / "new.yaml", data_dir / "bad.yaml", data_dir / "plot.png"
        good.write_text(text)
        bad.write_text(text.replace("candidates", "candidate"))
        gone = data_dir / "gone.yaml"
        gone.write_text(text.replace("candidates: [tiny], fallbacks: [small]", "candidates: [embed]"))
        codes = [
            run(["policy", "replay", str(good), *named, "--plot", str(drawn)]),
            run(["policy", "replay", str(gone), *named, "--json"]),
            run(["policy", "replay", str(bad), *named]),
            run(["policy", "replay", *named]),
            run(["policy", "replay", "--against", "000000000000", *named]),
            run(["report", *named[2:], "--by", "model"]),
        ]
        assert drawn.read_bytes().startswith(b"\x89PNG")
        return codes

    assert await asyncio.to_thread(write_and_run) == [0, 1, 2, 2, 2, 0]


async def test_a_policy_text_is_kept_before_the_first_entry_that_names_it(start_gateway: StartGateway) -> None:
    name = f"p{uuid.uuid4().hex[:8]}"
    gateway = await start_gateway(models=MODELS, policy=POLICY.format(name=name, last="large", ttl="1h"))
    await gateway.chat("once")
    await gateway.worker.services.ledger.flush()
    store = gateway.worker.store
    assert isinstance(store, RedisStore)
    kept = policy_texts(await store.hash_all("foreword:policy-texts"))
    assert kept[gateway.outcomes[0].policy_version].name == name


async def test_explain_shows_a_request_to_its_tenant_alone(start_gateway: StartGateway) -> None:
    gateway = await start_gateway()
    await gateway.chat("why?", headers={"x-request-id": "mine-1"})
    await gateway.chat("why?", headers={"x-request-id": "mine-2"})
    for is_flushed in (False, True):
        if is_flushed:
            await gateway.worker.services.ledger.flush()
        async with gateway.session.get(gateway.url + "/explain/mine-1") as answer:
            shown = json.loads(await answer.read())
        assert answer.status == 200
        assert shown["decision"]["candidates"] == ["small", "large"]
        assert shown["decision"]["reason"] == "fixed:small"
        assert shown["cache"]["cache"] == "miss"
        assert [attempt["group"] for attempt in shown["attempts"]] == ["small"]
        assert shown["cost"]["cost_nanousd"] > 0
        assert "why?" not in json.dumps(shown)
        async with gateway.session.get(gateway.url + "/explain/mine-2") as answer:
            assert json.loads(await answer.read())["cache"]["cache_tier"] == "memory"
        other = await gateway.worker.services.keys.create(f"t-{uuid.uuid4().hex[:8]}", name="other")
        named = {"Authorization": f"Bearer {other.secret}"}
        async with gateway.session.get(gateway.url + "/explain/mine-1", headers=named) as answer:
            assert answer.status == 404
            assert json.loads(await answer.read())["error"]["code"] == "request_not_found"


async def test_a_dry_run_says_of_every_model_why(start_gateway: StartGateway) -> None:
    name = f"p{uuid.uuid4().hex[:8]}"
    gateway = await start_gateway(models=MODELS, policy=POLICY.format(name=name, last="large", ttl="1h"))
    headers = {"x-foreword-dry-run": "1", "x-foreword-tags": "task=cheap"}
    shown = (await gateway.chat("word " * 400, headers=headers)).json()
    considered = {row["group"]: row for row in shown["considered"]}
    assert [considered[group]["place"] for group in shown["candidates"]] == [1, 2, 3][: len(shown["candidates"])]
    assert considered[shown["candidates"][0]]["why"] == shown["reason"]
    assert all(row["expected_cost_usd"] > 0 for row in considered.values())
    assert gateway.provider.requests == []
