"""A simulated cache, provider and budget for `make bench-warming`: the product's Warmer sees them through its own
ports.

Time is the replay's. A warm takes WARM_TAKES_S; a request that comes before it is done joins it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.bench.warming_data import Price, Request, ask_price, chat_price, key_of, tokens_of, wait_s
from warmer.ports import HistoryUnavailable
from warmer.types import (
    Entry,
    Event,
    Known,
    Level,
    Mark,
    Position,
    PredictorName,
    Quote,
    Recipe,
    Terms,
    Warmed,
)

WARM_TAKES_S = 30.0
HIT_WAIT_S = 0.01
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What warming may cost, what it pays of the full price, and what a second of waiting is worth to the policy."""

    price: float
    share: float = 0.25
    usd_day: float = 1000.0
    wait_value_usd: float = 0.0
    holdout: float = 0.05


@dataclass(slots=True, kw_only=True)
class Kept:
    """An answer in the cache, from `made_s` on; before that somebody can join its making, where that is allowed."""

    made_s: float
    until_s: float
    by: PredictorName | None


@dataclass(slots=True, kw_only=True)
class Counts:
    """What a run came to."""

    requests: int = 0
    calls: int = 0
    live_nanousd: int = 0
    warm_nanousd: int = 0
    warms: int = 0
    by_origin: dict[str, int] = field(default_factory=dict)
    hit_waits_s: list[float] = field(default_factory=list)
    miss_waits_s: list[float] = field(default_factory=list)


class World:
    """The cache and the provider. `keeps` False: nothing is ever kept; `joins` False: identical calls run side by
    side."""

    def __init__(self, *, seed: int, budget: Budget, keeps: bool = True, joins: bool = True) -> None:
        self.counts = Counts()
        self.now_s = 0.0
        self.entries: list[Entry] = []
        self._budget = budget
        self._keeps = keeps
        self._joins = joins
        self._kept: dict[str, Kept] = {}
        self._known: dict[str, Request] = {}
        self._rng = random.Random(f"waits {seed}")
        self._spent: list[tuple[float, int]] = []
        self._spent_from = 0
        self._spent_day = 0
        self._warm_by_day: dict[int, int] = {}

    # ------------------------------------------------------------------------------------------------ requests

    def know(self, request: Request) -> None:
        """Keep a request's body, so that it can be asked again: every one that was made, or announced."""
        self._known[request.key] = request

    def serve(self, request: Request) -> Event:
        """Answer a request and write it down."""
        self.now_s = request.at_s
        self.know(request)
        drawn_s = wait_s(request.median_s, self._rng)  # drawn for every request, so that all arms have the same
        counts, kept = self.counts, self._kept.get(request.key)
        counts.requests += 1
        is_good = kept is not None and request.at_s < kept.until_s
        if kept is not None and is_good and (request.at_s >= kept.made_s or self._joins):
            waited_s = max(HIT_WAIT_S, kept.made_s - request.at_s)
            origin: str = kept.by or ("user" if request.at_s >= kept.made_s else "joined")
            counts.hit_waits_s.append(waited_s)
            event = self._event(request, waited_s=waited_s, was_hit=True, kept=kept)
        else:
            origin, waited_s = "miss", drawn_s
            counts.calls += 1
            counts.live_nanousd += request.cost_nanousd
            self._pay(request.cost_nanousd)
            counts.miss_waits_s.append(waited_s)
            if self._keeps:
                made_s = request.at_s + waited_s
                self._kept[request.key] = Kept(made_s=made_s, until_s=made_s + request.ttl_s, by=None)
            event = self._event(request, waited_s=waited_s, was_hit=False, kept=None)
        counts.by_origin[origin] = counts.by_origin.get(origin, 0) + 1
        sequence = len(self.entries)
        self.entries.append(Entry(position=Position(ms=int(request.at_s * 1000), sequence=sequence), event=event))
        return event

    def _event(self, request: Request, *, waited_s: float, was_hit: bool, kept: Kept | None) -> Event:
        return Event(
            at_s=request.at_s,
            tenant="bench",
            key=request.key,
            session=request.session,
            route="default",
            model="mid",
            was_hit=was_hit,
            waited_s=waited_s,
            cost_nanousd=request.cost_nanousd,
            kind=request.kind,
            ttl_s=request.ttl_s,
            age_s=max(0.0, request.at_s - kept.made_s) if kept else 0.0,
            warmed_by=(kept.by or "") if kept else "",
            question=request.question,
            attachment=request.attachment,
            speakers=request.speakers,
        )

    def fresh_until_s(self, key: str) -> float:
        """Return until when there is an answer, 0 if there is none."""
        kept = self._kept.get(key)
        return kept.until_s if kept is not None and kept.until_s > self.now_s else 0.0

    def put(self, request: Request, *, by: PredictorName) -> None:
        """Make an answer ahead, and pay for it."""
        cost = self.warm_price(request.cost_nanousd)
        made_s = self.now_s + WARM_TAKES_S
        before = self._kept.get(request.key)
        if before is not None and before.until_s > self.now_s:  # the old one is told until the new one is there
            made_s = min(made_s, self.now_s)
        self._kept[request.key] = Kept(made_s=made_s, until_s=self.now_s + WARM_TAKES_S + request.ttl_s, by=by)
        self.counts.warms += 1
        self.counts.warm_nanousd += cost
        self._pay(cost)
        day = int(self.now_s // DAY_S)
        self._warm_by_day[day] = self._warm_by_day.get(day, 0) + cost

    def warm_price(self, cost_nanousd: int) -> int:
        return int(cost_nanousd * self._budget.price)

    def _pay(self, nanousd: int) -> None:
        self._spent.append((self.now_s, nanousd))
        self._spent_day += nanousd

    def spent_day(self) -> int:
        """Return what was paid in the last 24 h, warms included."""
        while self._spent_from < len(self._spent) and self._spent[self._spent_from][0] <= self.now_s - DAY_S:
            self._spent_day -= self._spent[self._spent_from][1]
            self._spent_from += 1
        return self._spent_day

    # -------------------------------------------------------------------------------------------- warmer.ports

    async def read(self, *, after: Position, limit: int) -> Sequence[Entry]:
        """History."""
        first = after.sequence + 1 if self.entries and after.ms else 0
        if first > len(self.entries):
            raise HistoryUnavailable("the replay has no such place")
        return self.entries[first : first + limit]

    async def terms(self, tenant: str) -> Terms | None:
        """SpendGate."""
        today = self._warm_by_day.get(int(self.now_s // DAY_S), 0)
        return Terms(
            policy="bench",
            left_nanousd=max(0, int(self._budget.usd_day * 1e9) - today),
            spent_nanousd_day=self.spent_day(),
            max_share_of_spend=self._budget.share,
            wait_value_nanousd=int(self._budget.wait_value_usd * 1e9),
            holdout=self._budget.holdout,
        )

    async def debit(self, tenant: str, bound_nanousd: int) -> int | None:
        terms = await self.terms(tenant)
        return bound_nanousd if terms is not None and bound_nanousd <= terms.left_nanousd else None

    def settle(self, debit: int, cost_nanousd: int) -> None:
        """Nothing to give back: the day's sum counts what was paid."""

    async def quote(self, tenant: str, recipe: Recipe) -> Quote | None:
        """Asker: the price of what a recipe comes to; None where it names what nobody has asked."""
        request = self.request_of(recipe)
        if request is None:
            return None
        warm = self.warm_price(request.cost_nanousd)
        return Quote(
            key=request.key,
            live_nanousd=request.cost_nanousd,
            warm_nanousd=warm,
            bound_nanousd=2 * warm,  # the most an answer may cost is its output limit, not its usual length
            wait_s=request.median_s * 1.13,  # the mean of the lognormal
            ttl_s=request.ttl_s,
            fresh_until_s=self.fresh_until_s(request.key),
        )

    async def warm(self, tenant: str, recipe: Recipe, *, level: Level, predictor: PredictorName) -> Warmed | None:
        request = self.request_of(recipe)
        if request is None or level == "prefix":
            return None
        self.put(request, by=predictor)
        cost = self.warm_price(request.cost_nanousd)
        return Warmed(key=request.key, cost_nanousd=cost, is_kept=True, ttl_s=request.ttl_s)

    def request_of(self, recipe: Recipe) -> Request | None:
        """Return what would be asked."""
        if isinstance(recipe, Known):
            return self._known.get(recipe.key)
        like, about = self._known.get(recipe.like), self._known.get(recipe.about)
        if like is None or (recipe.about and about is None):
            return None
        about = about or (like if like.attachment else None)
        cost: Price = chat_price(recipe.question)
        if about is not None:
            cost = ask_price(recipe.question, tokens_of(about))
        attachment = about.attachment if about else ""
        return Request(
            at_s=self.now_s,
            key=key_of(recipe.question, attachment),
            session="",
            cost_nanousd=cost.cost_nanousd,
            median_s=cost.median_s,
            ttl_s=like.ttl_s,
            question=recipe.question,
            attachment=attachment,
            speakers=about.speakers if about else (),
        )


class WorldNotes:
    """Notes and Bookmark in memory."""

    def __init__(self) -> None:
        self.saved: dict[str, bytes] = {}

    async def load(self, name: str) -> bytes | None:
        return self.saved.get(name)

    async def save(self, name: str, value: bytes) -> None:
        self.saved[name] = value


class WorldBookmark:
    """Where the recorder is; the replay never starts again."""

    def __init__(self) -> None:
        self.mark: Mark | None = None

    async def load(self) -> Mark | None:
        return self.mark

    async def save(self, mark: Mark) -> None:
        self.mark = mark
