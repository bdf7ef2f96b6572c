"""What a request held is free when it has ended: nothing of ours is left in cycles for the collector to find."""

from __future__ import annotations

import gc

from gateway.cache.flight import Flight
from gateway.trail import Trail
from tests.http.folding import until_no_calls
from tests.http.running import Gateway


async def test_an_ended_request_leaves_nothing_for_the_collector(gateway: Gateway) -> None:
    await gateway.chat("first")
    await until_no_calls(gateway)
    gc.collect()
    gc.disable()
    try:
        for stream in (False, True):
            for number in range(5):
                await gateway.chat(f"question {number} {stream}", stream=stream)
        await until_no_calls(gateway)
        left = [type(one).__name__ for one in gc.get_objects() if isinstance(one, Flight | Trail)]
    finally:
        gc.enable()
    assert len(left) <= 1, left
