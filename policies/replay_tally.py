"""Figures over many decisions made again: shares, money, latency, lost hits, refusals, violations, what changed most.

One owner of mutable sums; takes recorded requests one by one, oldest first, so that a week needs no week of memory.
Must not do I/O.
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from policies.model import NoCandidate, Plan, Policy, Rejection, Route, View
from policies.narrowing import told
from policies.replay import REUSED, Again, Recorded, below_floor, decide_again, differences, lost_hit
from policies.replay_budgets import Budgets, WindowOf
from policies.replay_report import Budgeted, Change, Replay, RouteDiff, Side

SHOWN = 20
ENOUGH = 3
"""Answers of a model on a route before that route's own latency stands for it."""


class ReplayTally:
    """See the module. `policy_then` gives a recorded policy version, None where its text is gone."""

    def __init__(self, policy: Policy, *, window_of: WindowOf, policy_then: Callable[[str], Policy | None]) -> None:
        self._policy = policy
        self._policy_then = policy_then
        self._routes_then: dict[str, Mapping[str, Route]] = {}
        self._budgets = Budgets(policy.budgets, window_of)
        self._then: dict[str, _Sums] = defaultdict(_Sums)
        self._now: dict[str, _Sums] = defaultdict(_Sums)
        self._took: dict[tuple[str, str], array[float]] = defaultdict(lambda: array("d"))
        self._counts: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._rekeyed: set[str] = set()
        self._budgeted: list[str] = []
        self._violations: list[str] = []
        self._not_repeated: list[str] = []
        self._changes: list[tuple[float, int, Change]] = []
        self._view: View | None = None

    def add(self, entry: Recorded) -> None:
        """Decide one request again and count what came of it."""
        self._counts["requests"] += 1
        self._view = entry.view or self._view
        again = decide_again(entry, self._policy, view=self._view, then=self._policy_then(entry.policy_version))
        if entry.policy_version == self._policy.version:
            self._compare(entry, again)
        lost = lost_hit(entry, self._route_then(entry), again)
        if lost == "changed key" and entry.cache_key in self._rekeyed:
            lost = ""  # the first one has filled the new key
        if lost == "changed key":
            self._rekeyed.add(entry.cache_key)
        is_asked_now = lost != "" or entry.view is not None
        if is_asked_now and again.made is None:
            self._counts["undecided"] += 1
            return
        self._note_then(entry)
        self._note_now(entry, again, lost=lost, is_asked=is_asked_now)

    def result(self) -> Replay:
        """Return the figures so far."""
        names = (*(route.name for route in self._policy.routes), *sorted(self._then))
        ranked = sorted(self._changes, key=lambda item: (-item[0], item[1]))
        return Replay(
            policy=self._policy.name,
            policy_version=self._policy.version,
            requests=self._counts["requests"],
            undecided=self._counts["undecided"],
            repeatable=self._counts["repeatable"],
            repeated=self._counts["repeated"],
            changed=self._counts["changed"],
            routes=tuple(
                RouteDiff(route=name, then=self._side(self._then, name), now=self._side(self._now, name))
                for name in dict.fromkeys(names)
                if name in self._then or name in self._now
            ),
            lost_hits=dict(self._lost),
            kept_hits=self._counts["kept_hits"],
            lost_hits_nanousd=self._counts["lost_nanousd"],
            budgeted=Budgeted(
                narrowed_then=self._counts["narrowed_then"],
                narrowed_now=self._counts["narrowed_now"],
                refused_then=self._counts["refused_then"],
                refused_now=self._counts["refused_now"],
                unknown=self._counts["unknown"],
                lines=tuple(self._budgeted),
            ),
            refusals=self._budgets.refusals(),
            violations=tuple(self._violations),
            violation_count=self._counts["violations"],
            not_repeated=tuple(self._not_repeated),
            most_changed=tuple(change for _, _, change in ranked),
        )

    def _route_then(self, entry: Recorded) -> Route | None:
        version = entry.policy_version
        if version not in self._routes_then:
            policy = self._policy_then(version)
            self._routes_then[version] = {} if policy is None else {route.name: route for route in policy.routes}
        return self._routes_then[version].get(entry.route)

    def _compare(self, entry: Recorded, again: Again) -> None:
        self._counts["repeatable"] += 1
        found = differences(entry, again)
        if not found:
            self._counts["repeated"] += 1
        elif len(self._not_repeated) < SHOWN:
            self._not_repeated.append(f"{entry.request_id}: {'; '.join(found)}")

    def _note_then(self, entry: Recorded) -> None:
        then = self._then[entry.route]
        then.requests += 1
        then.cost_nanousd += entry.spent_nanousd
        if entry.view is None:
            return
        then.models[entry.model or ("refused" if entry.refusal else "none")] += 1
        self._counts["narrowed_then"] += entry.cut is not None and not entry.refusal
        self._counts["refused_then"] += entry.refusal != ""
        then.unpriced += entry.cost_nanousd is None
        if entry.is_ok and entry.routed_model:
            self._took[entry.route, entry.routed_model].append(entry.total_s)
            then.asked[entry.route, entry.routed_model] += 1

    def _note_now(self, entry: Recorded, again: Again, *, lost: str, is_asked: bool) -> None:
        now = self._now[again.route.name]
        now.requests += 1
        if entry.cache in REUSED:
            self._lost[lost] += bool(lost)
            self._counts["kept_hits"] += not lost
        if not is_asked:
            return
        cost = self._cost_now(entry, again)
        self._counts["lost_nanousd"] += (cost or 0) if lost else 0
        now.models[again.model or ("refused" if again.refusal else "none")] += 1
        if again.model:
            now.asked[entry.route, again.model] += 1
        now.unpriced += cost is None
        self._note_budgeted(entry, again)
        if not again.refusal and not self._budgets.spend(entry, again.route, cost or 0):
            now.cost_nanousd += cost or 0
        self._check(entry, again)
        self._note_change(entry, again, cost)

    def _note_budgeted(self, entry: Recorded, again: Again) -> None:
        self._counts["unknown"] += again.is_unbudgeted_guess
        if again.cut is None or again.seen is None or not isinstance(again.made, Plan):
            return
        self._counts["refused_now" if again.refusal else "narrowed_now"] += 1
        if len(self._budgeted) < SHOWN:
            self._budgeted.append(f"{entry.request_id}: {told(again.made.candidates, again.seen, again.cut)}")

    def _cost_now(self, entry: Recorded, again: Again) -> int | None:
        if not again.model:
            return 0
        if entry.view is not None and entry.model == again.model:
            return entry.cost_nanousd
        view = entry.view or self._view
        card = view.catalogue.get(again.model) if view is not None else None
        return entry.cost_at(card.price if card is not None else None)

    def _check(self, entry: Recorded, again: Again) -> None:
        found = below_floor(again)
        if not found and isinstance(again.made, NoCandidate) and entry.candidates:
            found = f"{again.route.name}: no model may serve what {entry.candidates[0]} was asked for"
        if found:
            self._counts["violations"] += 1
            if len(self._violations) < SHOWN:
                self._violations.append(f"{entry.request_id}: {found}")

    def _note_change(self, entry: Recorded, again: Again, cost: int | None) -> None:
        if entry.view is None or (entry.model, entry.refusal) == (again.model, again.refusal):
            return
        self._counts["changed"] += 1
        change = Change(
            request_id=entry.request_id,
            at=entry.at,
            route_then=entry.route,
            route_now=again.route.name,
            model_then=entry.model,
            model_now=again.model,
            reason_then=entry.refusal or entry.reason or _details(entry.rejected),
            reason_now=_reason(again),
            cost_then_nanousd=entry.cost_nanousd,
            cost_now_nanousd=cost,
        )
        heapq.heappush(self._changes, (change.weight, -self._counts["requests"], change))
        if len(self._changes) > SHOWN:
            heapq.heappop(self._changes)

    def _side(self, sums: Mapping[str, _Sums], route: str) -> Side:
        held = sums.get(route)
        if held is None:
            return Side()
        return Side(
            requests=held.requests,
            models=dict(held.models.most_common()),
            cost_nanousd=held.cost_nanousd,
            unpriced=held.unpriced,
            p50_s=self._quantile(held.asked, 0.5),
            p95_s=self._quantile(held.asked, 0.95),
        )

    def _quantile(self, asked: Mapping[tuple[str, str], int], share: float) -> float | None:
        """Return a quantile of the mixture of what each (route then, model) took, by how often it is asked."""
        weighted: list[tuple[float, float]] = []
        for (route, model), count in asked.items():
            times = self._times(route, model)
            weighted += [(time_s, count / len(times)) for time_s in times]
        weighted.sort()
        wanted, passed = share * sum(weight for _, weight in weighted), 0.0
        for time_s, weight in weighted:
            passed += weight
            if passed >= wanted - 1e-9:
                return time_s
        return None

    def _times(self, route: str, model: str) -> array[float]:
        own = self._took.get((route, model), array("d"))
        if len(own) >= ENOUGH:
            return own
        return array("d", [time_s for (_, name), times in self._took.items() if name == model for time_s in times])


def _reason(again: Again) -> str:
    if again.refusal:
        return again.refusal
    if isinstance(again.left, Plan):
        return again.left.reason
    return "" if again.made is None else _details(again.made.rejected)


def _details(rejected: tuple[Rejection, ...]) -> str:
    return "; ".join(rejection.detail for rejection in rejected)


@dataclass(slots=True)
class _Sums:
    requests: int = 0
    cost_nanousd: int = 0
    unpriced: int = 0
    models: Counter[str] = field(default_factory=Counter)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
