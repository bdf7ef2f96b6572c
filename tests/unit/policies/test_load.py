from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from policies.document import DocumentError
from policies.load import load_policy, read_text
from policies.model import CacheRules, Match, Policy, Route, TokenRange
from policies.rules import HedgeRules, SemanticRules
from tests.unit.policies.examples import GROUPS, MINIMAL

FULL = """\
version: 1
policy: full
tenants: [a, "b-*"]
defaults: {on_no_candidate: refuse, deadline_s: 90, max_output_tokens: 1000}
models:
  small: {group: gpt-4o-mini}
routes:
  - name: fallacy
    match: {all: [{tag: task=fallacy}, {input_tokens: {lt: 60000, gte: 1}}], any: [{model: gpt-*}, {tenant: a}],
            none: [{dialect: embeddings}]}
    candidates: [small, gpt-4o, requested]
    objective: {minimise: cost}
    fallbacks: [{model: claude-haiku-4-5}, small]
    deadline: 60s
    max_output_tokens: 500
    cache: {exact_ttl: 30d, max_temperature: null, partition_by_user: true, normalise: [clock_in_system]}
    assemble: true
    on_cut: hold
    hedge: {after: p99, max: 2, budget_ratio: 0.01}
    epoch: 3
  - name: rest
    match: {any: true}
    candidates: [requested]
    objective: fixed
"""


def load(text: str) -> Policy:
    return load_policy(text, source="f.yaml", groups=GROUPS)


def problems_of(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        load(text)
    return [str(problem) for problem in caught.value.problems]


def with_route(line: str, match: str = "{any: true}") -> str:
    return f"version: 1\npolicy: p\nroutes:\n  - name: a\n    match: {match}\n    candidates: [gpt-4o]\n    {line}\n"


def test_every_key_becomes_a_field() -> None:
    policy = load(FULL)
    condition = Match(
        all=(Match(tag="task=fallacy"), Match(input_tokens=TokenRange(lt=60000, gte=1))),
        any_of=(Match(model="gpt-*"), Match(tenant="a")),
        none=(Match(dialect="embeddings"),),
    )
    first = Route(
        name="fallacy",
        match=condition,
        candidates=("small", "gpt-4o", "requested"),
        selector="cheapest",
        fallbacks=("claude-haiku-4-5", "small"),
        deadline_s=60.0,
        max_output_tokens=500,
        cache=CacheRules(
            exact_ttl_s=2_592_000.0, max_temperature=None, partition_by_user=True, normalise=("clock_in_system",)
        ),
        assemble=True,
        on_cut="hold",
        epoch=3,
        hedge=HedgeRules(after=0.99, max=2, budget_ratio=0.01),
    )
    assert policy.routes[0] == first
    assert (policy.name, policy.tenants, dict(policy.models)) == ("full", ("a", "b-*"), {"small": "gpt-4o-mini"})


def test_a_route_without_a_key_takes_the_default_of_its_file_or_of_the_format() -> None:
    rest = load(FULL).routes[1]
    assert (rest.deadline_s, rest.max_output_tokens, rest.selector) == (90.0, 1000, "fixed")
    bare = load(MINIMAL)
    assert bare.tenants == ("*",)
    assert bare.routes == (
        Route(
            name="all",
            match=Match(),
            candidates=("requested",),
            selector="fixed",
            fallbacks=(),
            deadline_s=300.0,
            max_output_tokens=None,
            cache=CacheRules(),
        ),
    )


def test_the_version_is_the_hash_of_the_text() -> None:
    assert load(MINIMAL).version == hashlib.sha256(MINIMAL.encode()).hexdigest()[:12]
    assert load(MINIMAL + "# a comment\n").version != load(MINIMAL).version


def test_the_semantic_cache_is_off_unless_a_route_says_how_many_hits_may_be_wrong() -> None:
    assert load(with_route("cache: {exact_ttl: 1h}")).routes[0].cache.semantic is None
    assert load(with_route("cache: {semantic: off}")).routes[0].cache.semantic is None
    given = "{wrong_per_hit: 0.01, wrong_per_request: 0.002, sample: 0.05, label_budget_usd_day: 0.25}"
    assert load(with_route(f"cache: {{semantic: {given}}}")).routes[0].cache.semantic == SemanticRules(
        wrong_per_hit=0.01, wrong_per_request=0.002, sample=0.05, label_budget_nanousd_day=250_000_000
    )
    assert load(with_route("cache: {semantic: {}}")).routes[0].cache.semantic == SemanticRules()


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("on", "cache.semantic"),
        ("{wrong_per_hit: 0}", "cache.semantic.wrong_per_hit"),
        ("{wrong_per_hit: 0.5}", "cache.semantic.wrong_per_hit"),
        ("{sample: 0}", "cache.semantic.sample"),
        ("{threshold: 0.95}", "cache.semantic.threshold"),
    ],
)
def test_a_bound_that_means_nothing_is_refused_with_its_key(written: str, key: str) -> None:
    (problem,) = problems_of(with_route(f"cache: {{semantic: {written}}}"))
    assert f"routes[0].{key}: " in problem


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("deadlin: 5s", "f.yaml:7: routes[0].deadlin: 5s: unknown key; did you mean deadline?"),
        ("deadline: 5", "f.yaml:7: routes[0].deadline: 5: must be a duration with its unit"),
        ("deadline: 0s", "f.yaml:7: routes[0].deadline: 0s: must be > 0"),
        ("epoch: -5", "f.yaml:7: routes[0].epoch: -5: must be >= 0"),
        ("epoch: true", "f.yaml:7: routes[0].epoch: true: must be a whole number"),
        ("on_cut: retry", "f.yaml:7: routes[0].on_cut: retry: must be 'resume', 'error' or 'hold'"),
        ("hedge: {max: 0}", "f.yaml:7: routes[0].hedge.max: 0: must be >= 1"),
        ("hedge: {after: p80}", "f.yaml:7: routes[0].hedge.after: p80: must be 'p90', 'p95' or 'p99'"),
        ("hedge: {budget_ratio: 0.2}", "f.yaml:7: routes[0].hedge.budget_ratio: 0.2: must be <= 0.1"),
        ("assemble: 1", "f.yaml:7: routes[0].assemble: 1: must be true or false"),
        ("max_output_tokens: '5'", "f.yaml:7: routes[0].max_output_tokens: 5: must be a whole number"),
        ("objective: cheap", "f.yaml:7: routes[0].objective: cheap: must be fixed or {minimise: cost}"),
        ("objective: {minimise: cots}", "f.yaml:7: routes[0].objective.minimise: cots: must be 'cost'"),
        ("fallbacks: [3]", "f.yaml:7: routes[0].fallbacks[0]: 3: must be a name or {model: name}"),
        ("fallbacks: [{model: gpt-4}]", "fallbacks[0].model: gpt-4: unknown alias or model; did you mean gpt-4o?"),
        ("cache: {max_temperature: 3}", "f.yaml:7: routes[0].cache.max_temperature: 3: must be <= 2"),
        ("cache: {exact_ttl: 1e999}", "f.yaml:7: routes[0].cache.exact_ttl: Infinity: must be a duration"),
        ("cache: {normalise: [clock]}", "must be 'clock_in_system' or 'user_mention_prefix'"),
        ("cache: 5", "f.yaml:7: routes[0].cache: 5: must be a mapping"),
    ],
)
def test_a_wrong_value_says_where_it_is_and_what_would_be_right(line: str, expected: str) -> None:
    (problem,) = problems_of(with_route(line))
    assert expected in problem


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("{}", "say what to match; {any: true} matches every request"),
        ("{any: true, model: x}", "`any: true` matches everything: it must stand alone"),
        ("{any: 3}", "match.any: 3: must be true or a list"),
        ("{any: false}", "match.any: false: must be true or a list"),
        ("{tag: fallacy}", "match.tag: fallacy: must be key=value, or key=* for any value"),
        ("{tag: 'task=f*'}", "must be key=value, or key=* for any value"),
        ("{all: []}", "match.all: []: must not be empty"),
        ("{dialect: chats}", "must be 'chat' or 'embeddings'; did you mean chat?"),
        ("{input_tokens: {gt: 5, lt: 6}}", "no number of tokens satisfies these bounds"),
        ("{input_tokens: {lt: 0}}", "no number of tokens satisfies these bounds"),
        ("{input_tokens: {}}", "give at least one of lt, lte, gt, gte"),
        ("{all: [{any: [{modle: x}]}]}", "match.all[0].any[0].modle: x: unknown key; did you mean model?"),
    ],
)
def test_a_condition_that_cannot_be_meant_is_refused(condition: str, expected: str) -> None:
    text = (
        f"version: 1\npolicy: p\nroutes:\n  - name: a\n    match: {condition}\n    candidates: [gpt-4o]\n"
        "  - {name: b, match: {any: true}, candidates: [gpt-4o]}\n"
    )
    (problem,) = problems_of(text)
    assert problem.startswith("f.yaml:5: routes[0].match")
    assert expected in problem


def test_all_problems_of_shape_and_of_names_are_told_at_once_in_order_of_lines() -> None:
    text = """\
version: 1
polcy: x
models:
  small: {group: gpt-4o-mni}
routes:
  - name: A b
    match: {model: gpt-*}
    candidates: [smal]
  - name: twice
    match: {any: true}
    candidates: []
  - name: twice
    match: {tag: a=b}
    candidates: [gpt-4o]
"""
    assert problems_of(text) == [
        "f.yaml:1: policy: missing: required",
        "f.yaml:2: polcy: x: unknown key; did you mean policy?",
        "f.yaml:4: models.small.group: gpt-4o-mni: unknown model; did you mean gpt-4o-mini?",
        "f.yaml:6: routes[0].name: A b: must be lower-case letters, digits and . _ - (64 at most, not a sign first)",
        "f.yaml:8: routes[0].candidates[0]: smal: unknown alias or model; did you mean small?",
        'f.yaml:10: routes[1].match: {"any": true}: matches everything, so no route after it is taken; put it last',
        "f.yaml:11: routes[1].candidates: []: must not be empty",
        "f.yaml:12: routes[2].name: twice: another route has this name (line 9)",
        'f.yaml:13: routes[2].match: {"tag": "a=b"}: the last route must match everything: {any: true}',
    ]


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("{requested: {group: gpt-4o}}", "this name stands for what the client asked for"),
        ("{gpt-4o: {group: gpt-4o-mini}}", "is itself a model of the models file"),
        ("{'A b': {group: gpt-4o}}", "must be lower-case letters"),
        ("{small: gpt-4o}", "must be a mapping"),
    ],
)
def test_an_alias_that_would_mislead_is_refused(models: str, expected: str) -> None:
    (problem,) = problems_of(MINIMAL + f"models: {models}\n")
    assert problem.startswith("f.yaml:7: models.")
    assert expected in problem


@pytest.mark.parametrize("text", ["", "5", "[]", "text"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    (problem,) = problems_of(text)
    assert "must be a mapping" in problem


@pytest.mark.parametrize("version", ["2", "true", "1.0", "'1'"])
def test_another_version_of_the_format_is_refused(version: str) -> None:
    (problem,) = problems_of(MINIMAL.replace("version: 1", f"version: {version}"))
    assert problem.startswith("f.yaml:1: version: ")
    assert problem.endswith("must be 1")


def test_without_a_models_file_names_are_not_judged() -> None:
    text = with_route("fallbacks: [whatever]")
    assert load_policy(text, source="f.yaml", groups=None).routes[0].fallbacks == ("whatever",)


def test_a_file_is_read_within_bounds(tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(DocumentError, match=r"large:1: \(file\): more than 1048576 bytes: at most 1048576 bytes"):
        read_text(tmp_path / "large.yaml", source="large")
    with pytest.raises(DocumentError, match=r"absent:1: \(file\): No such file or directory: a file that can be read"):
        read_text(tmp_path / "absent.yaml", source="absent")


def test_a_route_is_hedged_only_where_it_says_so_and_then_by_these_defaults() -> None:
    assert load(MINIMAL).routes[0].hedge is None
    assert load(with_route("hedge: {}", "{any: true}")).routes[0].hedge == HedgeRules(
        after=0.95, max=1, budget_ratio=0.02
    )


def test_old_answers_stand_in_and_are_renewed_only_where_a_route_says_so() -> None:
    assert load(with_route("cache: {exact_ttl: 1h}")).routes[0].cache.stale_if_error_s == 0.0
    assert load(with_route("cache: {exact_ttl: 1h}")).routes[0].cache.refresh_after_s is None
    rules = load(with_route("cache: {exact_ttl: 1h, stale_if_error: 1d, refresh_after: 20m}")).routes[0].cache
    assert (rules.stale_if_error_s, rules.refresh_after_s) == (86_400.0, 1200.0)


def test_requests_are_kept_beside_their_answers_unless_a_route_says_no() -> None:
    assert load(with_route("cache: {exact_ttl: 1h}")).routes[0].cache.retain_text is True
    assert load(with_route("cache: {retain_text: false}")).routes[0].cache.retain_text is False


@pytest.mark.parametrize("written", ["{exact_ttl: 1h, refresh_after: 1h}", "{exact_ttl: 0s, stale_if_error: 1h}"])
def test_times_that_could_never_apply_are_refused(written: str) -> None:
    (problem,) = problems_of(with_route(f"cache: {written}"))
    assert "routes[0].cache" in problem
