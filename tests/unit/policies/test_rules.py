"""What a policy says of quality, cascades, tiers, budgets, rollout, shadow and warming: values, and what is refused."""

from __future__ import annotations

import pytest

from policies.document import DocumentError
from policies.load import load_policy
from policies.model import Policy
from policies.rules import (
    AcceptRules,
    AllowRules,
    BudgetRules,
    CascadeRules,
    GuardRules,
    JudgeRules,
    KnnRules,
    LatencyRules,
    QualityRules,
    RateRules,
    RolloutRules,
    ShadowRules,
    TierRules,
    WarmingRules,
)
from tests.unit.policies.examples import GROUPS

EVERYTHING = """\
version: 1
policy: example
defaults: {sticky: session}
models:
  small: {group: gpt-4o-mini, quality_prior: {fallacy: 0.97, any: 0.99}}
  weak: {group: claude-haiku-4-5, quality_prior: {fallacy: 0.5}}
  large: {group: gpt-4o, reference: true}
routes:
  - name: fallacy
    match: {tag: task=fallacy}
    candidates: [small, large]
    objective: {minimise: cost, quality: {floor: 0.97, confidence: 0.9}, latency: {p95_first_token_ms: 2500}}
    selector: {type: quality_floor, k: 50, min_similarity: 0.6}
    cascade: {first: small, accept: {json_schema: fallacy_v1, no_refusal: true}, then: large, max_steps: 2}
    tier: {prefer: flex, when: {deadline_s: {gt: 120}}}
    allow: {providers: [openai], regions: [eu]}
    fallbacks: [{model: weak, below_floor: true}, {model: small}]
  - {name: rest, match: {any: true}, candidates: [requested]}
budgets:
  - {scope: tenant, limit_usd: 20, window: day, tz: Europe/Berlin, on_exceed: [downgrade_to_floor, refuse]}
  - {scope: route, key: fallacy, limit_usd: 0.1, window: hour, hard: false}
rate_limits: [{scope: key, requests_per_minute: 60, tokens_per_minute: 10000}]
warming: {limit_usd_day: 1.0, max_share_of_spend: 0.05, tier: flex}
rollout: {percent: 25, salt: a, steps: [5, 25, 100], hold_min: 2,
  guard: [{metric: error_rate, worse_by_abs: 0.005, min_n: 400},
          {metric: p95_total_ms, worse_by_rel: 0.15, action: pause}]}
shadow: {sample: 0.02, models: [small], max_concurrency: 3, limit_usd_day: 1}
judge: {model: large, sample: 0.05, limit_usd_day: 0.5}
"""


def loaded(text: str = EVERYTHING) -> Policy:
    """Compile a file over the example's models."""
    return load_policy(text, source="f.yaml", groups=GROUPS)


def problems_of(text: str) -> list[str]:
    """Return every problem of a bad file."""
    with pytest.raises(DocumentError) as caught:
        loaded(text)
    return [str(problem) for problem in caught.value.problems]


def test_every_rule_becomes_the_value_it_says() -> None:
    policy = loaded()
    route = policy.routes[0]
    assert (route.selector, route.quality) == ("quality_floor", QualityRules(floor=0.97, confidence=0.9))
    assert route.latency == LatencyRules(p95_first_token_ms=2500)
    assert route.knn == KnnRules(k=50, min_similarity=0.6, control=0.03)
    assert route.cascade == CascadeRules(
        first="small", then="large", accept=AcceptRules(json_schema="fallacy_v1", no_refusal=True)
    )
    assert route.tier == TierRules(prefer="flex", deadline_gt_s=120)
    assert policy.sticky == "session"
    assert policy.reference == "gpt-4o"
    assert policy.quality_priors == {
        "gpt-4o-mini": {"fallacy": 0.97, "any": 0.99},
        "claude-haiku-4-5": {"fallacy": 0.5},
    }
    assert policy.budgets == (
        BudgetRules(
            scope="tenant",
            limit_nanousd=20_000_000_000,
            window="day",
            tz="Europe/Berlin",
            on_exceed=("downgrade_to_floor", "refuse"),
        ),
        BudgetRules(scope="route", route="fallacy", limit_nanousd=100_000_000, window="hour", is_hard=False),
    )
    assert policy.rates == (RateRules(scope="key", requests_per_minute=60, tokens_per_minute=10_000),)
    assert policy.warming == WarmingRules(limit_nanousd_day=1_000_000_000)
    assert policy.rollout == RolloutRules(
        steps=(25, 100),
        salt="a",
        hold_s=120,
        guards=(
            GuardRules(metric="error_rate", worse_by_abs=0.005),
            GuardRules(metric="p95_total_ms", worse_by_rel=0.15, action="pause"),
        ),
    )
    assert policy.shadow == ShadowRules(
        sample=0.02, models=("small",), max_concurrency=3, limit_nanousd_day=1_000_000_000
    )


def test_a_judge_and_where_text_may_go_become_the_values_they_say() -> None:
    policy = loaded()
    assert policy.judge == JudgeRules(model="large", sample=0.05, max_concurrency=2, limit_nanousd_day=500_000_000)
    assert policy.routes[0].allow == AllowRules(providers=frozenset({"openai"}), regions=frozenset({"eu"}))
    assert policy.routes[1].allow is None


def test_a_judge_of_nobody_is_a_mistake() -> None:
    plain = "version: 1\npolicy: x\nroutes: [{name: a, match: {any: true}, candidates: [requested]}]\n"
    judge = "judge: {model: gpt-4o, sample: 0.1, limit_usd_day: 1}\n"
    (problem,) = problems_of(plain + judge)
    assert problem.startswith("f.yaml:4: judge: gpt-4o: judges nobody: no route has a quality floor")
    guard = "rollout: {salt: a, guard: [{metric: quality, worse_by_abs: 0.1}]}\n"
    assert loaded(plain + judge + guard).judge is not None


def test_a_file_that_says_nothing_of_them_has_none() -> None:
    policy = loaded("version: 1\npolicy: x\nroutes: [{name: a, match: {any: true}, candidates: [requested]}]\n")
    assert (policy.budgets, policy.rates, policy.warming, policy.rollout, policy.shadow) == ((), (), None, None, None)
    assert (policy.sticky, policy.reference, policy.routes[0].quality) == ("none", None, None)


def test_warming_off_is_off() -> None:
    assert (
        loaded(EVERYTHING.replace("{limit_usd_day: 1.0, max_share_of_spend: 0.05, tier: flex}", "off")).warming is None
    )


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (", reference: true", "", "f.yaml:12: routes[0].objective.quality: 0.97: a floor is a share of the reference"),
        (
            "fallacy: 0.97",
            "fallacy: 0.96",
            "f.yaml:17: routes[0].fallbacks[1]: small: its quality_prior for fallacy is",
        ),
        (", below_floor: true", "", "f.yaml:17: routes[0].fallbacks[0]: weak: its quality_prior for fallacy is 0.5"),
        ("then: large", "then: weak", "f.yaml:14: routes[0].cascade.then: weak: its quality_prior for fallacy is 0.5"),
        (
            "candidates: [small, large]",
            "candidates: [small]",
            "f.yaml:11: routes[0].candidates: small: must name the reference, large",
        ),
        ("then: large", "then: lage", "routes[0].cascade.then: lage: unknown alias or model; did you mean large?"),
        (", quality: {floor: 0.97, confidence: 0.9}", "", "routes[0].selector: quality_floor: needs objective.quality"),
        ("key: fallacy", "key: falacy", "f.yaml:21: budgets[1].key: falacy: no route of this file has this name; did"),
        ("scope: tenant", "scope: route", "f.yaml:20: budgets[0]: {"),
        ("limit_usd: 20,", "limit_usd: -5,", "f.yaml:20: budgets[0].limit_usd: -5: must be >= 0"),
        ("Europe/Berlin", "Europe/Atlantis", "budgets[0].tz: Europe/Atlantis: must be a time zone of the IANA"),
        ("[downgrade_to_floor, refuse]", "[refuse, refuse]", "nothing can follow refuse in on_exceed"),
        ("{scope: key, requests_per_minute: 60, tokens_per_minute: 10000}", "{scope: key}", "give requests_per_minute"),
        ("percent: 25", "percent: 30", "`percent` must be one of `steps`"),
        ("[5, 25, 100]", "[25, 5, 100]", "`steps` must rise"),
        ("worse_by_abs: 0.005, ", "", "give worse_by_abs or worse_by_rel, one of them"),
        (
            "models: [small], max",
            "models: [smal], max",
            "shadow.models[0]: smal: unknown alias or model; did you mean small?",
        ),
        (
            "judge: {model: large",
            "judge: {model: lagre",
            "f.yaml:28: judge.model: lagre: unknown alias or model; did you mean",
        ),
        (
            "judge: {model: large",
            "judge: {modle: large",
            "f.yaml:28: judge.modle: large: unknown key; did you mean model?",
        ),
        ("[openai], regions", "[], regions", "f.yaml:16: routes[0].allow.providers: []: must not be empty"),
        (
            "regions: [eu]",
            "region: [eu]",
            'f.yaml:16: routes[0].allow.region: ["eu"]: unknown key; did you mean regions?',
        ),
        (
            "then: large",
            "then: small",
            "f.yaml:14: routes[0].cascade.then: small: must be another model than first, small",
        ),
        ("gt: 120", "gt: 300", "f.yaml:15: routes[0].tier.when.deadline_s.gt: 300: never applies: no request of this"),
        ("sample: 0.02", "sampel: 0.02", "shadow.sampel: 0.02: unknown key; did you mean sample?"),
        ("tier: flex}\nrollout", "teir: flex}\nrollout", "warming.teir: flex: unknown key; did you mean tier?"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(before: str, after: str, expected: str) -> None:
    assert before in EVERYTHING
    found = problems_of(EVERYTHING.replace(before, after, 1))
    assert any(expected in problem for problem in found), found
