"""A shop for the warmer's tests: a cache, prices and a budget in memory behind the warmer's own ports, on a wound
clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from warmer.ports import HistoryUnavailable, Predictor
from warmer.recorder import Recorder
from warmer.types import (
    Crowded,
    Entry,
    Event,
    Known,
    Level,
    Mark,
    Position,
    Prediction,
    PredictorName,
    Quote,
    Recipe,
    Terms,
    Warmed,
)
from warmer.warmer import Warmer, WarmerPorts, WarmerRules

LIVE = 1_000_000
TTL_S = 3600.0
START_S = 1_578_268_800.0  # a Monday, 00:00 UTC


def event(key: str = "a", at_s: float = START_S, *, like: Event | None = None) -> Event:
    """Return a request; what it does not say is as in `like`."""
    return replace(
        like
        or Event(
            at_s=0.0,
            tenant="acme",
            key="",
            session="s",
            route="default",
            model="small",
            was_hit=False,
            waited_s=2.0,
            cost_nanousd=LIVE,
            ttl_s=TTL_S,
        ),
        key=key,
        at_s=at_s,
    )


class Says:
    """A predictor that always says the same of some keys."""

    def __init__(self, chances: Mapping[str, float], *, name: PredictorName = "follow_up") -> None:
        self.chances = chances
        self._name = name

    def observe(self, event: Event) -> None: ...

    def predict(self, now_s: float, fresh_until_s: Mapping[str, float], /) -> Sequence[Prediction]:
        return [
            Prediction(
                tenant="acme",
                recipe=Known(key=key),
                predictor=self._name,
                probability=chance,
                due_at_s=now_s + 60,
                until_s=now_s + TTL_S,
            )
            for key, chance in self.chances.items()
            if fresh_until_s.get(key, 0.0) <= now_s
        ]

    def dump(self) -> bytes:
        return b""

    def restore(self, learnt: bytes) -> None: ...


class Memory:
    """Notes and a bookmark; both outlive a warmer that crashes. `fails` says how many more saves will fail."""

    def __init__(self) -> None:
        self.notes: dict[str, bytes] = {}
        self.mark: Mark | None = None
        self.fails = 0

    async def load(self, name: str) -> bytes | None:
        return self.notes.get(name)

    async def save(self, name: str, value: bytes) -> None:
        if self.fails:
            self.fails -= 1
            raise HistoryUnavailable("away")
        self.notes[name] = value


class Bookmark:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def load(self) -> Mark | None:
        return self._memory.mark

    async def save(self, mark: Mark) -> None:
        self._memory.mark = mark


class Shop:
    """History, cache, asker and gate. `price` is what a warm costs of a live call; asked, what was, in order."""

    def __init__(self, *, price: float = 0.5, left: int = 10**12, share: float = 1.0, holdout: float = 0.0) -> None:
        self.price = price
        self.is_on = True
        self.terms_now = Terms(
            policy="p",
            left_nanousd=left,
            spent_nanousd_day=10**12,
            max_share_of_spend=share,
            wait_value_nanousd=0,
            holdout=holdout,
        )
        self.entries: list[Entry] = []
        self.fresh_until_s: dict[str, float] = {}
        self.warmed_by: dict[str, PredictorName] = {}
        self.asked: list[tuple[str, str]] = []
        self.debited = 0
        self.most_debited = 0
        self.settled = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.now_s = START_S
        self.during: Callable[[], None] = lambda: None
        self.keeps = True
        self.is_crowded = False

    def request(self, key: str, at_s: float, *, like: Event | None = None) -> Event:
        """Have a user ask: a hit where the cache has it, filled where not."""
        self.now_s = at_s
        fresh = self.fresh_until_s.get(key, 0.0) > at_s
        one = event(key, at_s, like=like)
        by: PredictorName | Literal[""] = self.warmed_by.get(key, "") if fresh else ""
        age_s = TTL_S - (self.fresh_until_s[key] - at_s) if fresh else 0.0
        one = replace(one, was_hit=fresh, waited_s=0.01 if fresh else 2.0, warmed_by=by, age_s=age_s)
        if not fresh:
            self.fresh_until_s[key] = at_s + TTL_S
            self.warmed_by.pop(key, None)
        self.entries.append(Entry(position=Position(ms=int(at_s * 1000), sequence=len(self.entries)), event=one))
        return one

    async def read(self, *, after: Position, limit: int) -> Sequence[Entry]:
        return [entry for entry in self.entries if entry.position > after][:limit]

    async def terms(self, tenant: str) -> Terms | None:
        if not self.is_on:
            return None
        return replace(self.terms_now, left_nanousd=self.terms_now.left_nanousd - self.debited)

    async def debit(self, tenant: str, bound_nanousd: int) -> int | None:
        if self.debited + bound_nanousd > self.terms_now.left_nanousd:
            return None
        self.debited += bound_nanousd
        self.most_debited = max(self.most_debited, self.debited)
        return bound_nanousd

    def settle(self, debit: int, cost_nanousd: int) -> None:
        self.debited += cost_nanousd - debit
        self.settled += 1

    async def quote(self, tenant: str, recipe: Recipe) -> Quote | None:
        key = recipe.key if isinstance(recipe, Known) else f"{recipe.question} {recipe.about}"
        warm = int(LIVE * self.price)
        return Quote(
            key=key,
            live_nanousd=LIVE,
            warm_nanousd=warm,
            bound_nanousd=2 * warm,
            wait_s=2.0,
            ttl_s=TTL_S,
            fresh_until_s=self.fresh_until_s.get(key, 0.0),
        )

    async def warm(
        self, tenant: str, recipe: Recipe, *, level: Level, predictor: PredictorName
    ) -> Warmed | Crowded | None:
        if self.is_crowded:
            return Crowded()
        key = recipe.key if isinstance(recipe, Known) else f"{recipe.question} {recipe.about}"
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.asked.append((tenant, key))
        self.during()
        self.in_flight -= 1
        if self.keeps:
            self.fresh_until_s[key] = self.now_s + TTL_S
            self.warmed_by[key] = predictor
        return Warmed(key=key, cost_nanousd=int(LIVE * self.price), is_kept=self.keeps, ttl_s=TTL_S)


def warmer_of(
    shop: Shop, memory: Memory, predictors: Mapping[PredictorName, Callable[[str], Predictor]], *, save_s: float = 60.0
) -> Warmer[int]:
    """Return a warmer in that shop, as after a start."""
    recorder = Recorder(shop, Bookmark(memory))
    ports = WarmerPorts(recorder=recorder, notes=memory, asker=shop, gate=shop)
    return Warmer(ports, rules=WarmerRules(predictors=predictors, save_every_s=save_s, salt="test"))
