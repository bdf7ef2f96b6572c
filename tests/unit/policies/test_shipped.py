"""Golden table: what the shipped policies plan for which request, over fixed prices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

import policies
from policies.book import PolicyBook, PolicySet
from policies.decide import choose, match
from policies.document import parse
from policies.evidence import Evidence, Labels, Latency
from policies.load import load_models, read_text
from policies.model import Plan, RequestFacts, View
from policies.schema import PolicySpec
from tests.unit.policies.examples import FACTS, card, catalogue, price
from tests.unit.policies.test_schema import keys_of

FOLDER = Path(policies.__file__).parent

CARDS = (
    card("gpt-4o-mini", price(0.15, 0.6)),
    card("gpt-4o", price(2.5, 10)),
    card("gpt-4.1-mini", price(0.4, 1.6), window=1_047_576),
    card("gpt-5-mini", price(0.25, 2), window=272_000),
    card("claude-haiku-4-5", price(1, 5), window=200_000),
    card("claude-sonnet-4-5", price(3, 15), window=200_000),
    card("gemini-2.5-flash", price(0.3, 2.5), window=1_048_576),
    card("text-embedding-3-small", price(0.02, 0), mode="embeddings", window=8191, most_output=None, can=()),
)
CATALOGUE = catalogue(*(replace(one, providers=("openai",)) for one in CARDS))


def tagged(tag: str, input_tokens: int = 4000) -> RequestFacts:
    return structs.replace(FACTS, tenant="debate-bot", tags=frozenset({tag}), input_tokens=input_tokens)


VECTOR = structs.replace(FACTS, dialect="embeddings", requested_model="text-embedding-3-small", input_tokens=8000)

# facts, policy, route, candidates, reason
GOLDEN: list[tuple[str, RequestFacts, str, str, str, str]] = [
    ("chat", FACTS, "default", "chat", "gpt-4o-mini", "fixed:gpt-4o-mini"),
    ("vectors", VECTOR, "default", "embeddings", "text-embedding-3-small", "fixed:text-embedding-3-small"),
    (
        "step",
        structs.replace(tagged("task=fallacy"), tenant="x"),
        "default",
        "task",
        "gpt-4o-mini",
        "fixed:gpt-4o-mini",
    ),
    ("unknown", structs.replace(FACTS, requested_model="gpt-9"), "default", "chat", "", ""),
    ("mode", structs.replace(FACTS, requested_model="text-embedding-3-small"), "default", "chat", "", ""),
    (
        "fallacy",
        tagged("task=fallacy"),
        "debate-bot",
        "fallacy",
        "claude-sonnet-4-5 gpt-4o claude-haiku-4-5 gpt-4o-mini",
        "quality_floor:claude-sonnet-4-5 0.01968",
    ),
    (
        "long fallacy",
        tagged("task=fallacy", 60_000),
        "debate-bot",
        "task",
        "gpt-4o-mini gemini-2.5-flash claude-haiku-4-5 gpt-4o",
        "cheapest:gpt-4o-mini 0.0093072<gemini-2.5-flash 0.01928<claude-haiku-4-5 0.06256",
    ),
    (
        "topics",
        tagged("task=topics"),
        "debate-bot",
        "task",
        "gpt-4o-mini gemini-2.5-flash claude-haiku-4-5 gpt-4o",
        "cheapest:gpt-4o-mini 0.0009072<gemini-2.5-flash 0.00248<claude-haiku-4-5 0.00656",
    ),
    (
        "analysis",
        tagged("task=analysis"),
        "debate-bot",
        "analysis",
        "gpt-4o-mini gpt-4o",
        "cascade:gpt-4o-mini",
    ),
    (
        "analysis without the second model",
        structs.replace(tagged("task=analysis"), allowed_models=frozenset({"gpt-4o-mini"})),
        "debate-bot",
        "analysis",
        "gpt-4o-mini",
        "cheapest:gpt-4o-mini 0.0009072",
    ),
    (
        "recap",
        tagged("task=recap"),
        "debate-bot",
        "recap",
        "gpt-4o-mini gemini-2.5-flash claude-haiku-4-5",
        "cheapest:gpt-4o-mini 0.0009072<gemini-2.5-flash 0.00248<claude-haiku-4-5 0.00656",
    ),
    (
        "beyond most windows",
        tagged("task=topics", 190_000),
        "debate-bot",
        "task",
        "gemini-2.5-flash claude-haiku-4-5",
        "cheapest:gemini-2.5-flash 0.05828<claude-haiku-4-5 0.19256",
    ),
    (
        "a narrow key",
        structs.replace(tagged("task=topics"), allowed_models=frozenset({"gpt-4o"})),
        "debate-bot",
        "task",
        "gpt-4o",
        "fallback:gpt-4o",
    ),
    (
        "bot chat",
        structs.replace(FACTS, tenant="debate-bot-2", requested_model="gpt-4o"),
        "debate-bot",
        "chat",
        "gpt-4o gpt-4o-mini",
        "fixed:gpt-4o",
    ),
    (
        "bot vectors",
        structs.replace(VECTOR, tenant="debate-bot"),
        "debate-bot",
        "embeddings",
        "text-embedding-3-small",
        "fixed:text-embedding-3-small",
    ),
    (
        "another tenant",
        structs.replace(FACTS, tenant="debate-bots"),
        "default",
        "chat",
        "gpt-4o-mini",
        "fixed:gpt-4o-mini",
    ),
]


@pytest.fixture(scope="module")
def shipped() -> PolicySet:
    source = FOLDER / "models.yaml"
    groups = load_models(read_text(source, source="models.yaml"), source="models.yaml").groups
    return PolicyBook(FOLDER, groups=groups).current()


@pytest.mark.parametrize("row", GOLDEN, ids=[row[0] for row in GOLDEN])
def test_the_shipped_policies_plan_what_the_golden_table_says(
    shipped: PolicySet, row: tuple[str, RequestFacts, str, str, str, str]
) -> None:
    _, facts, policy, route, candidates, reason = row
    found = choose(match(shipped.for_tenant(facts.tenant), facts), View(catalogue=CATALOGUE, draw=0.5))
    assert shipped.for_tenant(facts.tenant).name == policy
    assert found.route == route
    if isinstance(found, Plan):
        assert (" ".join(found.candidates), found.reason) == (candidates, reason)
    else:
        assert candidates == ""


LEARNT = Evidence(
    version="1-1@1",
    task={"gpt-4o-mini": Labels(2000, 1900), "claude-sonnet-4-5": Labels(2000, 1900)},
    near={"gpt-4o-mini": Labels(100, 60), "gemini-2.5-flash": Labels(100, 99), "claude-sonnet-4-5": Labels(100, 90)},
    shares={"gpt-4o-mini": 0.5, "claude-sonnet-4-5": 0.5},
    uplift_low=0.01,
)
# what is known, draw, latencies, candidates, reason
KNOWING: list[tuple[str, Evidence, float, dict[str, Latency], str, str]] = [
    (
        "the neighbours once they are proven",
        LEARNT,
        0.5,
        {},
        "gemini-2.5-flash claude-sonnet-4-5 gpt-4o-mini",
        "quality_floor:gemini-2.5-flash 0.00248<claude-sonnet-4-5 0.01968",
    ),
    (
        "the task's mean until then",
        structs.replace(LEARNT, uplift_low=-0.01),
        0.5,
        {},
        "gpt-4o-mini claude-sonnet-4-5",
        "quality_floor:gpt-4o-mini 0.0009072<claude-sonnet-4-5 0.01968",
    ),
    (
        "a shuffle for a few",
        LEARNT,
        0.029,
        {},
        "claude-sonnet-4-5 gpt-4o-mini",
        "control_arm:claude-sonnet-4-5",
    ),
    (
        "who is in time",
        structs.replace(LEARNT, near=None),
        0.5,
        {"gpt-4o-mini": Latency(p95_first_token_ms=8001)},
        "claude-sonnet-4-5",
        "quality_floor:claude-sonnet-4-5 0.01968",
    ),
]


@pytest.mark.parametrize("row", KNOWING, ids=[row[0] for row in KNOWING])
def test_on_the_route_with_a_floor_it_is(
    shipped: PolicySet, row: tuple[str, Evidence, float, dict[str, Latency], str, str]
) -> None:
    _, evidence, draw, latency, candidates, reason = row
    facts = tagged("task=fallacy")
    view = View(catalogue=CATALOGUE, evidence=evidence, draw=draw, latency=latency)
    plan = choose(match(shipped.for_tenant(facts.tenant), facts), view)
    assert isinstance(plan, Plan)
    assert (" ".join(plan.candidates), plan.reason) == (candidates, reason)


def test_the_golden_table_reaches_every_shipped_route(shipped: PolicySet) -> None:
    reached = {(row[2], row[3]) for row in GOLDEN}
    assert {(policy.name, route.name) for policy in shipped.policies for route in policy.routes} == reached


def test_a_model_with_a_provider_elsewhere_gets_no_debate(shipped: PolicySet) -> None:
    facts = tagged("task=topics")
    elsewhere = {**CATALOGUE, "gpt-4o-mini": replace(CATALOGUE["gpt-4o-mini"], providers=("openai", "elsewhere"))}
    plan = choose(match(shipped.for_tenant(facts.tenant), facts), View(catalogue=elsewhere, draw=0.5))
    assert isinstance(plan, Plan)
    assert "gpt-4o-mini" not in plan.candidates


def test_the_debate_bots_file_uses_every_key() -> None:
    document = parse((FOLDER / "debate-bot.yaml").read_text(encoding="utf-8"), source="debate-bot.yaml")
    used = {part for path in document.lines for part in path if isinstance(part, str)}
    # Other ways to match and to bound, a region that no deployment of the shipped models file states, and what needs a
    # question's vector: the route with a floor has no semantic cache.
    needs_vector = {"k", "min_similarity"}
    assert keys_of(PolicySpec.model_json_schema()) - used == {"none", "tenant", "lte", "gte", "regions", *needs_vector}
