"""Warms give way: to users of other processes that have the places, and to whoever asks the same meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec
import pytest

from gateway.delivery import Reply as Answer
from gateway.errors import RequestFailed
from gateway.purse import Purse
from gateway.trail import Ask, CacheControl
from tests.http.conftest import StartGateway
from tests.http.running import Gateway
from tests.http.warming import MODELS, POLICY, Beside, warmer_beside
from tests.provider import Reply
from warmer.types import Crowded, Known, Warmed

TEXT = "Why are trams quieter than buses?"
TWO = POLICY.replace("holdout: 0}", "holdout: 0, max_in_flight: 2}")


@pytest.fixture
async def beside(start_gateway: StartGateway) -> AsyncIterator[Beside]:
    async with warmer_beside(await start_gateway(models=MODELS, policy=TWO)) as made:
        yield made


@pytest.fixture
async def elsewhere(start_gateway: StartGateway) -> Gateway:
    """One worker, which has no other to wait for."""
    return await start_gateway(models=MODELS, policy=TWO, lease_wait_s="60", is_alone=True)


async def test_no_warm_begins_while_users_of_another_process_have_the_places(
    beside: Beside, elsewhere: Gateway
) -> None:
    known = await beside.asked(TEXT)
    elsewhere.provider.always("up-small", Reply(gate="theirs"))
    async with asyncio.TaskGroup() as group:
        for number in range(2):
            group.create_task(elsewhere.chat(f"What is tram {number}?"))
        await elsewhere.provider.wait_for_requests(2)
        await elsewhere.worker.loads.tell()
        assert await warmed(beside, known) == Crowded()
        elsewhere.provider.open_gate("theirs")
    await elsewhere.worker.loads.tell()
    assert beside.gateway.provider.requests == []
    assert isinstance(await warmed(beside, known), Warmed)


async def test_a_warm_waits_for_the_answer_of_who_asks_the_same_and_pays_nothing(
    beside: Beside, elsewhere: Gateway
) -> None:
    known = await beside.asked(TEXT)
    elsewhere.provider.always("up-small", Reply(gate="theirs"))
    async with asyncio.TaskGroup() as group:
        user = group.create_task(asked_by_the_same(beside, elsewhere))
        await elsewhere.provider.wait_for_requests(1)
        warm = group.create_task(asked_patiently(beside, known, CacheControl()))
        with pytest.raises(RequestFailed) as refused:
            await asked_patiently(beside, known, CacheControl(no_cache=True))
        assert (refused.value.code, warm.done()) == ("asked_meanwhile", False)
        elsewhere.provider.open_gate("theirs")
    assert user.result() == "miss"
    assert warm.result().trail.cache == "hit"
    assert beside.gateway.provider.requests == []


async def asked_by_the_same(beside: Beside, elsewhere: Gateway) -> str:
    """Let the tenant of `beside` ask at the other gateway; return the cache's word."""
    headers = {"Authorization": f"Bearer {beside.gateway.key}"}
    return (await elsewhere.chat(TEXT, headers=headers)).headers["x-foreword-cache"]


async def warmed(beside: Beside, known: Known) -> Warmed | Crowded | None:
    assert await beside.quote(known) is not None
    asker = beside.warming.asker
    return await asker.warm(beside.gateway.tenant, known, level="answer", predictor="popularity")


async def asked_patiently(beside: Beside, known: Known, control: CacheControl) -> Answer:
    """Ask as a warm that has been chosen does, or as a step of a run does, which looks into the cache."""
    asker, quote = beside.warming.asker, await beside.quote(known)
    wish = await asker._wish(beside.gateway.tenant, known)
    assert wish is not None
    assert quote is not None
    purse = Purse(left_nanousd=quote.bound_nanousd)
    ask = asker._around.wishes.ask(wish, replace(wish.warming("announced", purse)))
    assert isinstance(ask, Ask)
    return await asker._around.wishes.flow.run(msgspec.structs.replace(ask, cache_control=control))
