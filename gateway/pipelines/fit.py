"""Does an answer's text fit its step's JSON Schema? Reads text, repairs nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

import orjson
from jsonschema import Draft202012Validator

_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?```\s*", re.DOTALL)
_MAX_PROBLEMS = 5
_MAX_PROBLEM_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Fits:
    """A result that fits."""

    result: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """What is wrong with the answer, fit to be told to a model."""

    problems: str


def fit(content: str, validator: Draft202012Validator) -> Fits | Misfit:
    """Parse `content` (a Markdown fence around it is allowed) and check it against the schema."""
    fenced = _FENCED.fullmatch(content)
    try:
        result = orjson.loads(fenced.group(1) if fenced else content)
    except orjson.JSONDecodeError as error:
        return Misfit(problems=f"not JSON ({error.msg} at character {error.pos})")
    errors = islice(validator.iter_errors(result), _MAX_PROBLEMS)
    problems = "; ".join(f"{each.json_path}: {each.message[:_MAX_PROBLEM_CHARS]}" for each in errors)
    if problems or not isinstance(result, dict):
        return Misfit(problems=problems or "no JSON object")
    return Fits(result=result)
