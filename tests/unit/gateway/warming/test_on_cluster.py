"""What the warmer keeps in Redis, on a Cluster: every script's keys are in one slot, and all of it is found again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.cache.exact import store_key
from gateway.cache.lease import Leases, lease_name
from gateway.cache.withdraw import Selection
from gateway.clock import SystemClock
from gateway.part import Part
from gateway.redis_replies import optional
from gateway.retained.forgetting import forget
from gateway.retained.keeper import Keeper
from gateway.retained.kept import NOTES, Kept, learnt_of, sizes_key
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from gateway.warming.leader import Leadership
from gateway.warming.notes import RedisNotes
from gateway.warming.shelf import Shelf
from router.types import Usage


@pytest.fixture
async def store(cluster_url: str) -> AsyncIterator[RedisStore]:
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda _name, _error: None)
    made = RedisStore(cluster_url, supervisor=supervisor, timeout_s=5.0)
    yield made
    await made.close()
    await supervisor.close(1.0)


def a_kept(tenant: str, *, size: int) -> Kept:
    return Kept(
        kind="chat",
        body=b"x" * size,
        dialect="chat",
        tenant=tenant,
        key_id="key-1",
        allowed_models=None,
        session="",
        tags=(),
        namespace="",
        parts=(Part(key="k", model="small", usage=Usage()),),
        wait_s=1.0,
        ttl_s=60.0,
        cost_nanousd=9,
    )


async def test_requests_of_many_tenants_are_kept_bounded_and_forgotten(store: RedisStore) -> None:
    keeper, shelf = Keeper(posts=store, clock=SystemClock(), most_bytes=4096), Shelf(store)
    tenants = [f"cluster-{number}" for number in range(8)]
    for tenant in tenants:
        for number in range(12):
            keeper.write(f"key-{number}", a_kept(tenant, size=300), ttl_s=60.0 + number)
    for tenant in tenants:
        found = [await shelf.kept(tenant, f"key-{number}") is not None for number in range(12)]
        assert 0 < sum(found) < 12
        assert found == sorted(found)  # those that would have ended first have gone
        (held,) = await store.run(("HGET", sizes_key(tenant), ""))
        assert int(optional(held) or 0) <= 4096
        gone = await forget(store, Selection(tenant=tenant), frozenset(), in_scope=frozenset())
        assert gone == sum(found)
        assert await shelf.kept(tenant, "key-11") is None


async def test_who_asks_at_this_moment_is_seen_by_the_claim_on_the_answer_or_beside_it(store: RedisStore) -> None:
    shelf, tenant = Shelf(store), "cluster-claims"
    leases = Leases(store, SystemClock(), wait_s=60.0)
    claim = leases.draw(store_key("k", tenant=tenant))
    assert not (await shelf.standing(tenant, ("k",))).is_asked
    assert await store.get_or_claim(claim.name, claim.token, ttl_s=claim.ttl_s) is None
    standing = await shelf.standing(tenant, ("k",))
    assert (standing.answers, standing.is_asked) == ((None,), True)
    leases.give_up(claim)
    assert not (await shelf.standing(tenant, ("k",))).is_asked
    beside = leases.draw(lease_name("k", tenant=tenant), is_beside=True)
    assert await leases.claim(beside) is beside
    assert (await shelf.standing(tenant, ("k",))).is_asked
    leases.give_up(beside)


async def test_the_lead_fences_the_notes(store: RedisStore) -> None:
    leader = Leadership(store, SystemClock(), token=b"a", lease_s=60.0)
    assert await leader.renew()
    notes = RedisNotes(store, leader)
    await notes.save(learnt_of("cluster-1"), b"1")
    assert await notes.load(learnt_of("cluster-1")) == b"1"
    await leader.release()
    await store.delete([NOTES])
