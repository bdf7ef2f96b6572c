"""Check that nothing a policy file says can take a request below its quality floor unless the file says so.

Works on the file's shape, after it is known to be right; must not predict anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from policies.document import Document, Path, Problem
from policies.quality import OTHER_TASKS
from policies.schema import ObjectiveSpec, PolicySpec, RouteSpec


def floor_problems(document: Document, spec: PolicySpec) -> list[Problem]:
    """Return every floor that has no reference, every selector without a floor, and every way around a floor."""
    references = [alias for alias, model in spec.models.items() if model.reference]
    problems = [
        document.problem(
            ("models", alias, "reference"), "true", f"only one model may be the reference; {references[0]} is"
        )
        for alias in references[1:]
    ]
    for index, route in enumerate(spec.routes):
        problems += _route_problems(document, spec, ("routes", index), route, references)
    return problems


def _route_problems(
    document: Document, spec: PolicySpec, path: Path, route: RouteSpec, references: list[str]
) -> Iterator[Problem]:
    floor = _floor(route)
    if floor is None:
        if route.selector is not None:
            yield document.problem((*path, "selector"), route.selector.type, "needs objective.quality.floor")
        return
    if not references:
        expected = "a floor is a share of the reference model's quality: mark one of `models` with reference: true"
        yield document.problem((*path, "objective", "quality"), str(floor), expected)
        return
    for place, name, may_be_below in _ways_around(path, route):
        found = None if may_be_below else _shortfall(spec, name, references[0], floor)
        if found is not None:
            yield document.problem(place, name, found)


def _floor(route: RouteSpec) -> float | None:
    objective = route.objective
    return objective.quality.floor if isinstance(objective, ObjectiveSpec) and objective.quality else None


def _ways_around(path: Path, route: RouteSpec) -> Iterator[tuple[Path, str, bool]]:
    """Yield whoever answers without the selector's say: fallbacks, and the cascade's last word."""
    for index, item in enumerate(route.fallbacks):
        place: Path = (*path, "fallbacks", index)
        yield (place, item, False) if isinstance(item, str) else (place, item.model, item.below_floor)
    if route.cascade is not None:
        yield (*path, "cascade", "then"), route.cascade.then, False


def _shortfall(spec: PolicySpec, name: str, reference: str, floor: float) -> str | None:
    """Say what is wrong where `name` may be worse than the floor on some task; None where its priors say it is not."""
    if name == reference or (name in spec.models and spec.models[name].group == spec.models[reference].group):
        return None
    priors = spec.models[name].quality_prior if name in spec.models else {}
    if not priors:
        return (
            "its quality is unknown here and the route has a floor: give it a quality_prior, or say below_floor: true"
        )
    best = spec.models[reference].quality_prior
    for task, prior in priors.items():
        wanted = floor * _of_task(best, task)
        if prior < wanted:
            return (
                f"its quality_prior for {task} is {prior:g}, under the floor of {wanted:.3g}; or say below_floor: true"
            )
    return None


def _of_task(priors: Mapping[str, float], task: str) -> float:
    return priors.get(task, priors.get(OTHER_TASKS, 1.0))
