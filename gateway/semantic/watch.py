"""Tells ops how the semantic classes stand: mode, wrong hits with their bound, labels and their cost.

Reads what the classes hold; no request waits for it, and nothing is decided by it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Final

from gateway.cache.semantic.classes import OpenClass
from gateway.cache.semantic.figures import ClassFigures, figures_of
from gateway.cache.semantic.index.local import LocalIndex
from gateway.cache.semantic.tier import TierParts
from gateway.metrics import Metrics
from gateway.semantic.again import Background

WATCH_S: Final = 5.0
_ENOUGH: Final = 10
"""Labels between two computations of a class's bound, which take up to 50 ms of a thread."""


class SemanticWatch:
    """One worker's. Remembers what it has counted, and each class's last figures."""

    def __init__(self, parts: TierParts, background: Background, *, metrics: Metrics) -> None:
        self._classes = parts.classes
        self._index = parts.index
        self._clock = parts.clock
        self._background = background
        self._metrics = metrics
        self._figures: dict[str, ClassFigures] = {}

    async def look(self) -> None:
        """Bring the metrics up to date."""
        by_route: dict[str, list[ClassFigures]] = defaultdict(list)
        for found in self._classes:
            self._count(found)
            by_route[found.name.route].append(await self._figures_of(found))
        for route, figures in by_route.items():
            worst = max(figures, key=lambda one: one.wrong_per_hit_upper)
            self._metrics.semantic_levels(
                route,
                is_serving=any(one.mode == "serving" for one in figures),
                wrong=worst.wrong_per_hit,
                wrong_upper=worst.wrong_per_hit_upper,
            )
        dropped, self._background.dropped = self._background.dropped, 0
        entries, size_bytes = 0, 0
        if isinstance(self._index, LocalIndex):
            entries, size_bytes = self._index.entries, self._index.size_bytes
        self._metrics.semantic_held(entries=entries, size_bytes=size_bytes, dropped=dropped)

    async def _figures_of(self, found: OpenClass) -> ClassFigures:
        known, state = self._figures.get(str(found.name)), found.state
        if known is None or state.totals.labels >= known.labels + _ENOUGH or state.mode != known.mode:
            known = await asyncio.to_thread(figures_of, state, found.rules, at_s=self._clock.now())
            self._figures[str(found.name)] = known
        return known

    def _count(self, found: OpenClass) -> None:
        """Count what this worker's own labels were: every worker folds all, but each tells of its own."""
        labels, cost = found.told_labels, found.told_cost_nanousd
        found.told_labels = found.told_cost_nanousd = 0
        if labels:
            self._metrics.semantic_moved(found.name.route, labels=labels, label_cost_nanousd=cost)
