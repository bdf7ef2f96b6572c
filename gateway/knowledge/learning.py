"""Everything that outcomes teach routing, in one hand: qualities, shared by all workers, and this worker's latencies.

Adds what is known to a view; decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import msgspec

from gateway.cache.semantic.types import Vector
from gateway.knowledge.knowledge import Knowledge, LabelStore, Versions
from gateway.knowledge.latencies import Latencies
from gateway.ports import Clock
from policies.model import RouteClass, View


@dataclass(frozen=True, slots=True)
class Learning:
    """See the module."""

    knowledge: Knowledge
    latencies: Latencies

    @classmethod
    def of(cls, store: LabelStore, clock: Clock, *, space: str, versions: Versions) -> Self:
        """Return one that knows nothing yet; `space` is the id of the embedder whose vectors it is given."""
        return cls(Knowledge(store, clock, space=space, versions=versions), Latencies(clock))

    def known(self, view: View, route_class: RouteClass, *, request_id: str, vector: Vector | None) -> View:
        """Return the view with what its route asks for: evidence for a floor, latencies where it bounds them."""
        route = route_class.route
        if route.knn is None and route.latency is None:
            return view
        evidence = self.knowledge.evidence(route_class, request_id=request_id, vector=vector)
        latency = {} if route.latency is None else self.latencies.of(view.catalogue)
        return msgspec.structs.replace(view, evidence=evidence, latency=latency)
