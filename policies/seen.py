"""What a decision was made from, less what files hold: recorded, it repeats the decision bit for bit.

Holds nothing of the catalogue, which belongs to the models file; decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from policies.evidence import NOTHING, Evidence, Latency
from policies.model import Catalogue, View


class Seen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A View without its catalogue."""

    unhealthy: frozenset[str] = frozenset()
    draw: float = 0.0
    evidence: Evidence = NOTHING
    latency: Mapping[str, Latency] = {}


def seen_of(view: View) -> Seen:
    """Return what is to be recorded of a view."""
    return Seen(unhealthy=view.unhealthy, draw=view.draw, evidence=view.evidence, latency=view.latency)


def view_of(seen: Seen, catalogue: Catalogue) -> View:
    """Return the view that the decision was made from."""
    return View(
        catalogue=catalogue,
        unhealthy=seen.unhealthy,
        draw=seen.draw,
        evidence=seen.evidence,
        latency=seen.latency,
    )
