"""The recorder: bounded, in order, counted once, and where it was after a restart."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmer.ports import HistoryUnavailable
from warmer.recorder import Recorder
from warmer.types import Entry, Event, Mark, Position


def event(key: str, *, tenant: str = "acme", at_s: float = 1.0) -> Event:
    return Event(
        at_s=at_s,
        tenant=tenant,
        key=key,
        session="",
        route="default",
        model="small",
        was_hit=False,
        waited_s=0.1,
        cost_nanousd=5,
    )


class ListHistory:
    """A history in memory that forgets its oldest entries when told, and can be away."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.is_away = False

    def add(self, *keys: str | None) -> None:
        for key in keys:
            last = self.entries[-1].position if self.entries else Position(ms=10, sequence=-1)
            # Two entries to a millisecond, as Redis numbers them.
            place = Position(ms=last.ms, sequence=1) if last.sequence == 0 else Position(ms=last.ms + 1, sequence=0)
            self.entries.append(Entry(position=place, event=None if key is None else event(key, at_s=float(place.ms))))

    async def read(self, *, after: Position, limit: int) -> Sequence[Entry]:
        if self.is_away:
            raise HistoryUnavailable("away")
        return [entry for entry in self.entries if entry.position > after][:limit]


class OneMark:
    def __init__(self) -> None:
        self.mark: Mark | None = None
        self.is_away = False

    async def load(self) -> Mark | None:
        return self.mark

    async def save(self, mark: Mark) -> None:
        if self.is_away:
            raise HistoryUnavailable("away")
        self.mark = mark


async def read_all(recorder: Recorder) -> int:
    total = 0
    while True:
        step = await recorder.step()
        total += step.events
        if step.is_at_end:
            return total


async def test_events_are_kept_in_order_and_counted_by_tenant_and_key() -> None:
    history = ListHistory()
    history.add("a", "b", None, "a")
    history.entries.append(Entry(position=Position(ms=99, sequence=0), event=event("a", tenant="other")))
    recorder = Recorder(history, OneMark())
    step = await recorder.step()
    assert (step.events, step.is_at_end, step.newest_at_s) == (4, True, 1.0)
    assert [one.key for one in recorder.events()] == ["a", "b", "a", "a"]
    assert (recorder.count("acme", "a"), recorder.count("other", "a"), recorder.count("acme", "c")) == (2, 1, 0)


@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(1, 8), st.integers(1, 7))
async def test_the_window_holds_the_newest_events_and_its_counts_agree(
    keys: list[str], capacity: int, page: int
) -> None:
    history = ListHistory()
    history.add(*keys)
    recorder = Recorder(history, OneMark(), capacity=capacity, page=page)
    assert await read_all(recorder) == len(keys)
    newest = keys[-capacity:]
    assert [one.key for one in recorder.events()] == newest
    assert recorder.size == len(newest)
    assert [recorder.count("acme", key) for key in "abc"] == [newest.count(key) for key in "abc"]
    assert len(recorder._counts) <= capacity


@given(st.lists(st.sampled_from("abc"), max_size=20), st.lists(st.sampled_from("abc"), max_size=20), st.integers(1, 7))
async def test_after_a_restart_the_window_is_there_again_and_nothing_is_counted_twice(
    before: list[str], after: list[str], page: int
) -> None:
    history, mark = ListHistory(), OneMark()
    history.add(*before)
    first = Recorder(history, mark, capacity=6, page=page)
    assert await read_all(first) == len(before)
    history.add(*after)
    second = Recorder(history, mark, capacity=6, page=page)
    assert await read_all(second) == len(after)
    assert [one.key for one in second.events()] == [*before, *after][-6:]


async def test_entries_that_disappeared_meanwhile_do_no_harm() -> None:
    history, mark = ListHistory(), OneMark()
    history.add("a", "b")
    await read_all(Recorder(history, mark))
    history.add("c", "d")
    del history.entries[:3]
    again = Recorder(history, mark)
    assert await read_all(again) == 1
    assert [one.key for one in again.events()] == ["d"]


async def test_a_history_that_is_away_costs_nothing_but_time() -> None:
    history, mark = ListHistory(), OneMark()
    history.add("a")
    recorder = Recorder(history, mark)
    history.is_away = True
    with pytest.raises(HistoryUnavailable):
        await recorder.step()
    history.is_away = False
    mark.is_away = True
    with pytest.raises(HistoryUnavailable):
        await recorder.step()
    mark.is_away = False
    history.add("b")
    assert await read_all(recorder) == 1
    assert [one.key for one in recorder.events()] == ["a", "b"]
    assert mark.mark is not None
    assert mark.mark.counted == history.entries[-1].position
