"""Check what a policy file's names refer to, and that its routes cover everything once.

Works on plain data, so that these problems show beside problems of shape; must not stop at the first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from policies.complaints import did_you_mean, value_text
from policies.document import Document, Path, Problem
from policies.model import REQUESTED

_EVERYTHING = {"any": True}


def name_problems(document: Document, groups: Collection[str] | None) -> list[Problem]:
    """Return every wrong reference; `groups` None means that the models file could not be read."""
    root = _mapping(document.value)
    aliases = _mapping(root.get("models"))
    problems = list(_alias_problems(document, aliases, groups))
    routes = _items(root.get("routes"))
    known = {REQUESTED, *aliases, *(groups or ())}
    for index, route in enumerate(routes):
        for path, name in _references(("routes", index), _mapping(route)):
            if groups is not None and name not in known:
                problems.append(
                    document.problem(path, value_text(name), f"unknown alias or model; {did_you_mean(name, known)}")
                )
    for path, name in _asides(root):
        if groups is not None and name not in known - {REQUESTED}:
            problems.append(
                document.problem(path, value_text(name), f"unknown alias or model; {did_you_mean(name, known)}")
            )
    problems += _order_problems(document, routes)
    problems += _budget_problems(document, _items(root.get("budgets")), routes)
    return problems


def _alias_problems(
    document: Document, aliases: dict[str, object], groups: Collection[str] | None
) -> Iterator[Problem]:
    for alias, entry in aliases.items():
        group = _mapping(entry).get("group")
        if alias == REQUESTED:
            expected = "this name stands for what the client asked for; take another"
            yield document.problem(("models", alias), alias, expected)
        if groups is None or not isinstance(group, str):
            continue
        if group not in groups:
            expected = f"unknown model; {did_you_mean(group, groups)}"
            yield document.problem(("models", alias, "group"), value_text(group), expected)
        if alias in groups and alias != group:
            expected = "is itself a model of the models file; take another name"
            yield document.problem(("models", alias), alias, expected)


def _references(path: Path, route: dict[str, object]) -> Iterator[tuple[Path, str]]:
    for key in ("candidates", "fallbacks"):
        for index, item in enumerate(_items(route.get(key))):
            if isinstance(item, str):
                yield (*path, key, index), item
                continue
            name = _mapping(item).get("model")
            if isinstance(name, str):
                yield (*path, key, index, "model"), name
    cascade = _mapping(route.get("cascade"))
    for key in ("first", "then"):
        name = cascade.get(key)
        if isinstance(name, str):
            yield (*path, "cascade", key), name


def _asides(root: dict[str, object]) -> Iterator[tuple[Path, str]]:
    for index, name in enumerate(_items(_mapping(root.get("shadow")).get("models"))):
        if isinstance(name, str):
            yield ("shadow", "models", index), name
    judge = _mapping(root.get("judge")).get("model")
    if isinstance(judge, str):
        yield ("judge", "model"), judge


def _budget_problems(document: Document, budgets: list[object], routes: list[object]) -> Iterator[Problem]:
    named = {name for route in routes if isinstance(name := _mapping(route).get("name"), str)}
    for index, budget in enumerate(budgets):
        key = _mapping(budget).get("key")
        if isinstance(key, str) and key not in named:
            expected = f"no route of this file has this name; {did_you_mean(key, named)}"
            yield document.problem(("budgets", index, "key"), value_text(key), expected)


def _order_problems(document: Document, routes: list[object]) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    last = len(routes) - 1
    for index, route in enumerate(routes):
        path: Path = ("routes", index)
        fields = _mapping(route)
        name = fields.get("name")
        if isinstance(name, str):
            if name in seen:
                expected = f"another route has this name (line {document.line(('routes', seen[name], 'name'))})"
                yield document.problem((*path, "name"), value_text(name), expected)
            seen.setdefault(name, index)
        condition = fields.get("match")
        if condition is None:
            continue
        if index == last and condition != _EVERYTHING:
            expected = "the last route must match everything: {any: true}"
            yield document.problem((*path, "match"), value_text(condition), expected)
        if index != last and condition == _EVERYTHING:
            expected = "matches everything, so no route after it is taken; put it last"
            yield document.problem((*path, "match"), value_text(condition), expected)


def _mapping(value: object) -> dict[str, object]:
    return {key: item for key, item in value.items() if isinstance(key, str)} if isinstance(value, dict) else {}


def _items(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []
