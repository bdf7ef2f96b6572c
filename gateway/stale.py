"""When an answer beyond its time may stand in for a failure (RFC 5861, stale-if-error). Pure."""

from __future__ import annotations

from typing import Final

from gateway.cache.exact import Hit
from gateway.errors import RequestFailed
from gateway.trail import Ask, Trail
from policies.model import RouteClass

_OURS_OR_THE_PROVIDERS: Final = frozenset({429, 500, 502, 503, 504})
_NO_FAILURES: Final = frozenset({"only_if_cached"})


def may_stand_in(ask: Ask, trail: Trail, route_class: RouteClass, failure: RequestFailed) -> bool:
    """Whether a stored answer may be told instead: nobody could answer, which is no fault of the request."""
    if not route_class.route.cache.stale_if_error_s or not trail.key or ask.origin == "refresh":
        return False
    if ask.cache_control.no_cache or failure.code in _NO_FAILURES:
        return False
    return failure.status in _OURS_OR_THE_PROVIDERS


def is_too_old(ask: Ask, found: Hit) -> bool:
    """Whether the client's own max-age forbids it."""
    max_age_s = ask.cache_control.max_age_s
    return max_age_s is not None and found.age_s > max_age_s
