"""Say what is wrong with a file in the words of the person who edits it. Must not decide what is wrong."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from difflib import get_close_matches

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from policies.document import Document, Path, Problem
from policies.rule_schema import (
    AcceptSpec,
    AllowSpec,
    BudgetSpec,
    CascadeSpec,
    DeadlineRangeSpec,
    GuardSpec,
    JudgeSpec,
    LatencySpec,
    QualitySpec,
    RateLimitSpec,
    RolloutSpec,
    SelectorSpec,
    SemanticSpec,
    ShadowSpec,
    TierSpec,
    TierWhenSpec,
    WarmingSpec,
)
from policies.schema import (
    CacheSpec,
    DefaultsSpec,
    FallbackSpec,
    HedgeSpec,
    MatchSpec,
    ModelSpec,
    ObjectiveSpec,
    PolicySpec,
    RouteSpec,
    TokenRangeSpec,
)
from policies.shapes import Spec

_SPECS: Mapping[str, type[Spec]] = {
    "defaults": DefaultsSpec,
    "routes": RouteSpec,
    "match": MatchSpec,
    "all": MatchSpec,
    "any": MatchSpec,
    "none": MatchSpec,
    "input_tokens": TokenRangeSpec,
    "objective": ObjectiveSpec,
    "cache": CacheSpec,
    "semantic": SemanticSpec,
    "fallbacks": FallbackSpec,
    "hedge": HedgeSpec,
    "quality": QualitySpec,
    "latency": LatencySpec,
    "selector": SelectorSpec,
    "cascade": CascadeSpec,
    "accept": AcceptSpec,
    "tier": TierSpec,
    "when": TierWhenSpec,
    "deadline_s": DeadlineRangeSpec,
    "budgets": BudgetSpec,
    "rate_limits": RateLimitSpec,
    "warming": WarmingSpec,
    "rollout": RolloutSpec,
    "guard": GuardSpec,
    "shadow": ShadowSpec,
    "judge": JudgeSpec,
    "allow": AllowSpec,
}

_WORDING: Mapping[str, str] = {
    "missing": "required",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "literal_error": "must be {expected}",
    "greater_than": "must be > {gt:g}",
    "greater_than_equal": "must be >= {ge:g}",
    "less_than": "must be < {lt:g}",
    "less_than_equal": "must be <= {le:g}",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "string_too_long": "must be at most {max_length} characters",
    "string_pattern_mismatch": "must be lower-case letters, digits and . _ - (64 at most, not a sign first)",
}


def shape_problems(document: Document, error: ValidationError) -> list[Problem]:
    """Translate what pydantic found, each at its line."""
    return [_shape_problem(document, detail) for detail in error.errors(include_url=False)]


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return `did you mean X?`, or the first of what there is."""
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"there are {listed(known)}" if known else "there are none"


def listed(names: Collection[str], *, most: int = 12) -> str:
    """List names, not more than a reader bears."""
    shown = sorted(names)[:most]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")


def value_text(value: object) -> str:
    """Write a value on one line, 60 characters at most."""
    text = json.dumps(value, default=str)
    if isinstance(value, str) and value.isprintable() and value:
        text = value
    return text if len(text) <= 60 else text[:57] + "..."


def _shape_problem(document: Document, detail: ErrorDetails) -> Problem:
    path = _place(document.value, detail)
    kind = detail["type"]
    if kind == "extra_forbidden":
        known = _known_keys(path[:-1])
        return document.problem(path, value_text(detail["input"]), f"unknown key; {did_you_mean(str(path[-1]), known)}")
    context = detail.get("ctx", {})
    expected = _WORDING[kind].format(**context) if kind in _WORDING else detail["msg"]
    if kind == "string_pattern_mismatch" and path[-1] == "tag":
        expected = "must be key=value, or key=* for any value"
    value = "missing" if kind == "missing" else value_text(detail["input"])
    if kind == "literal_error" and isinstance(detail["input"], str):
        choices = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        near = get_close_matches(detail["input"], choices, n=1)
        expected += f"; did you mean {near[0]}?" if near else ""
    return document.problem(path, value, expected)


def _place(value: object, detail: ErrorDetails) -> Path:
    """Return the path of an error in the file: pydantic's, without the names of union branches."""
    path: Path = ()
    for part in detail["loc"]:
        found = _child(value, part)
        if found:
            value = found[0]
            path = (*path, part)
    return (*path, detail["loc"][-1]) if detail["type"] == "missing" else path


def _child(value: object, part: str | int) -> tuple[object, ...]:
    if isinstance(value, dict):
        return (value[part],) if part in value else ()
    if isinstance(value, list) and isinstance(part, int):
        return tuple(value[part : part + 1])
    return ()


def _known_keys(path: Path) -> Collection[str]:
    names = [part for part in path if isinstance(part, str)]
    if not names:
        return PolicySpec.model_fields
    spec = ModelSpec if names[0] == "models" else _SPECS.get(names[-1])
    return spec.model_fields if spec else ()
