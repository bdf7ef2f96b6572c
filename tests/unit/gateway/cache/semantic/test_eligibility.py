"""Who may enter the semantic tier, row by row of cache.md's list."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.semantic import eligibility
from gateway.cache.semantic.eligibility import EntryRules, Ineligible, Question, Reason, question_of
from policies.model import CacheRules
from tests.unit.gateway.cache.semantic.requests import asked, chat

TEXT = "How do I bake sourdough bread?"
IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": ""}}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"functions": [{"name": "f"}]}, "tools"),
        ({"n": 2}, "several_answers"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "logprobs"),
        ({"seed": 0}, "seed"),
        ({"temperature": 0.31}, "temperature"),
        ({"modalities": ["text", "audio"]}, "media"),
    ],
)
def test_a_parameter_of_the_list_turns_the_tier_off(fields: dict[str, object], reason: Reason) -> None:
    assert question_of(chat(asked(TEXT, **fields)), EntryRules()) == Ineligible(reason=reason)


@pytest.mark.parametrize(
    "fields",
    [{}, {"tools": []}, {"n": 1}, {"logprobs": False}, {"seed": None}, {"temperature": 0.3}, {"max_tokens": 9}],
)
def test_a_parameter_that_asks_for_nothing_special_does_not(fields: dict[str, object]) -> None:
    found = question_of(chat(asked(TEXT, **fields)), EntryRules())

    assert isinstance(found, Question)
    assert (found.text, found.attachment) == (TEXT, "")


def test_a_warm_request_enters_where_its_caller_opts_in_or_its_route_allows_it() -> None:
    warm = chat(asked(TEXT, temperature=0.9))

    assert isinstance(question_of(warm, EntryRules(), opted_in=True), Question)
    assert isinstance(question_of(warm, EntryRules(max_temperature=None)), Question)
    assert isinstance(question_of(warm, EntryRules(max_temperature=1.0)), Question)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"role": "tool", "tool_call_id": "c", "content": "4"}, "tools"),
        ({"role": "function", "name": "f", "content": "4"}, "tools"),
        ({"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}, "tools"),
        ({"role": "user", "content": [{"type": "text", "text": "see"}, IMAGE]}, "media"),
        ({"role": "user", "content": [AUDIO]}, "media"),
    ],
)
def test_tools_and_media_in_the_history_turn_it_off(message: dict[str, object], reason: Reason) -> None:
    document: dict[str, object] = {"model": "m", "messages": [message, {"role": "user", "content": TEXT}]}
    assert question_of(chat(document), EntryRules()) == Ineligible(reason=reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no_question"),
        ("   ", "no_question"),
        ("Why not?", "too_short"),
        ("hi there", "too_short"),
        ("What is the sun?", "too_short"),
        ("Why does `print(x)` raise a NameError: x is not defined?", "code"),
        ("What is wrong here:\n```\nx = 1\n```", "code"),
        ("Explain SELECT name FROM users to beginners", "code"),
        ("What does def add(a): return mean in words?", "code"),
        ("What is the weather like in coastal Norway?", "live"),
        ("Who plays in Oslo's stadium tonight?", "live"),
        ("What is the latest version of the Linux kernel?", "live"),
        ("What price do collectors pay for old stamps?", "live"),
        ("How do I see the balance of my account?", "personal"),
        ("When will my parcel reach the village?", "personal"),
        ("What did I say about the roof repair?", "personal"),
    ],
)
def test_text_of_the_wrong_kind_turns_it_off(text: str, reason: Reason) -> None:
    assert question_of(chat(asked(text)), EntryRules()) == Ineligible(reason=reason)


@pytest.mark.parametrize(
    "text",
    [
        "How do I live well in Norway?",
        "How can I improve my English accent?",
        "How are laws passed in Sweden?",
        "Why is a < b < c valid mathematics?",
        "Is tea (green tea) healthier than coffee?",
    ],
)
def test_harmless_text_that_resembles_it_does_not(text: str) -> None:
    assert isinstance(question_of(chat(asked(text)), EntryRules()), Question)


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "assistant", "content": TEXT}],
        [{"role": "user", "content": TEXT}, {"role": "assistant", "content": "Well,"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": []}],
        [{"role": "user", "content": [{"type": "text"}]}],
        "no list",
    ],
)
def test_without_a_last_user_text_there_is_no_question(messages: object) -> None:
    assert question_of(chat({"model": "m", "messages": messages}), EntryRules()) == Ineligible(reason="no_question")


def test_embeddings_have_no_semantic_tier() -> None:
    request = msgspec.structs.replace(chat({"model": "m", "input": TEXT}), dialect="embeddings")
    assert question_of(request, EntryRules()) == Ineligible(reason="dialect")


def test_a_long_text_that_holds_no_question_apart_is_refused() -> None:
    assert question_of(chat(asked("word " * 3000)), EntryRules()) == Ineligible(reason="unsplit_attachment")


def test_a_mention_that_the_route_normalises_is_no_part_of_the_question() -> None:
    rules = EntryRules(cache=CacheRules(normalise=("user_mention_prefix",)))
    found = question_of(chat(asked(f"<@!123> {TEXT}")), rules)

    assert isinstance(found, Question)
    assert found.text == TEXT


_PATTERNS = eligibility._LIVE.pattern + eligibility._CODE.pattern + eligibility._MINE.pattern
_LITERALS = sorted(set(re.findall(r"[A-Za-z]+|[^\\w\\s]", _PATTERNS)))
_TEXTS = st.lists(
    st.sampled_from([*_LITERALS, " ", "  ", "\n", "\t", "(", "x", "1", "\u017f", "\u212a"]) | st.text(max_size=3)
)


@given(pieces=_TEXTS, gap=st.sampled_from(["", " "]))
def test_what_is_told_apart_quickly_is_never_what_the_patterns_would_find(pieces: list[str], gap: str) -> None:
    text = gap.join(pieces)
    words = eligibility._plain_words(text)
    assert eligibility._may_be_live(words) or not eligibility._LIVE.search(text)
    assert eligibility._may_be_personal(text, words) or not eligibility._MINE.search(text)
    assert eligibility._may_be_code(text) or not eligibility._CODE.search(text)
