"""Which answers may serve another wording: plain text of one choice, and no refusal."""

from __future__ import annotations

import orjson
import pytest

from gateway.cache.semantic.refusals import is_refusal, is_storable_answer


def completion(*messages: dict[str, object]) -> bytes:
    return orjson.dumps({"choices": [{"index": i, "message": message} for i, message in enumerate(messages)]})


def test_a_plain_answer_may_be_stored() -> None:
    assert is_storable_answer(completion({"role": "assistant", "content": "Knead it twice."}))


@pytest.mark.parametrize(
    "body",
    [
        completion(),
        completion({"content": "a"}, {"content": "b"}),
        completion({"content": ""}),
        completion({"content": None, "tool_calls": [{"id": "c"}]}),
        completion({"content": "a", "tool_calls": [{"id": "c"}]}),
        completion({"content": "a", "refusal": "No."}),
        completion({"role": "assistant"}),
        b"not JSON",
        b"[]",
        b'{"choices": null}',
    ],
)
def test_what_is_no_single_text_may_not(body: bytes) -> None:
    assert not is_storable_answer(body)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can’t help with that.",
        "Sorry, I cannot answer this.",
        "I cannot provide medical advice.",
        "Unfortunately, I am unable to open links.",
        "As an AI language model, I don't have feelings.",
        "I don't have access to your files.",
    ],
)
def test_a_refusal_is_stored_only_where_it_is_the_answer(text: str) -> None:
    assert is_refusal(text)
    assert not is_storable_answer(completion({"content": text}))
    assert is_storable_answer(completion({"content": text}), refusals_are_answers=True)


@pytest.mark.parametrize(
    "text",
    [
        "Penguins cannot fly: their wings are flippers.",
        "He said: I'm sorry, but I can't stay.",
        "Sorry is a board game from 1929.",
        "I can't stop recommending this book: it shows how bread is made.",
    ],
)
def test_an_answer_about_not_being_able_is_no_refusal(text: str) -> None:
    assert not is_refusal(text)
