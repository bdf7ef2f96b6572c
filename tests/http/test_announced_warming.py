"""What is announced is answered before it is asked, under the keys that the later request has, and is paid once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from gateway.announced.shelf import DUE
from gateway.cache.withdraw import Selection
from gateway.retained.kept import NOTES
from gateway.semantic.admin import withdraw
from gateway.takeup.build import build_takeup
from gateway.takeup.serving import Takeup
from gateway.warming.day import HOUR_S, DaySpend
from tests.http.conftest import StartGateway
from tests.http.debating import HINTS, TEXT, debate, script
from tests.http.running import Answer, Gateway
from tests.http.warming import POLICY, Beside, warmer_beside
from tests.provider import Reply
from warmer.types import Position

_PRICES = """input_cost_per_token: 1.0e-6, output_cost_per_token: 2.0e-6, cache_read_input_token_cost: 1.0e-7,
     input_cost_per_token_flex: 5.0e-7, output_cost_per_token_flex: 1.0e-6, cache_read_input_token_cost_flex: 5.0e-8"""
MODELS = f"""
model_list:
  - {{{{model_name: small, litellm_params: {{{{model: openai/up-small, api_base: "{{base}}", api_key: sk-provider-small,
     {_PRICES}}}}}, model_info: {{{{base_model: gpt-4o-mini}}}}}}}}
  - {{{{model_name: large, litellm_params: {{{{model: openai/up-large, api_base: "{{base}}", api_key: sk-provider-large,
     {_PRICES}}}}}, model_info: {{{{base_model: gpt-4o}}}}}}}}
"""
RUN: dict[str, object] = {"transcript": TEXT, "model_hints": HINTS}


def chat(text: str) -> dict[str, object]:
    return {"model": "small", "messages": [{"role": "user", "content": text}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcing:
    """A gateway with a warmer that leads beside it, and what takes up announcements for that."""

    gateway: Gateway
    beside: Beside
    takeup: Takeup

    async def post(self, body: dict[str, object], **headers: str) -> dict[str, Any]:
        answer = await self.gateway.post("/v1/warm", body, **headers)
        assert answer.status == 202, answer.body
        return answer.json()

    async def show(self, name: str) -> dict[str, Any]:
        async with self.gateway.session.get(f"{self.gateway.url}/v1/warm/{name}") as answer:
            return Answer(status=answer.status, headers=answer.headers, body=await answer.read()).json()

    async def done(self, name: str) -> list[dict[str, Any]]:
        """Return the items once all have ended."""
        async with asyncio.timeout(20):
            while (told := await self.show(name))["status"] != "done":
                await self.gateway.worker.services.clock.sleep(0.02)
        items: list[dict[str, Any]] = told["items"]
        return items

    async def results(self, body: dict[str, object]) -> list[str]:
        return [item["result"] for item in await self.done((await self.post(body))["id"])]

    def bodies(self) -> list[dict[str, Any]]:
        """Return what the provider was sent."""
        return [json.loads(seen.body) for seen in self.gateway.provider.requests]

    @asynccontextmanager
    async def warming(self) -> AsyncIterator[None]:
        """Run the warmer and the taking up while the block lasts."""
        driver = self.beside.warming.driver
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(driver.run()),
                group.create_task(self._tend()),
            ]
            yield
            for task in tasks:
                task.cancel()

    async def _tend(self) -> None:
        clock, lead = self.gateway.worker.services.clock, self.beside.warming.leadership
        while True:
            await self.takeup.tend(leads=lead.is_held)
            await clock.sleep(0.02)


Start = Callable[..., Awaitable[Announcing]]


@pytest.fixture
async def start(start_gateway: StartGateway) -> AsyncIterator[Start]:
    """Return a function that starts one; `policy` changes the policy's text, `spent` is what the tenant has today."""
    made: list[Any] = []

    async def started(*policy: tuple[str, str], spent: int = 10**12) -> Announcing:
        text = POLICY
        for old, new in policy:
            assert old in text
            text = text.replace(old, new)
        gateway = await start_gateway(models=MODELS, policy=text)
        running = warmer_beside(gateway)
        beside = await running.__aenter__()
        made.append(running)
        now = gateway.worker.services.clock.now()
        day = DaySpend(position=Position(ms=0, sequence=1), spent={gateway.tenant: {int(now // HOUR_S): spent}})
        await beside.store.hash_set(NOTES, "spend", msgspec.msgpack.encode(day))
        await beside.store.delete([DUE])
        takeup = build_takeup(gateway.worker, beside.warming, patience_s=0.2)
        return Announcing(gateway=gateway, beside=beside, takeup=takeup)

    yield started
    for running in made:
        await running.__aexit__(None, None, None)


async def test_an_announced_debate_is_ready_when_it_is_asked_and_every_step_comes_from_the_cache(start: Start) -> None:
    here = await start()
    script(here.gateway)
    async with here.warming():
        name = (await here.post({**RUN, "ready_by_s": 600}))["id"]
        (item,) = await here.done(name)
    assert (item["status"], item["result"]) == ("ready", "answer")
    assert item["cost_usd"] > 0
    assert item["good_until"] > here.gateway.worker.services.clock.now() + 3000
    assert [body["service_tier"] for body in here.bodies()] == ["flex", "flex"]
    answer = await debate(here.gateway)
    told = answer.json()
    assert told["status"] == "ok"
    assert answer.headers["x-foreword-cost-usd"].strip("0.") == ""
    run = here.gateway.outcomes[-1]
    assert (run.origin, run.cache, run.warmed_by, run.cache_key) == ("user", "hit", "announced", item["key"])
    steps = [one for one in here.gateway.outcomes if one.endpoint == "pipeline-step" and one.origin == "pipeline"]
    assert {(one.cache, one.warmed_by) for one in steps} == {("hit", "announced")}
    assert len(here.bodies()) == 2
    spent = sum(one.cost_nanousd or 0 for one in here.gateway.outcomes if one.origin == "warmer")
    assert item["cost_usd"] == pytest.approx(spent * 1e-9)


async def test_an_announced_chat_is_paid_once_however_often_it_is_announced(start: Start) -> None:
    here = await start()
    body: dict[str, object] = {"requests": [chat("Why are trams quiet?"), chat("Who built the first tram?")]}
    async with here.warming():
        first = await here.post(body)
        items = await here.done(first["id"])
        assert [item["result"] for item in items] == ["answer", "answer"]
        again = await here.post(body)
        assert (again["id"], again["is_repeat"], again["status"]) == (first["id"], True, "done")
        other = await here.results({"requests": [chat("Why are trams quiet?")]})
        assert other == ["fresh"]
    assert len(here.bodies()) == 2
    answer = await here.gateway.chat("Who built the first tram?", stream=True)
    assert answer.headers["x-foreword-cache"] == "hit"
    assert here.gateway.outcomes[-1].cache_key == items[1]["key"]


async def test_what_may_not_be_warmed_is_skipped_with_its_reason(start: Start) -> None:
    here = await start()
    tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}
    requests = [
        {**chat("Which trams?"), "tools": [tool]},
        {**chat("A poem on trams"), "temperature": 1.5},
        {**chat("Trams?"), "model": "nobody"},
        {"transcript": TEXT, "model": "nobody"},
    ]
    async with here.warming():
        items = await here.done((await here.post({"requests": requests}))["id"])
    assert [item["result"] for item in items] == ["not_allowed"] * 4
    assert "tools" in items[0]["detail"]
    assert "temperature" in items[1]["detail"]
    assert "nobody" in items[2]["detail"]
    assert here.bodies() == []


async def test_what_the_budget_does_not_allow_is_refused_and_says_so(start: Start) -> None:
    here = await start(spent=0)
    async with here.warming():
        assert await here.results({"requests": [chat("Why are trams quiet?")]}) == ["over_budget"]
    assert here.bodies() == []


async def test_a_share_of_what_is_announced_is_held_out(start: Start) -> None:
    here = await start(("holdout: 0", "holdout: 0.5"))
    async with here.warming():
        results = await here.results({"requests": [chat(f"What is tram number {number}?") for number in range(16)]})
    assert set(results) == {"answer", "held_out"}
    assert len(here.bodies()) == results.count("answer")


async def test_who_is_in_a_hurry_pays_the_full_price_or_nothing_is_warmed(start: Start) -> None:
    here = await start()
    async with here.warming():
        assert await here.results({"requests": [chat("Why are trams quiet?")], "ready_by_s": 30}) == ["not_worth"]
    assert here.bodies() == []
    dear = await start(("max_share_of_spend: 1", "max_share_of_spend: 1, wait_value_usd: 1000"))
    await dear.gateway.chat("What does a caller wait here?")
    await dear.gateway.worker.ledger.flush()
    async with dear.warming():
        assert await dear.results({"requests": [chat("Why are trams quiet?")], "ready_by_s": 30}) == ["answer"]
    assert [body.get("service_tier") for body in dear.bodies()] == [None, None]


async def test_a_prefix_is_read_and_nothing_is_answered(start: Start) -> None:
    here = await start()
    part = "".join(f"ANN: Trams of line {number} are quiet, and everybody says so.\n" for number in range(120))
    long = part * 3
    run: dict[str, object] = {"transcript": long, "model_hints": HINTS, "level": "prefix", "ready_by_s": 120}
    async with here.warming():
        (item,) = await here.done((await here.post(run))["id"])
        asked = chat(f"Transcript:\n{long}\nQuestion: Who is right?")
        results = await here.results({"requests": [asked], "level": "prefix", "ready_by_s": 120})
    assert (item["status"], item["result"]) == ("ready", "prefix")
    assert results == ["prefix"]
    bodies = here.bodies()
    assert {body["max_tokens"] for body in bodies} == {1}
    prompts = [json.dumps(body["messages"]) + body["model"] for body in bodies]
    assert len(set(prompts)) == len(prompts) >= 3
    assert {body["model"] for body in bodies} == {"up-small", "up-large"}
    script(here.gateway)
    await debate(here.gateway, long)
    assert here.gateway.outcomes[-1].cache == "miss"


async def test_of_an_erased_tenant_nothing_that_was_announced_is_left_or_asked(start: Start) -> None:
    here = await start()
    name = (await here.post({**RUN, "ready_by_s": 80_000}))["id"]
    await here.takeup.tend(leads=True)
    await here.beside.warming.hear()
    clock, store, tenant = here.gateway.worker.services.clock, here.beside.store, here.gateway.tenant
    await withdraw(store, Selection(tenant=tenant), by="test", is_dry_run=False, clock=clock)
    await here.beside.warming.hear()
    await here.takeup.tend(leads=True)
    assert [key async for key in store.scan(f"foreword:announced:{{{tenant}}}")] == []
    assert (await store.run(("ZCARD", DUE)))[0] == 0
    async with here.gateway.session.get(f"{here.gateway.url}/v1/warm/{name}") as answer:
        assert answer.status == 404


async def test_a_caller_who_asks_meanwhile_does_not_wait_for_the_cheap_tier(
    start: Start, start_gateway: StartGateway
) -> None:
    here, elsewhere = await start(), await start_gateway(models=MODELS, policy=POLICY, lease_wait_s="60")
    for model in ("up-small", "up-large"):
        here.gateway.provider.always(model, Reply(gate="never"))
    script(elsewhere)
    async with here.warming():
        name = (await here.post(RUN))["id"]
        await here.gateway.provider.wait_for_requests(2)
        assert [item["status"] for item in (await here.show(name))["items"]] == ["warming"]
        async with asyncio.timeout(10):
            answer = await elsewhere.post("/v1/pipelines/debate", RUN, Authorization=f"Bearer {here.gateway.key}")
    assert answer.json()["status"] == "ok"
    assert len(elsewhere.provider.requests) == 2
