from __future__ import annotations

import pytest

from policies.expected_cost import expected_cost
from policies.ports import Demand
from policies.prices import Price, Rates
from policies.selectors.cheapest import order
from tests.unit.policies.examples import card, price

ONE = price(1, 10)


def cost(*, input_tokens: int = 1000, cap: int | None = None, most: int | None = None) -> int:
    demand = Demand(input_tokens=input_tokens, max_output_tokens=cap)
    return expected_cost(card("x", ONE, most_output=most), ONE, demand)


@pytest.mark.parametrize(
    ("cap", "most", "output_tokens"),
    [(None, None, 512), (100, None, 100), (None, 50, 50), (100, 50, 50), (9999, 9999, 512)],
)
def test_output_is_taken_to_be_the_least_of_512_the_cap_and_the_models_limit(
    cap: int | None, most: int | None, output_tokens: int
) -> None:
    assert cost(cap=cap, most=most) == 1000 * 1_000_000 + output_tokens * 10_000_000


def test_an_embedding_has_no_output_to_pay() -> None:
    demand = Demand(input_tokens=10, max_output_tokens=None)
    assert expected_cost(card("x", ONE, mode="embeddings"), ONE, demand) == 10 * 1_000_000


def test_dearer_rates_above_a_prompt_size_can_turn_the_order() -> None:
    dear = Rates(input=9_000_000, cached_input=0, cache_write=0, output=9_000_000, reasoning=0)
    stepped = Price(base=price(0.5, 0.5).base, above=((200_000, dear),))
    cards = (card("flat", ONE), card("stepped", stepped))
    short = order(cards, Demand(input_tokens=200_000, max_output_tokens=1))
    long = order(cards, Demand(input_tokens=200_001, max_output_tokens=1))
    assert [group for group, _ in short.ranked] == ["stepped", "flat"]
    assert [group for group, _ in long.ranked] == ["flat", "stepped"]


def test_a_long_answer_can_turn_the_order() -> None:
    cards = (card("dear-output", price(1, 100)), card("dear-input", price(3, 3)))
    assert order(cards, Demand(input_tokens=1000, max_output_tokens=1)).ranked[0][0] == "dear-output"
    assert order(cards, Demand(input_tokens=1000, max_output_tokens=500)).ranked[0][0] == "dear-input"


def test_figures_are_plain_usd() -> None:
    figures = [
        figure
        for amount in (price(0, 0), price(1, 0), price(0.0375, 0), price(1_000_000, 0))
        for _, figure in order((card("x", amount),), Demand(input_tokens=10, max_output_tokens=0)).ranked
    ]
    assert figures == ["0", "0.00001", "0.000000375", "10"]


def test_a_model_without_a_price_is_rejected_not_free() -> None:
    ordering = order((card("x"),), Demand(input_tokens=1, max_output_tokens=None))
    assert ordering.ranked == ()
    assert [(r.candidate, r.code) for r in ordering.rejected] == [("x", "no_price")]
