"""Hands what clients announced to the warmer, the earliest due first, and writes down what became of each item.

Runs beside the warmer that leads, and only there. Asks nobody and spends nothing itself: the warmer chooses, within its
budget, and keeps note of what it is about to ask, so that a crash repeats no call; an item whose end was not written
down then is looked for in the cache first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from gateway.announced.records import Announcement, ItemResult, ItemStatus, Kept, ended
from gateway.announced.shelf import LIFE_S, Shelf
from gateway.ports import Clock, StoreUnavailable
from gateway.takeup.ports import TakeupPorts
from gateway.takeup.sketching import NotAllowed
from gateway.takeup.words import result_of, words_of
from warmer.results import Considered
from warmer.types import Announcement as Prediction
from warmer.types import Known, Quote

IDLE_S: Final = 0.2
LOOK_AHEAD: Final = 16
"""Announcements in memory at once, each of up to a megabyte."""
AT_ONCE: Final = 4
"""Items that the warmer has and has not come back on: as many as it asks at once, so that they go by due time."""
SILENT_S: Final = 10.0
"""An item that the warmer has said nothing of for so long makes room for the next."""
AGAIN_S: Final = 30.0
"""After so long it is told again: the warmer may have begun anew from its notes."""
CHEAP_UNSEEN_S: Final = 60.0
"""What the cheap tier is taken to need where it was never seen: providers promise nothing."""
CHEAP_MARGIN: Final = 1.5
GOOD_SHARE: Final = 0.9
"""The most of its time that an answer may be old when it is wanted."""
BEGUN_S: Final = 120.0
"""How long nothing may be heard of what an earlier warmer had begun; the warmer does not ask that again."""
PATIENCE_S: Final = 60.0
"""How long what may yet be done waits: a call under way may cost less than feared, or be its own caller's; a provider
may come back."""
_MAY_PASS: Final = ("no_budget", "not_asked")
"""What the warmer says of items for which nothing was paid and that may be asked a little later."""
SLACK_S: Final = 600.0
"""How long after its time an announced request may come and still have been rightly announced."""


@dataclass(slots=True, kw_only=True)
class _Held:
    """One announcement in hand since `taken_at`. `begun`: items that an earlier warmer had; `handed`: when this one was
    given an item, by its key; `needs_s`: what the cheap tier takes; `later`: when to try again; `told`: statuses that
    Redis does not know yet."""

    kept: Kept
    begun: frozenset[int]
    taken_at: float
    keys: dict[int, str] = field(default_factory=dict)
    needs_s: dict[int, float] = field(default_factory=dict)
    handed: dict[int, float] = field(default_factory=dict)
    later: dict[int, float] = field(default_factory=dict)
    told: dict[int, ItemStatus] = field(default_factory=dict)
    refused: dict[int, tuple[float, ItemStatus]] = field(default_factory=dict)

    def status(self, at: int) -> ItemStatus:
        return self.told.get(at, self.kept.statuses[at])

    def pending(self) -> list[int]:
        return [at for at in range(len(self.kept.statuses)) if not self.status(at).has_ended]


class Takeup:
    """The owner of what is in hand. `tend` again and again, and let it hear what each step of the warmer considered."""

    def __init__(self, shelf: Shelf, ports: TakeupPorts, *, clock: Clock, patience_s: float = PATIENCE_S) -> None:
        self._shelf = shelf
        self._ports = ports
        self._clock = clock
        self._patience_s = patience_s
        self._held: dict[tuple[str, str], _Held] = {}
        self._heard: deque[Considered] = deque()
        self._is_away = False

    async def tend(self, *, leads: bool) -> None:
        """Look, where this process leads; without Redis, wait. An item that fails is left alone for a while."""
        if not leads:
            self.forget()
            return
        try:
            await self.look()
        except StoreUnavailable as error:
            if not self._is_away:
                structlog.get_logger().warning("announced requests wait for redis", reason=str(error))
            self._is_away = True
        else:
            self._is_away = False

    def is_hurried(self, tenant: str, key: str) -> bool:
        """Say whether somebody wants it sooner than the cheap tier is likely to have it."""
        now = self._clock.now()
        for (whose, _), held in self._held.items():
            ready_by = held.kept.announcement.ready_by
            if whose == tenant and ready_by is not None:
                wanted = [at for at, own in held.keys.items() if own == key and not held.status(at).has_ended]
                if any(now + held.needs_s[at] > ready_by for at in wanted):
                    return True
        return False

    def forget(self) -> None:
        """Let go of everything: another warmer leads. What was not written down yet is lost, and found out again."""
        self._held.clear()
        self._heard.clear()

    def heard(self, considered: Sequence[Considered]) -> None:
        """Note what a step of the warmer came to; what there was no room for is not at its end."""
        self._heard.extend(one for one in considered if isinstance(one.recipe, Known) and one.result != "no_room")

    async def look(self) -> None:
        """Write down what became of items, and hand the next ones over. Raises StoreUnavailable; nothing is lost."""
        await self._resolve()
        for key, held in tuple(self._held.items()):
            await self._save(key, held)
        await self._refresh()
        await self._hand_over()

    async def _resolve(self) -> None:
        while self._heard:
            one = self._heard[0]
            assert isinstance(one.recipe, Known)
            for (tenant, _), held in self._held.items():
                if tenant == one.tenant:
                    for at, key in tuple(held.keys.items()):
                        if key == one.recipe.key and not held.status(at).has_ended:
                            self._say(held, at, await self._ended(one), may_pass=one.result in _MAY_PASS)
            self._heard.popleft()

    async def _ended(self, one: Considered) -> ItemStatus:
        """Return what became of an item of which the warmer says so much."""
        assert isinstance(one.recipe, Known)
        quote, now = await self._ports.quotes.quote(one.tenant, one.recipe), self._clock.now()
        good_until = quote.fresh_until_s if quote is not None else 0.0
        if one.result == "fresh" or (one.result == "not_asked" and good_until > now):  # its caller came first
            return ended("fresh", words_of("fresh"), key=one.key, good_until=good_until)
        if one.result != "warmed":
            words = words_of(one.result, most_nanousd=quote.bound_nanousd if quote is not None else 0)
            return ended(result_of(one.result), words, cost_nanousd=one.cost_nanousd, key=one.key)
        if good_until > now:
            return ended("answer", cost_nanousd=one.cost_nanousd, key=one.key, good_until=good_until)
        prefix_until = now + quote.prefix_ttl_s if quote is not None else 0.0
        return ended("prefix", cost_nanousd=one.cost_nanousd, key=one.key, good_until=prefix_until)

    def _say(self, held: _Held, at: int, status: ItemStatus, *, may_pass: bool) -> None:
        """End an item, or have it wait for what may pass."""
        since, _ = held.refused.get(at, (self._clock.now(), status))
        if may_pass and status.result != "fresh" and self._clock.now() - since < self._patience_s:
            held.refused[at] = since, status
            held.handed.pop(at, None)
            held.later[at] = self._clock.now() + AGAIN_S
            held.told[at] = ItemStatus(state="queued", detail=status.detail)
        else:
            self._end(held, at, status)

    def _end(self, held: _Held, at: int, status: ItemStatus) -> None:
        held.told[at] = status
        held.handed.pop(at, None)
        if status.result:
            self._ports.tell(status.result)

    async def _save(self, key: tuple[str, str], held: _Held) -> None:
        for at, status in tuple(held.told.items()):
            await self._shelf.mark(*key, at, status)
            held.kept = _with(held.kept, at, status)
            del held.told[at]
        if held.kept.has_ended:
            await self._shelf.end(*key, held.kept.statuses)
            del self._held[key]

    async def _refresh(self) -> None:
        """Have in hand who is wanted first, in that order, and whoever the warmer is busy with."""
        order = [(tenant, name) for tenant, name, _ in await self._shelf.first(LOOK_AHEAD)]
        busy = [key for key, held in self._held.items() if (held.handed or held.told) and key not in order]
        found: dict[tuple[str, str], _Held] = {}
        for key in (*order, *busy):
            held = self._held.get(key) or await self._take(key)
            if held is not None:
                found[key] = held
        self._held = found

    async def _take(self, key: tuple[str, str]) -> _Held | None:
        kept = await self._shelf.find(*key)
        if kept is None or kept.has_ended:
            await self._shelf.end(*key, kept.statuses if kept else ())
            return None
        begun = frozenset(at for at, status in enumerate(kept.statuses) if status.state == "warming")
        return _Held(kept=kept, begun=begun, taken_at=self._clock.now())

    async def _hand_over(self) -> None:
        now = self._clock.now()
        room = AT_ONCE - sum(now - at < SILENT_S for held in self._held.values() for at in held.handed.values())
        for key, held in self._held.items():
            announcement = held.kept.announcement
            is_late = announcement.ready_by is not None and now > announcement.ready_by
            for at in held.pending():
                if now - held.handed.get(at, now) >= AGAIN_S:
                    del held.handed[at]
                is_lost = at in held.begun and now > held.taken_at + BEGUN_S
                is_refused = at in held.refused and now - held.refused[at][0] >= self._patience_s
                if is_late or is_lost or is_refused or now > announcement.wanted_at + LIFE_S / 2:
                    self._end(held, at, await self._late(held, at))
                elif at not in held.handed and room > 0 and held.later.get(at, 0.0) <= now:
                    await self._hand(key, held, at)
                    room -= at in held.handed

    async def _late(self, held: _Held, at: int) -> ItemStatus:
        announcement, key = held.kept.announcement, held.keys.get(at)
        quote = None if key is None else await self._ports.quotes.quote(announcement.tenant, Known(key=key))
        if key is not None and quote is not None and quote.fresh_until_s > self._clock.now():
            return ended("fresh", words_of("fresh"), key=key, good_until=quote.fresh_until_s)
        if at in held.refused:
            return held.refused[at][1]
        result: ItemResult = "error" if at in held.begun else "too_late"
        return ended(result, words_of(result))

    async def _hand(self, key: tuple[str, str], held: _Held, at: int) -> None:
        announcement, now = held.kept.announcement, self._clock.now()
        held.later[at] = now + SILENT_S  # should this fail, the others go first
        try:
            prepared = await self._ports.prepares.prepare(announcement, announcement.items[at])
        except NotAllowed as refused:
            self._end(held, at, ended("not_allowed", str(refused)))
            return
        until_s = announcement.wanted_at + SLACK_S
        await self._ports.keeps.keep(prepared, ttl_s=until_s - now)
        recipe, was_handed = Known(key=prepared.key), at in held.keys
        held.keys[at] = prepared.key
        held.needs_s[at] = CHEAP_UNSEEN_S if prepared.cheap_s is None else CHEAP_MARGIN * prepared.cheap_s
        quote = await self._ports.quotes.quote(announcement.tenant, recipe)
        if quote is None:
            self._end(held, at, ended("not_allowed", words_of("unknown")))
        elif was_handed and at not in held.refused and quote.fresh_until_s > now:
            held.later[at] = now + AGAIN_S  # the warmer's word on it is under way
        elif quote.fresh_until_s >= announcement.wanted_at or (announcement.ready_by is None and quote.fresh_until_s):
            self._end(held, at, ended("fresh", words_of("fresh"), key=quote.key, good_until=quote.fresh_until_s))
        elif quote.fresh_until_s > now:
            held.later[at] = quote.fresh_until_s  # what is there now will not be there when it is wanted
        elif (at_s := _not_before(announcement, quote)) > now:
            held.later[at] = at_s
        else:
            await self._announce(
                key,
                held,
                at,
                Prediction(
                    tenant=announcement.tenant,
                    recipe=recipe,
                    due_at_s=announcement.wanted_at,
                    until_s=until_s,
                    level=announcement.level,
                ),
            )

    async def _announce(self, key: tuple[str, str], held: _Held, at: int, prediction: Prediction) -> None:
        if held.status(at).state == "queued":
            await self._shelf.mark(*key, at, ItemStatus(state="warming"))
            held.kept = _with(held.kept, at, ItemStatus(state="warming"))
        if self._ports.announce(prediction):
            held.handed[at] = self._clock.now()
        del held.later[at]


def _not_before(announcement: Announcement, quote: Quote) -> float:
    """Return from when what is made will still be good when it is wanted (Unix s)."""
    good_s = quote.prefix_ttl_s if announcement.level == "prefix" else quote.ttl_s
    return 0.0 if announcement.ready_by is None else announcement.ready_by - GOOD_SHARE * good_s


def _with(kept: Kept, at: int, status: ItemStatus) -> Kept:
    statuses = (*kept.statuses[:at], status, *kept.statuses[at + 1 :])
    return Kept(announcement=kept.announcement, statuses=statuses, expires_at=kept.expires_at)
