"""Find what a policy file says and could never apply: somebody believes that it does.

Works on the file's shape, after it is known to be right; must not judge what is sensible.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.document import Document, Path, Problem
from policies.schema import ObjectiveSpec, PolicySpec, RouteSpec


def idle_problems(document: Document, spec: PolicySpec) -> list[Problem]:
    """Return every cascade of one model, every tier that no deadline reaches, and a judge of nobody."""
    problems: list[Problem] = []
    for index, route in enumerate(spec.routes):
        problems += _of_route(document, spec, ("routes", index), route)
    has_floor = any(isinstance(one.objective, ObjectiveSpec) and one.objective.quality for one in spec.routes)
    has_guard = spec.rollout is not None and any(guard.metric == "quality" for guard in spec.rollout.guard)
    if spec.judge is not None and not (has_floor or has_guard):
        expected = "judges nobody: no route has a quality floor, and no guard of a rollout compares quality"
        problems.append(document.problem(("judge",), spec.judge.model, expected))
    return problems


def _of_route(document: Document, spec: PolicySpec, path: Path, route: RouteSpec) -> Iterator[Problem]:
    cascade, when = route.cascade, route.tier.when if route.tier is not None else None
    if cascade is not None and _group(spec, cascade.first) == _group(spec, cascade.then):
        expected = f"must be another model than first, {cascade.first}"
        yield document.problem((*path, "cascade", "then"), cascade.then, expected)
    longest_s = spec.defaults.deadline_s if route.deadline is None else route.deadline
    if when is not None and when.deadline_s.gt >= longest_s:
        expected = f"never applies: no request of this route has a deadline above {longest_s:g} s"
        yield document.problem((*path, "tier", "when", "deadline_s", "gt"), f"{when.deadline_s.gt:g}", expected)


def _group(spec: PolicySpec, name: str) -> str:
    return spec.models[name].group if name in spec.models else name
