from __future__ import annotations

from policies.book import PolicySet
from policies.load import load_policy
from policies.show import Row, limits, rows
from tests.unit.policies.examples import GROUPS
from tests.unit.policies.test_rules import EVERYTHING

GUARDS = "error_rate (rollback), p95_total_ms (pause)"
TEXT = """\
version: 1
policy: p
tenants: [a, b]
models: {small: {group: gpt-4o-mini}}
routes:
  - name: one
    match: {tag: task=fallacy, input_tokens: {gte: 5, lt: 60000}, any: [{model: x*}, {tenant: t}],
            none: [{dialect: embeddings}]}
    candidates: [small, gpt-4o]
    objective: {minimise: cost}
    fallbacks: [requested]
    deadline: 90s
    max_output_tokens: 9
    cache: {exact_ttl: 30d, max_temperature: null, partition_by_user: true, normalise: [clock_in_system]}
    epoch: 2
  - name: two
    match: {any: true}
    candidates: [requested]
    cache: {exact_ttl: 0}
"""


def test_a_route_is_one_row_of_text() -> None:
    policy = load_policy(TEXT, source="p.yaml", groups=GROUPS)
    first, second = rows(PolicySet(version="v", policies=(policy,)))
    assert first == Row(
        policy="p",
        version=policy.version,
        tenants="a, b",
        route="one",
        match="tag task=fallacy and input_tokens < 60000 and input_tokens >= 5 and (model x* or tenant t)"
        " and not (dialect embeddings)",
        models="small (gpt-4o-mini), gpt-4o",
        order="cheapest",
        fallbacks="requested",
        deadline="90s",
        max_output_tokens="9",
        cache="exact 30d, any temperature, by user, clock_in_system, epoch 2",
        also="-",
    )
    assert (second.match, second.fallbacks, second.max_output_tokens, second.cache) == ("everything", "-", "-", "off")


def test_what_a_file_says_of_floors_money_and_rollouts_is_said_in_words() -> None:
    policy = load_policy(EVERYTHING, source="p.yaml", groups=GROUPS)
    first, _ = rows(PolicySet(version="v", policies=(policy,)))
    assert first.also == "floor 0.97 at 90 %, small first, then large, flex above 120 s, only at eu, openai"
    assert limits(policy) == (
        "budget of each tenant: 20 USD a day (Europe/Berlin), hard: downgrade_to_floor, then refuse",
        "budget of each route fallacy: 0.1 USD a hour (UTC), soft: refuse",
        "limit of each key: 60 requests a minute, 10000 tokens a minute",
        "sticky by session",
        "warming: 1 USD a day",
        "a new version takes over by 25 %, 100 %, each 2m at least; guards: " + GUARDS,
        "shadow: 2 % also to small, 1 USD a day",
        "judge: large marks 5 %, 0.5 USD a day",
    )
