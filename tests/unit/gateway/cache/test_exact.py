"""The exact tier: memory first, then the store; bounded, expiring, and never in the way."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from gateway.cache.codec import StoredAnswer
from gateway.cache.exact import ExactCache, Hit, Miss, store_key
from gateway.cache.lease import Elsewhere, Leases
from gateway.cache.withdraw import answers
from gateway.ports import StoreUnavailable
from gateway.stores.memory import MemoryStore
from router.types import Usage


@dataclass
class FakeClock:
    """Time that moves when told."""

    at: float = 1_000.0

    def monotonic(self) -> float:
        return self.at

    def now(self) -> float:
        return self.at

    async def sleep(self, delay_s: float) -> None:
        self.at += delay_s


class AwayStore(MemoryStore):
    """A store that cannot be reached."""

    async def get(self, key: str) -> bytes | None:
        raise StoreUnavailable("away")


def answer(clock: FakeClock, *, size_bytes: int = 100, ttl_s: float = 60) -> StoredAnswer:
    return StoredAnswer(
        form="json",
        payload=b"x" * size_bytes,
        usage_event=None,
        usage=Usage(),
        finish_reasons=("stop",),
        routed_model="m",
        response_model="m",
        provider="p",
        is_simulated=False,
        cost_nanousd=1,
        created_at=clock.now(),
        ttl_s=ttl_s,
        writer="k",
        policy_version="v",
    )


async def test_an_answer_is_found_in_memory_then_by_another_worker_in_the_store() -> None:
    clock = FakeClock()
    store = MemoryStore(clock, max_bytes=1 << 20)
    here, elsewhere = (ExactCache(store, clock, max_bytes=1 << 20) for _ in range(2))
    made = answer(clock)
    here.keep("k", made)
    here.share("k", made, tenant="t")
    clock.at += 5
    assert here.peek("k", max_age_s=None) == Hit(answer=made, tier="memory", age_s=5)
    assert elsewhere.peek("k", max_age_s=None) is None
    assert await elsewhere.fetch("k", tenant="t", max_age_s=None) == Hit(answer=made, tier="redis", age_s=5)
    assert elsewhere.peek("k", max_age_s=None) is not None
    assert await elsewhere.fetch("k", tenant="other", max_age_s=None) == Miss()


async def test_age_is_absolute_and_a_hit_does_not_renew_it() -> None:
    clock = FakeClock()
    cache = ExactCache(MemoryStore(clock, max_bytes=1 << 20), clock, max_bytes=1 << 20)
    cache.keep("k", answer(clock, ttl_s=10))
    clock.at += 9
    assert cache.peek("k", max_age_s=None) is not None
    assert cache.peek("k", max_age_s=5) is None
    clock.at += 1
    assert cache.peek("k", max_age_s=None) is None
    assert cache.held_bytes == 0


async def test_a_stale_entry_of_the_store_is_a_miss() -> None:
    clock = FakeClock()
    store = MemoryStore(clock, max_bytes=1 << 20)
    cache = ExactCache(store, clock, max_bytes=1 << 20)
    await store.put(store_key("k", tenant="t"), msgspec.msgpack.encode(answer(clock, ttl_s=10)), ttl_s=1_000)
    clock.at += 11
    assert await cache.fetch("k", tenant="t", max_age_s=None) == Miss()


def test_memory_is_bounded_in_bytes_and_drops_the_least_recently_used() -> None:
    clock = FakeClock()
    cache = ExactCache(MemoryStore(clock, max_bytes=1 << 20), clock, max_bytes=100_000)
    for name in ("a", "b", "c", "d", "e", "f", "g", "h"):
        cache.keep(name, answer(clock, size_bytes=11_000))
    assert cache.peek("a", max_age_s=None) is not None
    cache.keep("i", answer(clock, size_bytes=11_000))
    assert cache.peek("a", max_age_s=None) is not None
    assert cache.peek("b", max_age_s=None) is None
    assert cache.held_bytes <= 100_000
    cache.keep("huge", answer(clock, size_bytes=50_000))
    assert cache.peek("huge", max_age_s=None) is None


async def test_a_claim_on_an_answers_place_is_no_answer_to_whoever_reads() -> None:
    clock = FakeClock()
    store = MemoryStore(clock, max_bytes=1 << 20)
    cache, leases = ExactCache(store, clock, max_bytes=1 << 20), Leases(store, clock, wait_s=10)
    name = store_key("k", tenant="t")
    first, second = leases.draw(name), leases.draw(name)
    assert await cache.fetch_or_claim("k", first, max_age_s=None) is first
    assert await cache.fetch_or_claim("k", second, max_age_s=None) == Elsewhere()
    assert await cache.fetch("k", tenant="t", max_age_s=None) == Miss()
    assert await cache.fetch_stale("k", tenant="t") is None
    assert [found async for found in answers(store)] == []
    made = answer(clock)
    cache.share("k", made, tenant="t", lease=first)
    leases.give_up(first)
    assert await cache.fetch_or_claim("k", second, max_age_s=None) == Hit(answer=made, tier="redis", age_s=0)
    clock.at += 5
    assert await cache.fetch_or_claim("k", second, max_age_s=1) == Miss()


async def test_a_store_that_is_away_is_a_miss_that_says_so() -> None:
    clock = FakeClock()
    cache = ExactCache(AwayStore(clock, max_bytes=1 << 20), clock, max_bytes=1 << 20)
    assert await cache.fetch("k", tenant="t", max_age_s=None) == Miss(is_store_down=True)
