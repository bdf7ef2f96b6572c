"""What a warm comes to: from prices and sizes, never guessed; and what makes a request of a recipe. Pure."""

from __future__ import annotations

import orjson
import pytest
from msgspec.structs import replace

from gateway.keys import Caller, KeyRecord
from gateway.part import Part
from gateway.purse import Purse
from gateway.retained.kept import Kept
from gateway.warming.callers import Callers
from gateway.warming.pricing import PREFIX_TTL_S, Prefix, bound_of_parts, cost_of, cost_of_parts, prefix_of, scaled
from gateway.warming.recipes import prefix_only, unstreamed, written
from policies.model import ModelCard
from policies.prices import Price, Rates
from router.types import Usage
from tests.clock import FakeClock

FLEX = Rates(input=500, cached_input=50, cache_write=600, output=1_000, reasoning=1_000)
BASE = Rates(input=1_000, cached_input=100, cache_write=1_250, output=2_000, reasoning=2_000)
PRICE = Price(base=BASE, tiers={"flex": Price(base=FLEX)})
CATALOGUE = {
    "small": ModelCard(
        group="small",
        providers=("openai",),
        mode="chat",
        price=PRICE,
        context_window=None,
        max_output_tokens=1_000,
        capabilities=frozenset(),
        is_simulated=False,
    )
}
USAGE = Usage(input_tokens=4_000, output_tokens=100)
PART = Part(key="k", model="small", usage=USAGE, most_input=5_000, most_output=400)


def a_kept(body: object, **changes: object) -> Kept:
    fields: dict[str, object] = {
        "kind": "chat",
        "body": orjson.dumps(body),
        "dialect": "chat",
        "tenant": "acme",
        "key_id": "key-1",
        "allowed_models": None,
        "session": "",
        "tags": (),
        "namespace": "",
        "parts": (PART,),
        "wait_s": 1.0,
        "ttl_s": 60.0,
        "cost_nanousd": 9,
        **changes,
    }
    return Kept(**fields)  # type: ignore[arg-type]


def test_a_warm_costs_the_tiers_price_whatever_tier_answered_the_last_time() -> None:
    served_cheaply = Usage(input_tokens=4_000, output_tokens=100, service_tier="flex")
    for usage in (USAGE, served_cheaply):
        cost = cost_of(PRICE, usage, live_tier="", warm_tier="flex")
        assert cost is not None
        assert (cost.live_nanousd, cost.warm_nanousd) == (4_200, 2_100)
    assert cost_of(None, USAGE, live_tier="", warm_tier="flex") is None


def test_a_run_costs_the_sum_of_its_parts_and_nothing_without_every_price() -> None:
    cost = cost_of_parts([PART, PART], CATALOGUE, warm_tier="flex")
    assert cost is not None
    assert (cost.live_nanousd, cost.warm_nanousd) == (8_400, 4_200)
    unknown = Part(key="k", model="gone", usage=USAGE, most_input=1, most_output=1)
    assert cost_of_parts([PART, unknown], CATALOGUE, warm_tier="") is None
    assert bound_of_parts([PART, unknown], CATALOGUE, growth=1.0, most_output=None) is None
    longer = cost_of_parts(scaled([PART], 2.0), CATALOGUE, warm_tier="")
    assert longer is not None
    assert longer.live_nanousd == 8_200


def test_the_bound_of_a_run_is_at_the_dearest_rates_and_grows_with_its_text() -> None:
    assert bound_of_parts([PART], CATALOGUE, growth=1.0, most_output=None) == 5_000 * 1.25 + 400 * 2
    assert bound_of_parts([PART], CATALOGUE, growth=2.0, most_output=200) == 10_000 * 1.25 + 200 * 2


def test_a_prefix_is_offered_only_where_reading_it_again_is_cheaper() -> None:
    offered = prefix_of(PRICE, tokens=2_000, is_marked=False, needs_mark=False, tiers=("", "flex"))
    assert offered == Prefix(cost_nanousd=1_001, saved_nanousd=1_800, ttl_s=PREFIX_TTL_S)
    marked = prefix_of(PRICE, tokens=2_000, is_marked=True, needs_mark=True, tiers=("", ""))
    assert marked == Prefix(cost_nanousd=2_502, saved_nanousd=2_300, ttl_s=PREFIX_TTL_S)
    dear = Rates(input=1_000, cached_input=1_000, cache_write=1_000, output=1, reasoning=1)
    assert prefix_of(Price(base=dear), tokens=2_000, is_marked=False, needs_mark=False, tiers=("", "")) == Prefix()
    assert prefix_of(PRICE, tokens=1_000, is_marked=False, needs_mark=False, tiers=("", "")) == Prefix()
    assert prefix_of(PRICE, tokens=2_000, is_marked=False, needs_mark=True, tiers=("", "")) == Prefix()


def test_a_purse_promises_no_more_than_it_holds() -> None:
    purse = Purse(left_nanousd=100)
    assert [purse.take(60), purse.take(60), purse.take(40)] == [True, False, True]
    purse.settle(60, 10)
    purse.settle(40, None)
    assert (purse.left_nanousd, purse.spent_nanousd) == (50, 50)


def test_a_run_is_put_to_another_transcript_and_kinds_do_not_mix() -> None:
    run = a_kept({"transcript": "A: one", "steps": ["analysis"]}, kind="run")
    other = a_kept({"transcript": "B: two"}, kind="run")
    assert written(run, question="", about=other) == {"transcript": "B: two", "steps": ["analysis"]}
    chat = a_kept({"messages": [{"role": "user", "content": "Why?"}]})
    assert written(run, question="", about=chat) is None
    assert written(chat, question="How?", about=None) == {"messages": [{"role": "user", "content": "How?"}]}
    assert written(replace(chat, body=b"no json"), question="How?", about=None) is None


def test_a_warm_is_unstreamed_and_a_prefix_asks_for_one_token() -> None:
    body = {
        "messages": [],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 9,
        "n": 2,
    }
    assert unstreamed(body)["stream"] is False
    assert "stream_options" not in unstreamed(body)
    assert prefix_only(body)["max_completion_tokens"] == 1
    assert prefix_only({"max_tokens": 9})["max_tokens"] == 1
    assert "n" not in prefix_only(body)


@pytest.mark.parametrize(
    ("then", "now", "allowed"),
    [
        (None, None, None),
        (("small",), None, {"small"}),
        (None, ("large",), {"large"}),
        (("small", "large"), ("large", "other"), {"large"}),
    ],
)
async def test_a_key_may_no_more_than_then_and_no_more_than_now(
    then: tuple[str, ...] | None, now: tuple[str, ...] | None, allowed: set[str] | None
) -> None:
    class Listed:
        calls = 0

        async def list(self) -> tuple[KeyRecord, ...]:
            self.calls += 1
            return (KeyRecord(id="key-1", name="", tenant="acme", models=now, created_at=0.0),)

    listed, clock = Listed(), FakeClock()
    callers = Callers(listed, clock, without_key=Caller(tenant="local", key_id="loopback", allowed_models=None))
    found = await callers.of(a_kept({}, allowed_models=then))
    assert found is not None
    assert found.allowed_models == allowed
    assert await callers.of(a_kept({}, key_id="key-2")) is None
    assert await callers.of(a_kept({}, tenant="other")) is None
    assert await callers.of(a_kept({}, tenant="local", key_id="loopback")) is not None
    assert listed.calls == 1
    clock.wind(1.1)
    await callers.of(a_kept({}))
    assert listed.calls == 2
