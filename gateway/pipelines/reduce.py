"""Merges the results of a step's segments into one, by the rules of the pipeline's file; asks no model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from gateway.pipelines.transcript import squeezed

Result = Mapping[str, object]


class ReduceRule(BaseModel):
    """How one member of the result is merged: lists without repeats of `by`, texts joined, or the first one kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Literal["merge", "join", "first"]
    by: tuple[str, ...] = ()
    separator: str = "\n\n"


def reduced(results: Sequence[Result], rules: Mapping[str, ReduceRule]) -> Result:
    """Merge `results` (in the order of the segments) member by member; one result is returned as it is."""
    if len(results) == 1:
        return results[0]
    return {name: _member([each[name] for each in results if name in each], rule) for name, rule in rules.items()}


def _member(values: Sequence[object], rule: ReduceRule) -> object:
    match rule.rule:
        case "merge":
            seen: dict[str, object] = {}
            for value in values:
                for item in value if isinstance(value, list) else ():
                    seen.setdefault(_identity(item, rule.by), item)
            return list(seen.values())
        case "join":
            return rule.separator.join(dict.fromkeys(str(value) for value in values if value))
        case "first":
            return values[0] if values else None


def _identity(item: object, by: Sequence[str]) -> str:
    """Return what makes two items the same: the members named in `by`, case and white space aside."""
    wanted = [item.get(name) for name in by] if isinstance(item, Mapping) and by else item
    return squeezed(json.dumps(wanted, sort_keys=True, ensure_ascii=False)).casefold()
