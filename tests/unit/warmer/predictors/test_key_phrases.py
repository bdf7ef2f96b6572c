"""Frequent phrases in templates that were mined from the questions."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.unit.warmer.warmer_bench import START_S, event
from warmer.phrases import SLOT, phrases_of
from warmer.predictors.key_phrases import KeyPhrases
from warmer.types import Written


def asked(found: KeyPhrases, question: str, at_s: float) -> None:
    found.observe(event(f"key of {question}", at_s, like=replace(event(), question=question)))


def questions(*, share: float = 0.3, n: int = 120, threshold: float = 0.1) -> KeyPhrases:
    """Return what is learnt of questions of which a share is about the storm, and many ask for maps."""
    found, rng = KeyPhrases("acme", threshold=threshold), random.Random(3)
    for number in range(n):
        topic = "storm" if rng.random() < share else f"topic{rng.randrange(300)}"
        asked(found, f"{topic} map" if number % 2 else f"news of {topic}", START_S + 60.0 * number)
    return found


def test_a_phrase_above_the_threshold_is_filled_into_mined_templates() -> None:
    found = questions()
    predicted = found.predict(START_S + 8000, {})
    said = {one.recipe.question for one in predicted if isinstance(one.recipe, Written)}
    assert {"storm map", "news of storm"} <= said
    assert all(isinstance(one.recipe, Written) and one.recipe.like.startswith("key of") for one in predicted)


def test_below_the_threshold_nothing_is_said() -> None:
    found = questions(share=0.04)
    assert "storm" not in {phrase for phrase, _ in found.frequent()}
    assert all("storm" not in str(one.recipe) for one in found.predict(START_S + 8000, {}))
    assert "storm" in {phrase for phrase, _ in questions(share=0.04, threshold=0.01).frequent()}


def test_shares_are_of_questions_and_few_questions_say_nothing() -> None:
    found = KeyPhrases("acme")
    for number in range(19):
        asked(found, "the storm and the storm", START_S + number)
    assert found.frequent() == ()
    asked(found, "rain", START_S + 20)
    assert dict(found.frequent())["storm"] == pytest.approx(19 / 20)


def test_phrases_neither_begin_nor_end_with_plain_words_and_leave_the_template_as_written() -> None:
    found = dict(phrases_of("What is the Red Cross?"))
    assert found == {
        "red": f"What is the {SLOT} Cross?",
        "red cross": f"What is the {SLOT}?",
        "cross": f"What is the Red {SLOT}?",
    }


def test_memory_is_bounded_and_what_was_learnt_survives_as_bytes() -> None:
    found, rng = questions(), random.Random(8)
    size = 0
    for number in range(3000):
        words = " ".join(f"w{rng.randrange(5000)}" for _ in range(12))
        asked(found, f"storm {words}", START_S + 8000 + number)
        if number == 1000:
            size = len(found.dump())
    assert len(found.dump()) < 1.2 * size
    again = KeyPhrases("acme")
    again.restore(found.dump())
    assert again.predict(START_S + 12000, {}) == found.predict(START_S + 12000, {})
    assert again.frequent() == found.frequent()
