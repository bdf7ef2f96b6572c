"""Scopes: whatever is not the matched text divides them, over tables and over random pairs of requests."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.cache.semantic.eligibility import EntryRules, Question, question_of
from gateway.cache.semantic.scope import Partition, attachment_hash, scope_of
from policies.model import RouteClass
from tests.unit.gateway.cache.semantic.requests import asked, chat, found_route

TEXT = "How do I bake sourdough bread?"
OTHER = "Where did the Vikings land in winter?"
HERE = Partition(embedder_id="e")
ROUTE = found_route()
TALK = "MODERATOR: Good evening to all of you.\nADA: Taxes must fall, as my friend well knows.\n" * 12


def scope(document: Mapping[str, object], found: RouteClass = ROUTE, partition: Partition = HERE) -> str:
    question = question_of(chat(document), EntryRules())
    assert isinstance(question, Question), question
    return scope_of(document, found, question=question, partition=partition)


def with_history(*messages: dict[str, object], text: str = TEXT) -> dict[str, object]:
    return {"model": "m", "messages": [*messages, {"role": "user", "content": text}]}


def test_only_the_last_users_text_is_free() -> None:
    assert scope(asked(TEXT)) == scope(asked(OTHER))
    assert scope(asked(TEXT)) == scope(asked([{"type": "text", "text": OTHER}]))


@pytest.mark.parametrize(
    "extra", [{"stream": True}, {"n": 1}, {"top_p": 1.0}, {"user": "ann"}, {"metadata": {"a": "b"}}, {"tools": []}]
)
def test_what_does_not_change_the_answer_does_not_divide(extra: dict[str, object]) -> None:
    assert scope(asked(TEXT, **extra)) == scope(asked(OTHER))


@pytest.mark.parametrize(
    "extra",
    [
        {"temperature": 0.1},
        {"max_tokens": 7},
        {"top_p": 0.5},
        {"response_format": {"type": "json_object"}},
        {"stop": ["x"]},
        {"reasoning_effort": "low"},
    ],
)
def test_sampling_and_form_divide(extra: dict[str, object]) -> None:
    assert scope(asked(TEXT, **extra)) != scope(asked(TEXT))


@pytest.mark.parametrize(
    "found",
    [
        found_route(tenant="u"),
        found_route(model="n"),
        found_route(route="s"),
        found_route(policy="q"),
        found_route(epoch=1),
    ],
)
def test_tenant_model_route_policy_and_epoch_divide(found: RouteClass) -> None:
    assert scope(asked(TEXT), found) != scope(asked(TEXT))


@pytest.mark.parametrize(
    "partition",
    [
        Partition(embedder_id="f"),
        Partition(embedder_id="e", arm="canary"),
        Partition(embedder_id="e", template_id="claims@3"),
        Partition(embedder_id="e", epoch=1),
    ],
)
def test_embedder_arm_template_and_class_epoch_divide(partition: Partition) -> None:
    assert scope(asked(TEXT), partition=partition) != scope(asked(TEXT))


def test_system_prompt_and_history_divide() -> None:
    documents = [
        with_history(),
        with_history({"role": "system", "content": "Be brief."}),
        with_history({"role": "system", "content": "Be verbose."}),
        with_history({"role": "user", "content": "Be brief."}),
        with_history({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}),
        with_history({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}),
    ]
    assert len({scope(document) for document in documents}) == len(documents)


def test_two_transcripts_under_one_template_never_share_a_scope() -> None:
    one, other = (asked(f"Transcript:\n{talk}\nQuestion: {TEXT}") for talk in (TALK, TALK.replace("ADA", "BOB")))
    same = asked(f"Transcript:\n{TALK}\nQuestion: {OTHER}")

    assert scope(one) != scope(other)
    assert scope(one) == scope(same)
    assert scope(one) != scope(asked(TEXT))


def test_a_user_divides_only_where_the_route_says_so() -> None:
    ann, bob = asked(TEXT, user="ann"), asked(TEXT, user="bob")

    assert scope(ann) == scope(bob)
    assert scope(ann, found_route(by_user=True)) != scope(bob, found_route(by_user=True))


def test_no_question_can_look_like_the_placeholder_of_a_history() -> None:
    spoof = with_history({"role": "user", "content": "\0question"})
    assert scope(spoof) != scope(with_history())


def test_scope_of_leaves_the_request_as_it_was() -> None:
    document = asked(TEXT, temperature=0.2)
    before = copy.deepcopy(document)
    scope(document)

    assert document == before


def test_an_attachments_hash_names_it_and_nothing_has_none() -> None:
    assert attachment_hash("") == ""
    assert len({attachment_hash("a"), attachment_hash("b"), attachment_hash("\ud800")}) == 3


WORDS = st.text(alphabet='ab \0"{}[],:', max_size=6)
REQUESTS = st.fixed_dictionaries(
    {
        "tenant": st.sampled_from(["t", "u", "t\0u"]),
        "model": st.sampled_from(["m", "n"]),
        "route": st.sampled_from(["r", "s"]),
        "arm": st.sampled_from(["", "canary"]),
        "system": WORDS,
        "reply": WORDS,
        "talk": st.sampled_from([TALK, TALK[:-3], TALK.lower()]),
        "temperature": st.sampled_from([0, 0.1]),
    }
)


def random_scope(parts: Mapping[str, object], text: str) -> str:
    document = with_history(
        {"role": "system", "content": parts["system"]},
        {"role": "assistant", "content": parts["reply"]},
        text=f"<t>{parts['talk']}</t>{text}",
    )
    found = found_route(tenant=str(parts["tenant"]), model=str(parts["model"]), route=str(parts["route"]))
    return scope(
        {**document, "temperature": parts["temperature"]}, found, Partition(embedder_id="e", arm=str(parts["arm"]))
    )


@given(REQUESTS, REQUESTS)
def test_requests_that_differ_in_anything_but_the_question_never_share_a_scope(
    one: Mapping[str, object], other: Mapping[str, object]
) -> None:
    assume(one != other)
    assert random_scope(one, TEXT) != random_scope(other, TEXT)


@given(REQUESTS)
def test_requests_that_differ_in_the_question_alone_share_it(parts: Mapping[str, object]) -> None:
    assert random_scope(parts, TEXT) == random_scope(parts, OTHER)
