"""What holds for every pair of questions, over random sentences of a small grammar and over random text."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.cache.semantic.features import is_pair_refused, is_refused
from gateway.cache.semantic.guards import (
    GUARDS,
    PAIR_FEATURES,
    VERIFIABLE,
    failed,
    fails_any,
    features_of,
    pair_features,
)
from gateway.cache.semantic.guards.words import words_of

NAMES = st.sampled_from(["Sparta", "Zanzibar", "Kepler", "Boeing", "Osaka", "Rutherford", "Quito", "Lovelace"])
VERBS = st.sampled_from(["attack", "teach", "buy", "visit", "follow", "trust"])
HEADS = st.sampled_from(["Why does", "When did", "How does", "Should", "Can"])
TAILS = st.sampled_from(["in spring", "at night", "with a plan", "for money", "during the war"])
NUMBERS = st.integers(min_value=2, max_value=10**6)
TEXT = st.text(max_size=120)


@st.composite
def questions(draw: st.DrawFn) -> str:
    return f"{draw(HEADS)} {draw(NAMES)} {draw(VERBS)} the {draw(NUMBERS)} books {draw(TAILS)}?"


def final(asked: str, stored: str) -> set[str]:
    return set(failed(features_of(asked), features_of(stored))) - VERIFIABLE


@given(st.one_of(TEXT, questions()), st.one_of(TEXT, questions()))
def test_guards_are_symmetric_and_never_fail_to_answer(one: str, other: str) -> None:
    assert failed(features_of(one), features_of(other)) == failed(features_of(other), features_of(one))


@given(st.one_of(TEXT, questions()), st.one_of(TEXT, questions()))
def test_asking_until_one_refuses_says_what_asking_all_says(one: str, other: str) -> None:
    asked, stored = features_of(one), features_of(other)
    refusals = failed(asked, stored)
    assert is_pair_refused(asked, stored) == is_refused(refusals)
    for name, _ in GUARDS:
        assert fails_any(asked, stored, frozenset((name,))) == (name in refusals)


@given(st.one_of(TEXT, questions()))
def test_words_that_were_read_before_need_not_be_read_again(text: str) -> None:
    assert features_of(text, tuple(words_of(text))) == features_of(text)


@given(st.one_of(TEXT, questions()))
def test_a_question_passes_against_itself(text: str) -> None:
    assert all(holds(features_of(text), features_of(text)) for _, holds in GUARDS)


@given(questions())
def test_case_punctuation_and_space_do_not_matter(question: str) -> None:
    for other in (question.lower(), question.upper(), question.rstrip("?"), f"  {question.replace(' ', '  ')}!!"):
        assert failed(features_of(question), features_of(other)) == ()


@given(st.sampled_from([("do not", "don't"), ("is not", "isn't"), ("cannot", "can't"), ("will not", "won’t")]), NAMES)
def test_contractions_do_not_matter(forms: tuple[str, str], name: str) -> None:
    one, other = (f"Why {form} the ships of {name} sail" for form in forms)
    assert failed(features_of(one), features_of(other)) == ()


@given(HEADS, NAMES, VERBS, NUMBERS, NUMBERS, TAILS)
def test_a_changed_number_never_passes(head: str, name: str, verb: str, one: int, other: int, tail: str) -> None:
    assume(one != other)
    assert "numbers" in final(f"{head} {name} {verb} {one} books {tail}", f"{head} {name} {verb} {other} books {tail}")


@given(HEADS, NAMES, NAMES, VERBS, TAILS, st.booleans())
def test_a_changed_name_never_passes(head: str, one: str, other: str, verb: str, tail: str, is_lower: bool) -> None:
    assume(one != other)
    pair = [f"{head} {name} {verb} books {tail}" for name in (one, other)]
    assert "names" in final(*(text.lower() if is_lower else text for text in pair))


@given(HEADS, NAMES, NAMES, VERBS, TAILS)
def test_swapped_roles_never_pass(head: str, one: str, other: str, verb: str, tail: str) -> None:
    assume(one != other)
    assert "roles" in final(f"{head} {one} {verb} {other} {tail}", f"{head} {other} {verb} {one} {tail}")


@given(HEADS, NAMES, VERBS, NUMBERS, TAILS, st.sampled_from(["not", "never", "no longer"]))
def test_a_negation_never_passes(head: str, name: str, verb: str, number: int, tail: str, negator: str) -> None:
    question = f"{head} {name} {{}}{verb} {number} books {tail}?"
    assert "polarity" in final(question.format(""), question.format(f"{negator} "))


@given(st.one_of(TEXT, questions()), st.one_of(TEXT, questions()))
def test_pair_features_are_named_bounded_and_symmetric_but_for_the_two_that_swap(one: str, other: str) -> None:
    there, back = (
        pair_features(features_of(one), features_of(other)),
        pair_features(features_of(other), features_of(one)),
    )
    forth, reverse = dict(zip(PAIR_FEATURES, there, strict=True)), dict(zip(PAIR_FEATURES, back, strict=True))

    assert all(0 <= value <= 4 for value in there)
    assert forth.pop("missing_weight") == reverse.pop("extra_weight")
    assert forth.pop("extra_weight") == reverse.pop("missing_weight")
    assert forth == reverse


def test_the_callers_own_rarity_weighs_what_differs() -> None:
    asked, stored = features_of("How do I clean a window in Osaka?"), features_of("How do I clean a window?")

    weights = dict(zip(PAIR_FEATURES, pair_features(asked, stored, rarity=lambda word: len(word) / 10), strict=True))
    assert weights["missing_weight"] == 0.5
    assert weights["extra_weight"] == 0
