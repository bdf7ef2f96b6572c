"""Who is waited for before a withdrawal counts as heard, on a store that the workers share."""

from __future__ import annotations

from gateway.cache.exact import ExactCache
from gateway.cache.withdraw import Listener, Notice, Selection, tell
from gateway.stores.memory import MemoryStore
from tests.clock import FakeClock

NOTICE = Notice(selection=Selection(id="0123456789"), by="test")


async def test_a_worker_that_has_left_is_not_waited_for_though_it_hears_once_more() -> None:
    clock = FakeClock()
    store = MemoryStore(clock, max_bytes=1 << 20)
    staying, leaving = (
        Listener(store, ExactCache(store, clock, max_bytes=0), worker=name, clock=clock)
        for name in ("staying", "leaving")
    )
    for one in (staying, leaving):
        await one.listen()
    assert (await tell(store, NOTICE, clock=clock, wait_s=0)).silent == ("leaving", "staying")
    await leaving.leave()
    await leaving.listen()
    await staying.listen()
    heard = await tell(store, NOTICE, clock=clock, wait_s=0)
    assert (heard.acknowledged, heard.silent) == ((), ("staying",))
