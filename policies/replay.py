"""Recorded decisions made again, under the policy that was in force or under another one. Pure.

A decision is a function of policy, facts and view, and all three are recorded: under the same version every decision
comes out the same. Must not read files or a clock; figures over many decisions are replay_tally.py's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from policies.arrange import warming_plan
from policies.decide import choose, match
from policies.floored import prediction_for
from policies.model import REQUESTED, NoCandidate, Plan, Policy, Rejection, RequestFacts, Route, RouteClass, View
from policies.narrowing import Cut, Headroom, Refusal, binding, moved, narrowed
from policies.prices import Price

REUSED = frozenset({"hit", "semantic-hit", "stale"})
"""Cache verdicts that gave a stored answer."""


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One ended request as the ledger has it. `at` is Unix seconds, durations are seconds, money nano-dollars.

    `view` is whole again; None where nothing was chosen. `candidates` is empty where no model might serve. `headroom`
    is what budgets had left for the plan, None where none was asked, or nobody wrote it down; `cut` is what they took
    off it. `is_warm`: the warmer asked.
    `cost_nanousd` is what the answer cost whoever asked the provider for it (of a hit: then); `cost_at` prices the
    same tokens at another model's price, None where that is unknown.
    """

    request_id: str
    at: float
    key_id: str
    policy: str
    policy_version: str
    route: str
    facts: RequestFacts
    view: View | None
    candidates: tuple[str, ...]
    output_cap: int | None
    reason: str
    rejected: tuple[Rejection, ...]
    cache: str
    cache_key: str
    age_s: float
    routed_model: str
    spent_nanousd: int
    cost_nanousd: int | None
    cost_at: Callable[[Price | None], int | None]
    total_s: float
    first_token_s: float | None
    is_ok: bool
    headroom: Headroom | None = None
    cut: Cut | None = None
    is_warm: bool = False

    @property
    def model(self) -> str:
        """The first model of what budgets left of the plan, "" where nothing was left of it."""
        candidates = self.candidates if self.cut is None else self.cut.candidates
        return candidates[0] if candidates else ""

    @property
    def refusal(self) -> Refusal:
        """Why budgets refused the plan, "" where they did not."""
        return self.cut.refusal if self.cut is not None else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """A recorded request, decided again; `made` is None where there is no view to choose with.

    `left` is what budgets leave of what was made, None where they refuse it, and `cut` what they take off; `seen` is
    what that goes by. `is_budgeted`: budgets apply.
    """

    route_class: RouteClass
    view: View | None
    made: Plan | NoCandidate | None
    left: Plan | NoCandidate | None = None
    cut: Cut | None = None
    seen: Headroom | None = None
    is_budgeted: bool = False

    @property
    def route(self) -> Route:
        """The route that takes it."""
        return self.route_class.route

    @property
    def model(self) -> str:
        """The first model of what is left of the plan, "" where nothing is."""
        return self.left.candidates[0] if isinstance(self.left, Plan) else ""

    @property
    def refusal(self) -> Refusal:
        """Why budgets refuse the plan, "" where they do not."""
        return self.cut.refusal if self.cut is not None else ""

    @property
    def is_unbudgeted_guess(self) -> bool:
        """Whether budgets apply and nobody knows what they had left: the plan stands as it was made."""
        is_known = self.seen is not None and (self.seen.left_nanousd is not None or self.cut is not None)
        return self.is_budgeted and isinstance(self.made, Plan) and not is_known

    def groups(self, names: tuple[str, ...]) -> frozenset[str]:
        """Return the groups that names of the route stand for."""
        facts, aliases = self.route_class.facts, self.route_class.aliases
        return frozenset(facts.requested_model if name == REQUESTED else aliases.get(name, name) for name in names)


def decide_again(entry: Recorded, policy: Policy, *, view: View | None = None, then: Policy | None = None) -> Again:
    """Decide under `policy` with the recorded view, or with `view` where none was recorded, and with what budgets had
    left then: had its limits stood there, where `then` is the version that was in force and another one."""
    route_class = match(policy, entry.facts)
    view = entry.view or view
    if view is None:
        return Again(route_class=route_class, view=None, made=None)
    made = choose(route_class, view)
    if isinstance(made, NoCandidate):
        return Again(route_class=route_class, view=view, made=made, left=made)
    route, seen = route_class.route.name, entry.headroom
    if seen is not None and then is not None and then.version != policy.version:
        seen = moved(seen, then=then, route_then=entry.route, policy=policy, route=route)
    plan = warming_plan(made, service_tier="", most_output=None) if entry.is_warm else made
    left: Plan | None = plan
    cut: Cut | None = None
    if seen is not None:
        left, cut = narrowed(plan, seen, policy=policy, route_class=route_class, catalogue=view.catalogue)
    is_budgeted = bool(binding(policy.budgets, route))
    return Again(route_class=route_class, view=view, made=made, left=left, cut=cut, seen=seen, is_budgeted=is_budgeted)


def differences(entry: Recorded, again: Again) -> tuple[str, ...]:
    """Return what came out differently from the record; empty when the decision was repeated bit for bit."""
    found = [] if again.route.name == entry.route else [f"route: {entry.route} -> {again.route.name}"]
    if entry.view is None or again.made is None:
        return tuple(found)
    made = again.made
    pairs: tuple[tuple[str, object, object], ...] = (
        ("candidates", entry.candidates, made.candidates if isinstance(made, Plan) else ()),
        ("reason", entry.reason, made.reason if isinstance(made, Plan) else ""),
        ("output_cap", entry.output_cap, made.max_output_tokens if isinstance(made, Plan) else None),
        ("rejected", entry.rejected, made.rejected),
        ("budget", entry.cut, again.cut),
    )
    found += [f"{name}: {then} -> {now}" for name, then, now in pairs if then != now]
    return tuple(found)


def lost_hit(entry: Recorded, then: Route | None, again: Again) -> str:
    """Say why the stored answer that was served would not have been served now; "" where it would.

    Keys hold the policy's name, the route and its epoch, and what the route's rules make of the body; `then` is the
    route as it was, None where that version's text is gone: then only the names are compared.
    """
    if entry.cache not in REUSED:
        return ""
    now = again.route
    if now.cache.exact_ttl_s <= 0 and entry.cache != "semantic-hit":
        return "cache off"
    if now.name != entry.route or again.route_class.policy != entry.policy:
        return "changed key"
    if then is not None and _key_rules(then) != _key_rules(now):
        return "changed key"
    if entry.age_s > now.cache.exact_ttl_s and entry.cache == "hit":
        return "expired"
    return "" if entry.routed_model in again.groups((*now.candidates, *now.fallbacks)) else "model not allowed"


def below_floor(again: Again) -> str:
    """Say how the plan's first model is below the route's quality floor; "" where it is not, or need not reach it.

    Predicted anew for the plan as it is. A shuffled request of the control arm, and a fallback that the file excuses,
    may be below.
    """
    made, view = again.left, again.view
    if not isinstance(made, Plan) or view is None or made.arm in ("", "control"):
        return ""
    model, route = again.model, again.route
    groups = again.groups(route.candidates)
    prediction = prediction_for(again.route_class, view, (*dict.fromkeys((*groups, model)),), made.arm)
    if prediction is None or model in again.groups(route.below_floor):
        return ""
    if prediction.reaches(model) or (model not in groups and prediction.may_stand_in(model)):
        return ""
    return f"{route.name}: {model}: not sure to reach the floor: must be >= {prediction.wanted:.3f}"


def _key_rules(route: Route) -> tuple[object, ...]:
    return route.epoch, route.cache.partition_by_user, route.cache.normalise
