"""Choices made before, for requests that could only get the same again: a plan per policy version and class of facts.

`choose` is pure, so a choice is as good as made anew while it is asked the same. Only choices that no draw, no size of
a prompt and nothing learned could change are kept. Must not decide anything, nor outlive its catalogue.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from policies.decision import Decision
from policies.model import Catalogue, Plan, RouteClass

MAX_CHOICES: Final = 1024
_NOBODY: Final[frozenset[str]] = frozenset()
_Class = tuple[object, ...]


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A plan for callers without a deadline of their own, with its service tier, and the record of the decision."""

    plan: Plan
    decision: Decision

    def decided(self, draw: float) -> Decision:
        """Return the record for one more request: its draw is its own, for other policies are tried on it (replay)."""
        view = self.decision.view
        assert view is not None  # a choice was made
        return replace(self.decision, view=replace(view, draw=draw))


class Choices:
    """One worker's; all are forgotten when the catalogue or a model's health changes, or when there are too many."""

    def __init__(self) -> None:
        self._catalogue: Catalogue | None = None
        self._unhealthy = _NOBODY
        self._smallest_window = 0.0
        self._kept: dict[_Class, Choice] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, route_class: RouteClass, catalogue: Catalogue, unhealthy: frozenset[str]) -> Choice | None:
        """Return the choice for such a request, None where it has to be made."""
        if catalogue is not self._catalogue or unhealthy != self._unhealthy:
            self._begin(catalogue, unhealthy)
            return None
        return self._kept.get(_class_of(route_class)) if self._is_open(route_class) else None

    def keep(self, route_class: RouteClass, choice: Choice) -> None:
        """Keep what was chosen after `find` had nothing for it."""
        if self._is_open(route_class):
            if len(self._kept) >= MAX_CHOICES:
                self._kept.clear()
            self._kept[_class_of(route_class)] = choice

    def _begin(self, catalogue: Catalogue, unhealthy: frozenset[str]) -> None:
        self._catalogue, self._unhealthy = catalogue, unhealthy
        windows = [card.context_window for card in catalogue.values() if card.context_window is not None]
        self._smallest_window = min(windows, default=float("inf"))
        self._kept.clear()

    def _is_open(self, route_class: RouteClass) -> bool:
        """Whether nothing but the class decides: no figures, no draw, nothing learned, and it fits into any window."""
        route, facts = route_class.route, route_class.facts
        if route.selector != "fixed" or route.quality is not None or route.latency is not None:
            return False
        most = facts.input_tokens + (facts.max_output_tokens or 0) + (route.max_output_tokens or 0)
        return most <= self._smallest_window


def _class_of(route_class: RouteClass) -> _Class:
    facts = route_class.facts
    return (
        *(route_class.policy, route_class.policy_version, route_class.route.name),
        *(facts.requested_model, facts.dialect, facts.max_output_tokens, facts.needs, facts.allowed_models),
    )
