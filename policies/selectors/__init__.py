"""The table of selectors: the name that `Route.selector` holds, and the function."""

from __future__ import annotations

from collections.abc import Mapping

from policies.ports import Selector
from policies.selectors import cheapest, control_arm, fixed, quality_floor

SELECTORS: Mapping[str, Selector] = {
    "cheapest": cheapest.order,
    "control_arm": control_arm.order,
    "fixed": fixed.order,
    "quality_floor": quality_floor.order,
}
