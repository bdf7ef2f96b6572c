from __future__ import annotations

from policies.ports import Demand
from policies.selectors.fixed import order
from tests.unit.policies.examples import card, price


def test_the_order_given_stands_whatever_the_prices() -> None:
    cards = (card("dear", price(9, 9)), card("unknown"), card("cheap", price(1, 1)))
    ordering = order(cards, Demand(input_tokens=1, max_output_tokens=None))
    assert ordering.ranked == (("dear", ""), ("unknown", ""), ("cheap", ""))
    assert ordering.rejected == ()
