"""What every row of the table of selectors must keep, whatever its order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.model import ModelCard
from policies.ports import Demand
from policies.selectors import SELECTORS
from tests.unit.policies.examples import card, price

PRICES = st.none() | st.builds(price, st.integers(0, 1000), st.integers(0, 1000))
CARDS = st.lists(st.sampled_from("abcdef"), unique=True).flatmap(
    lambda groups: st.tuples(*(st.builds(card, st.just(group), PRICES) for group in groups))
)
DEMANDS = st.builds(
    Demand, input_tokens=st.integers(0, 2_000_000), max_output_tokens=st.none() | st.integers(0, 200_000)
)


@pytest.mark.parametrize("name", SELECTORS)
@given(cards=CARDS, demand=DEMANDS)
def test_every_model_is_ranked_or_rejected_once_and_none_is_invented(
    name: str, cards: tuple[ModelCard, ...], demand: Demand
) -> None:
    ordering = SELECTORS[name](cards, demand)
    named = [group for group, _ in ordering.ranked] + [rejection.candidate for rejection in ordering.rejected]
    assert sorted(named) == sorted(one.group for one in cards)


@pytest.mark.parametrize("name", SELECTORS)
@given(cards=CARDS, demand=DEMANDS)
def test_the_same_question_has_the_same_answer_with_figures_fit_for_a_header(
    name: str, cards: tuple[ModelCard, ...], demand: Demand
) -> None:
    ordering = SELECTORS[name](cards, demand)
    assert SELECTORS[name](cards, demand) == ordering
    assert not [figure for _, figure in ordering.ranked if not figure.isascii() or set(figure) & set("<= \r\n")]
