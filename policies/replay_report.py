"""What a replay says, as frozen values. Must not compute anything but what follows from one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One route under one policy. Latencies are seconds over provider answers, None where nothing is known."""

    requests: int = 0
    models: Mapping[str, int] = field(default_factory=dict)
    cost_nanousd: int = 0
    unpriced: int = 0
    p50_s: float | None = None
    p95_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDiff:
    """One route, then and now."""

    route: str
    then: Side
    now: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One request that would go elsewhere; money in nano-dollars, None where unknown."""

    request_id: str
    at: float
    route_then: str
    route_now: str
    model_then: str
    model_now: str
    reason_then: str
    reason_now: str
    cost_then_nanousd: int | None
    cost_now_nanousd: int | None

    @property
    def weight(self) -> float:
        """How much it matters: the money; any other change counts a little."""
        return abs((self.cost_now_nanousd or 0) - (self.cost_then_nanousd or 0)) + 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """How often a budget would have been used up: an estimate, for reservations are larger than costs."""

    budget: str
    requests: int
    holders: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgeted:
    """What budgets did to plans, then and now, by what they had left then. `unknown`: of these nobody wrote that down,
    and they stand as they were chosen. `lines` tell of the first ones now, request by request."""

    narrowed_then: int = 0
    narrowed_now: int = 0
    refused_then: int = 0
    refused_now: int = 0
    unknown: int = 0
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a policy would have done with recorded traffic.

    `repeated` of `repeatable`: decisions that were made under this very version, and came out the same. `undecided` had
    no view to choose with. `violations` must be empty.
    """

    policy: str
    policy_version: str
    requests: int
    undecided: int
    repeatable: int
    repeated: int
    changed: int
    routes: tuple[RouteDiff, ...]
    lost_hits: Mapping[str, int]
    kept_hits: int
    lost_hits_nanousd: int
    budgeted: Budgeted
    refusals: tuple[Refusals, ...]
    violations: tuple[str, ...]
    violation_count: int
    not_repeated: tuple[str, ...]
    most_changed: tuple[Change, ...]
