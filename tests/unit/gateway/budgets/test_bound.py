"""No call within its caps can cost more than was reserved for it, and what has no bound says so."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budgets.bound import size_of
from policies.bounds import leg_nanousd, plan_nanousd
from policies.prices import Price, Rates
from router.cost import cost_nanousd
from router.facts import DoorLimits, read_request
from router.types import ChatRequest, Usage
from tests.unit.policies.examples import card, catalogue, price

rates = st.builds(
    Rates,
    input=st.integers(0, 10**8),
    cached_input=st.integers(0, 10**8),
    cache_write=st.integers(0, 10**8),
    output=st.integers(0, 10**9),
    reasoning=st.integers(0, 10**9),
)
prices = st.builds(
    Price, base=rates, above=st.lists(st.tuples(st.integers(1, 2000), rates), max_size=2).map(sorted).map(tuple)
)


def request(**fields: object) -> ChatRequest:
    """Read a chat request with these fields."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Is this naïve?"}], **fields}
    return read_request(json.dumps(body).encode(), dialect="chat", limits=DoorLimits())


@given(price=prices, data=st.data(), choices=st.integers(1, 4), cap=st.integers(1, 500))
def test_no_usage_within_the_caps_costs_more_than_the_bound(
    price: Price, data: st.DataObject, choices: int, cap: int
) -> None:
    size = size_of(request(n=choices), output_cap=cap)
    assert size is not None
    bound = leg_nanousd(card("m", price), size)
    into = data.draw(st.integers(0, size.input))
    cached = data.draw(st.integers(0, into))
    written = data.draw(st.integers(0, into - cached))
    out = data.draw(st.integers(0, cap * choices))
    usage = Usage(
        input_tokens=into,
        cached_tokens=cached,
        cache_write_tokens=written,
        output_tokens=out,
        reasoning_tokens=data.draw(st.integers(0, out)),
    )
    cost = cost_nanousd(price, usage)
    assert bound is not None
    assert cost is not None
    assert cost <= bound


def test_the_dearest_model_times_the_attempts_bounds_a_plan() -> None:
    models = catalogue(card("cheap", price(1, 2)), card("dear", price(10, 20)))
    size = size_of(request(), output_cap=100)
    assert size is not None
    one = plan_nanousd(("dear",), models, size, attempts=1)
    assert one == -(-(size.input * 10_000_000 + 100 * 20_000_000) // 1000)
    assert plan_nanousd(("cheap", "dear"), models, size, attempts=3) == 3 * one


@pytest.mark.parametrize(
    "fields",
    [
        {"web_search_options": {}},
        {"web_search_options": {"search_context_size": "low"}},
        {"service_tier": "priority"},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "x"}}]}]},
    ],
)
def test_what_is_billed_beside_tokens_has_no_bound(fields: dict[str, object]) -> None:
    assert size_of(request(**fields), output_cap=10) is None


def test_an_unknown_price_or_an_absent_cap_has_no_bound() -> None:
    size = size_of(request(), output_cap=None)
    assert size is not None
    assert leg_nanousd(card("m", price(1, 1), most_output=None), size) is None
    assert leg_nanousd(card("m", price(1, 1), most_output=1000), size) is not None
    assert plan_nanousd(("m", "free"), catalogue(card("m", price(1, 1)), card("free")), size, attempts=1) is None


def test_an_image_by_url_is_counted_at_the_most_anybody_charges() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    with_image = size_of(request(messages=[{"role": "user", "content": [image]}]), output_cap=10)
    assert with_image is not None
    assert with_image.input > 50_000
