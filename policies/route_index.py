"""Finds the few routes of a long policy that a request may fit, so that a thousand routes cost about what ten do.

Must not decide: what it leaves out cannot hold, what it leaves in is for decide.py to try.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from policies.model import Match, RequestFacts, Route, RouteIndex

FEW: Final = 16
"""So many routes are tried faster than an index is asked."""
_WILD: Final = "*?["


def index_of(routes: Sequence[Route], *, few: int = FEW) -> RouteIndex | None:
    """Return the index of a policy's routes, None for `few` of them or fewer."""
    if len(routes) <= few:
        return None
    found: dict[str, list[int]] = defaultdict(list)
    for place, route in enumerate(routes):
        for clue in _clues_of(route.match) or ("",):
            found[clue].append(place)
    return RouteIndex(
        places={clue: tuple(places) for clue, places in found.items()},
        model_lengths=_lengths(found, "model^"),
        tenant_lengths=_lengths(found, "tenant^"),
    )


def places(index: RouteIndex, facts: RequestFacts) -> Sequence[int]:
    """Return where the routes stand that may hold for the request, in their order."""
    found: set[int] = set()
    for clue in _clues_in(index, facts):
        found.update(index.places.get(clue, ()))
    return sorted(found)


def _clues_of(condition: Match) -> frozenset[str]:
    """Return clues of which a request must give one for the condition to hold; none: any request may fit."""
    if condition.tag is not None:
        return frozenset({f"tag={condition.tag}"})
    for kind, pattern in (("tenant", condition.tenant), ("model", condition.model)):
        if pattern is not None and (clue := _name_clue(kind, pattern)):
            return frozenset({clue})
    for part in condition.all:
        if clues := _clues_of(part):
            return clues
    alternatives = [_clues_of(part) for part in condition.any_of]
    return frozenset().union(*alternatives) if all(alternatives) else frozenset()


def _name_clue(kind: str, pattern: str) -> str:
    """Return the name that the pattern is, or how the names it covers begin; "" where they may begin in any way."""
    wild = min((place for sign in _WILD if (place := pattern.find(sign)) >= 0), default=-1)
    if wild < 0:
        return f"{kind}={pattern}"
    return f"{kind}^{pattern[:wild]}" if wild else ""


def _clues_in(index: RouteIndex, facts: RequestFacts) -> Iterator[str]:
    yield ""
    yield f"model={facts.requested_model}"
    yield f"tenant={facts.tenant}"
    for length in index.model_lengths:
        yield f"model^{facts.requested_model[:length]}"
    for length in index.tenant_lengths:
        yield f"tenant^{facts.tenant[:length]}"
    for tag in facts.tags:
        yield f"tag={tag}"
        # `task=*` asks for any value; a value may hold the sign itself.
        for place, letter in enumerate(tag):
            if letter == "=":
                yield f"tag={tag[: place + 1]}*"


def _lengths(clues: dict[str, list[int]], beginning: str) -> tuple[int, ...]:
    return tuple(sorted({len(clue) - len(beginning) for clue in clues if clue.startswith(beginning)}))
