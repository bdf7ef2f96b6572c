"""What is asked at the same time every day, or every week at that time, will be then. Must not look at sessions.

Times are of UTC. What recurs is a key, or a question that is asked of another transcript each time: then of the one
posted last.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from warmer.sketches import SpaceSaving
from warmer.state import dump, restore
from warmer.types import Event, Known, Prediction, Written

VERSION = 1
DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
_NEAR_S = 1800.0
_LEAD_S = 600.0
_TIMES = 16
_CAPACITY = 512
_HALF_LIFE_S = 14 * DAY_S
_LEAST = 0.2
_MOST = 32


class Recurring(msgspec.Struct, kw_only=True):
    """When something was asked, oldest first, once a quarter of a day at most, and how to ask it again."""

    key: str
    ttl_s: float
    at_s: list[float] = msgspec.field(default_factory=list)
    question: str = ""


class Learnt(msgspec.Struct, kw_only=True):
    """Everything kept of one tenant: `posted` and `attachment` name the transcript that was posted last."""

    hot: SpaceSaving
    recurring: dict[str, Recurring] = msgspec.field(default_factory=dict)
    first_s: float = 0.0
    posted: str = ""
    attachment: str = ""


class Schedule:
    """One tenant's recurring times."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._learnt = Learnt(hot=SpaceSaving(capacity=_CAPACITY, half_life_s=_HALF_LIFE_S))

    def observe(self, event: Event) -> None:
        """Note the time of the event's key, and of its question where that is about a transcript."""
        learnt = self._learnt
        learnt.first_s = learnt.first_s or event.at_s
        self._note(f"key {event.key}", event, "")
        if event.question and event.attachment:
            self._note(f"asked {event.question}", event, event.question)
        if event.kind == "run" and event.attachment:
            learnt.posted, learnt.attachment = event.key, event.attachment

    def _note(self, name: str, event: Event, question: str) -> None:
        learnt = self._learnt
        for evicted in learnt.hot.add(name, event.at_s):
            learnt.recurring.pop(evicted, None)
        one = learnt.recurring.get(name)
        if one is None:
            one = learnt.recurring[name] = Recurring(key=event.key, ttl_s=event.ttl_s)
        one.key, one.ttl_s, one.question = event.key, event.ttl_s, question
        if not one.at_s or event.at_s - one.at_s[-1] >= DAY_S / 4:
            one.at_s = [*one.at_s, event.at_s][-_TIMES:]

    def predict(self, now_s: float, fresh_until_s: Mapping[str, float]) -> Sequence[Prediction]:
        """Return what is due within ten minutes, and until half an hour after its usual time."""
        found: list[Prediction] = []
        for one in self._learnt.recurring.values():
            if len(one.at_s) < 2 or not _is_near(one.at_s[-1], now_s):
                continue
            if not one.question and fresh_until_s.get(one.key, 0.0) > now_s:
                continue
            found.extend(self._due(one, now_s))
        return sorted(found, key=lambda one: -one.probability)[:_MOST]

    def _due(self, one: Recurring, now_s: float) -> Iterator[Prediction]:
        chances = [
            (chance, due_s)
            for period_s in (DAY_S, WEEK_S)
            for chance, due_s in [recurrence(one.at_s, now_s, period_s=period_s, first_s=self._learnt.first_s)]
            if chance >= _LEAST and due_s - _LEAD_S <= now_s <= due_s + _NEAR_S
        ]
        if not chances:
            return
        chance, due_s = max(chances)
        learnt = self._learnt
        if one.question and not learnt.posted:
            return
        yield Prediction(
            tenant=self._tenant,
            recipe=Written(like=one.key, question=one.question, about=learnt.posted)
            if one.question
            else Known(key=one.key),
            predictor="schedule",
            probability=chance,
            due_at_s=max(now_s, due_s),
            until_s=max(now_s, due_s) + _NEAR_S,
            attachment=learnt.attachment if one.question else "",
        )

    def dump(self) -> bytes:
        """Return the times."""
        return dump(self._learnt, version=VERSION)

    def restore(self, learnt: bytes) -> None:
        """Take the times back."""
        self._learnt = restore(learnt, Learnt, version=VERSION) or self._learnt


def _is_near(last_s: float, now_s: float) -> bool:
    """Return whether it is about the time of day of `last_s`; cheap, for most times it is not."""
    return (now_s - last_s + _LEAD_S) % DAY_S <= _LEAD_S + _NEAR_S


def recurrence(times_s: Sequence[float], now_s: float, *, period_s: float, first_s: float) -> tuple[float, float]:
    """Return with what chance, and when, the last of `times_s` comes again one or more whole periods later.

    The chance is the share of the periods since `first_s` in which it came within half an hour of that time, one miss
    added; 0 for a time that has come only once.
    """
    last_s = times_s[-1]
    due_s = last_s + max(1, math.ceil((now_s - _NEAR_S - last_s) / period_s)) * period_s
    near = {
        round((last_s - at_s) / period_s)
        for at_s in times_s
        if abs((last_s - at_s) - round((last_s - at_s) / period_s) * period_s) <= _NEAR_S
    }
    if len(near) < 2:
        return 0.0, due_s
    most = min(_TIMES, int((due_s - first_s) // period_s))
    return len(near) / (max(most, len(near)) + 1.0), due_s
