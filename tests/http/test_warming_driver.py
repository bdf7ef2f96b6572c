"""The warmer as its process runs it, on a gateway's parts: it leads, asks, accounts, and never passes its budget."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from gateway.budgets.meters import Calendar, daily_meter, tag
from gateway.cache.withdraw import Selection
from gateway.redis_replies import elements, optional
from gateway.retained.kept import NOTES, learnt_of
from gateway.semantic.admin import withdraw
from gateway.stores.redis import RedisStore
from gateway.warming.day import HOUR_S, DaySpend
from gateway.warming.gate import BudgetGate, Debit
from gateway.warming.leader import LEADER
from gateway.worker import Worker
from tests.http.conftest import StartGateway
from tests.http.running import Gateway
from tests.http.warming import MODELS, POLICY, Beside, another_warmer, warmer_beside
from tests.unit.gateway.metric_samples import Samples, parsed, value
from warmer.learner import VERSION as LEARNT_VERSION
from warmer.learner import Announced, Learnt
from warmer.state import dump
from warmer.types import Known, Position


@pytest.fixture
async def beside(start_gateway: StartGateway) -> AsyncIterator[Beside]:
    gateway = await start_gateway(models=MODELS, policy=POLICY)
    async with warmer_beside(gateway) as made:
        yield made


def a_gate(worker: Worker, *, tenant: str = "", spent: int = 0, may_spend: bool = True) -> BudgetGate:
    day, clock = DaySpend(), worker.services.clock
    if spent:
        day.spent[tenant] = {int(clock.now() // HOUR_S): spent}
    return BudgetGate(
        worker.spend.budgets, clock, policies=worker.services.book.current, day=day, may_spend=lambda: may_spend
    )


def store_of(gateway: Gateway) -> RedisStore:
    assert isinstance(gateway.worker.store, RedisStore)
    return gateway.worker.store


async def announce(beside: Beside, known: Known, *, spent: int) -> None:
    """Note for the next reign that `known` will be wanted, and that the tenant has spent something today."""
    now = beside.gateway.worker.services.clock.now()
    said = Announced(at_s=now, due_at_s=now + 60, until_s=now + 600, level="answer", key=known.key)
    learnt = Learnt(announced={"it": said})
    tenant = beside.gateway.tenant
    await beside.store.hash_set(NOTES, learnt_of(tenant), dump(learnt, version=LEARNT_VERSION))
    day = DaySpend(position=Position(ms=0, sequence=1), spent={tenant: {int(now // HOUR_S): spent}})
    await beside.store.hash_set(NOTES, "spend", msgspec.msgpack.encode(day))


async def until(beside: Beside, series: str, **labels: str) -> Samples:
    """Return the metrics once `series` of announcements is 1."""
    async with asyncio.timeout(60):
        while True:
            found = parsed(beside.gateway.worker.services.metrics.render()[0])
            if value(found, series, predictor="announced", **labels) == 1:
                return found
            await asyncio.sleep(0.02)


async def test_the_terms_are_the_policys_with_what_the_tenant_has_spent(beside: Beside) -> None:
    tenant = beside.gateway.tenant
    terms = await a_gate(beside.gateway.worker, tenant=tenant, spent=77).terms(tenant)
    assert terms is not None
    assert (terms.policy, terms.spent_nanousd_day, terms.max_share_of_spend) == ("default", 77, 1.0)
    assert 0 < terms.left_nanousd <= 1_000_000_000
    assert await a_gate(beside.gateway.worker, may_spend=False).terms(tenant) is None


async def test_the_days_budget_is_never_passed_however_many_debits_race(start_gateway: StartGateway) -> None:
    policy = POLICY.replace("policy: default", "policy: racing").replace("limit_usd_day: 1.0", "limit_usd_day: 0.001")
    policy = policy.replace("version: 1", 'version: 1\ntenants: ["*"]')
    one, two = [await start_gateway(models=MODELS, policy=policy) for _ in range(2)]
    gates = [a_gate(one.worker), a_gate(two.worker)]
    asked = [gates[number % 2].debit("anybody", 90_000) for number in range(40)]
    taken = [debit for debit in await asyncio.gather(*asked) if debit is not None]
    assert 9 <= len(taken) <= 11  # 11 of 90,000 fit into a million; each process may hold a little more than it needs
    for number, debit in enumerate(taken):
        assert isinstance(debit, Debit)
        gates[0].settle(debit, 30_000 if number else 90_000)
    for gateway in (one, two):
        await gateway.worker.spend.budgets.close()
    clock = one.worker.services.clock
    meter = daily_meter("racing", "warming", 1, now=clock.now(), calendar=Calendar())
    (shown,) = await store_of(one).run(("HMGET", meter.key, "s", "r"))
    spent, reserved = map(optional, elements(shown))
    assert (int(spent or 0), int(reserved or 0)) == (90_000 + 30_000 * (len(taken) - 1), 0)
    assert tag("racing") in meter.key


async def test_a_step_warms_what_was_announced_and_says_so_in_metrics(beside: Beside) -> None:
    known = await beside.asked("Why are trams quiet?")
    await beside.gateway.worker.ledger.flush()
    await announce(beside, known, spent=10**12)
    metrics = beside.gateway.worker.services.metrics
    before = parsed(metrics.render()[0])
    assert value(before, "foreword_warmer_warms_total", predictor="announced", level="answer") == 0
    assert value(before, "foreword_warmer_leader") == 0
    supervisor = beside.gateway.worker.supervisor
    supervisor.every(0.5, beside.warming.driver.renew, name="lead")
    supervisor.spawn(beside.warming.driver.run(), name="warmer")
    found = await until(beside, "foreword_warmer_warms_total", level="answer")
    assert value(found, "foreword_warmer_leader") == 1
    assert value(found, "foreword_warmer_cost_usd_total", predictor="announced") > 0
    assert value(found, "foreword_warmer_predictions_total", predictor="announced", result="warmed") == 1
    answer = await beside.gateway.chat("Why are trams quiet?")
    assert answer.headers["x-foreword-cache"] == "hit"
    await beside.gateway.worker.ledger.flush()
    found = await until(beside, "foreword_warmer_useful_warms")
    assert value(found, "foreword_warmer_precision", predictor="announced") == 1
    assert value(found, "foreword_warmer_misses_removed", predictor="announced") == 1
    assert len(beside.gateway.provider.requests) == 1


async def test_an_heir_asks_nothing_that_the_dead_leader_had_begun(beside: Beside) -> None:
    known = await beside.asked("Why are trams quiet?")
    await beside.gateway.worker.ledger.flush()
    await announce(beside, known, spent=10**12)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(beside.warming.driver.run())
        await beside.gateway.provider.wait_for_requests(1)
        running.cancel()  # no save, no release: what is known of the ask is what was noted before it
    await beside.forget_answers()
    await beside.store.delete([LEADER])  # the lease of the dead ends
    async with another_warmer(beside.gateway, beside.store) as heir:
        assert await heir.warming.leadership.renew()
        steps = await heir.warming.driver._ruling()
        for _ in range(3):
            await steps.warmer.step(beside.gateway.worker.services.clock.now())
    assert len(beside.gateway.provider.requests) == 1


async def test_who_does_not_lead_neither_reads_nor_asks_and_says_zero(beside: Beside) -> None:
    known = await beside.asked("Why are trams quiet?")
    await announce(beside, known, spent=10**12)
    async with another_warmer(beside.gateway, beside.store) as follower:
        assert not follower.warming.leadership.is_held
        assert not await follower.warming.leadership.renew()
        await follower.warming.driver.renew()
        assert (
            await follower.warming.asker.warm(beside.gateway.tenant, known, level="answer", predictor="schedule")
            is None
        )
    assert beside.gateway.provider.requests == []


async def test_of_an_erased_tenant_the_warmer_keeps_nothing(beside: Beside) -> None:
    known, tenant = await beside.asked("Why are trams quiet?"), beside.gateway.tenant
    await beside.warming.hear()
    await beside.warming.texts.of([(tenant, known.key)])
    assert beside.warming.texts._known
    await announce(beside, known, spent=10**12)
    clock = beside.gateway.worker.services.clock
    await withdraw(beside.store, Selection(tenant=tenant), by="test", is_dry_run=False, clock=clock)
    assert await beside.store.hash_get(NOTES, learnt_of(tenant)) is None
    await beside.warming.hear()
    assert not beside.warming.texts._known
    assert await beside.quote(known) is None
