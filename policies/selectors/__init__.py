"""The table of selectors: the name that `Route.selector` holds, and the function."""

from __future__ import annotations

from collections.abc import Mapping

from policies.ports import Selector
from policies.selectors import cheapest, fixed

SELECTORS: Mapping[str, Selector] = {
    "cheapest": cheapest.order,
    "fixed": fixed.order,
}
