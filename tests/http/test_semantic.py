"""The semantic tier through a whole gateway: when another wording gets an answer, how it is told, what it teaches."""

from __future__ import annotations

import asyncio

import pytest

from gateway.cache.semantic.index.local import LocalIndex
from gateway.cache.semantic.types import Embedded, EmbedderUnavailable, TooLong
from gateway.embedder.hashing import HashingEncoder
from tests.http.conftest import StartGateway
from tests.http.folding import folded
from tests.http.running import Gateway
from tests.http.wordings import AGAIN, FIRST, open_class, policy, semantic_of, the_class, until_quiet
from tests.provider import Reply

USAGE = {"include_usage": True}
NO = Reply(words=("No", "."))


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Gateway:
    return await start_gateway(policy=policy(), embedder=HashingEncoder())


async def serving(gateway: Gateway) -> None:
    """Let the gateway's class serve, and store the answer of FIRST."""
    await open_class(gateway)
    await gateway.chat(FIRST)
    await until_quiet(gateway)


async def test_a_class_that_has_proved_nothing_yet_serves_nothing_but_learns_from_misses(gateway: Gateway) -> None:
    await gateway.chat(FIRST)
    await until_quiet(gateway)
    second = await gateway.chat(AGAIN)
    assert second.headers["x-foreword-cache"] == "miss"
    await until_quiet(gateway)
    outcome = [one for one in gateway.outcomes if one.origin == "user"][-1]
    assert outcome.semantic == "gate:observing"
    assert outcome.similarity > 0.75
    found = await the_class(gateway)
    assert found.state.totals.labels == 1
    (evidence,) = found.state.answers.values()
    assert len(evidence.aliases) == 1
    assert evidence.denied == ()


async def test_an_answer_that_differs_is_never_offered_to_that_question_again(gateway: Gateway) -> None:
    await gateway.chat(FIRST)
    await until_quiet(gateway)
    # The miss itself, then the second look: the stored question, and this one.
    gateway.provider.script("up-small", NO, Reply(), NO)
    await gateway.chat(AGAIN)
    await until_quiet(gateway)
    found = await the_class(gateway)
    (evidence,) = found.state.answers.values()
    assert len(evidence.denied) == 1
    assert evidence.aliases == ()


@pytest.mark.parametrize("second", ["streamed", "whole"])
@pytest.mark.parametrize("first", ["streamed", "whole"])
async def test_another_wording_gets_the_stored_answer_as_it_was_first_made(
    gateway: Gateway, first: str, second: str
) -> None:
    await open_class(gateway)
    asked = await gateway.chat(FIRST, stream=first == "streamed", stream_options=USAGE if first == "streamed" else None)
    await until_quiet(gateway)
    calls = len(gateway.provider.requests)
    stream = second == "streamed"
    again = await gateway.chat(AGAIN, stream=stream, stream_options=USAGE if stream else None)
    assert again.headers["x-foreword-cache"] == "semantic-hit", gateway.outcomes[-1]
    assert len(gateway.provider.requests) == calls
    ours, theirs = folded(asked), folded(again)
    assert (ours.choices, ours.usage, ours.model, ours.id) == (theirs.choices, theirs.usage, theirs.model, theirs.id)


async def test_a_hit_says_how_near_how_old_and_what_it_saved(gateway: Gateway) -> None:
    await serving(gateway)
    hit = await gateway.chat(AGAIN)
    assert 0.75 < float(hit.headers["x-foreword-similarity"]) < 1.0
    assert hit.headers["Age"] == "0"
    assert hit.headers["Cache-Status"].startswith("foreword; hit; ttl=")
    assert hit.headers["x-foreword-cost-usd"] == "0.000000000"
    assert float(hit.headers["x-foreword-saved-usd"]) > 0
    outcome = gateway.outcomes[-1]
    assert (outcome.cache, outcome.cache_tier, outcome.cost_nanousd) == ("semantic-hit", "semantic", 0)
    assert outcome.saved_nanousd > 0


@pytest.mark.parametrize(("directive", "expected"), [("no-cache", "bypass"), ("max-age=0", "miss")])
async def test_what_the_client_will_not_have_from_the_cache_comes_from_no_other_wording(
    gateway: Gateway, directive: str, expected: str
) -> None:
    await serving(gateway)
    answer = await gateway.chat(AGAIN, headers={"Cache_Control": directive})
    assert answer.headers["x-foreword-cache"] == expected


async def test_what_may_not_be_stored_serves_no_other_wording(gateway: Gateway) -> None:
    await open_class(gateway)
    await gateway.chat(FIRST, headers={"Cache_Control": "no-store"})
    await until_quiet(gateway)
    answer = await gateway.chat(AGAIN)
    assert answer.headers["x-foreword-cache"] == "miss"
    assert gateway.outcomes[-1].semantic == "empty"


async def test_only_if_cached_is_content_with_another_wordings_answer(gateway: Gateway) -> None:
    await serving(gateway)
    found = await gateway.chat(AGAIN, headers={"Cache_Control": "only-if-cached"})
    assert (found.status, found.headers["x-foreword-cache"]) == (200, "semantic-hit")
    none = await gateway.chat("how do whales sleep under the water", headers={"Cache_Control": "only-if-cached"})
    assert none.status == 504


async def test_a_sampled_hit_is_asked_again_behind_the_users_back(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=policy(sample=1.0), embedder=HashingEncoder())
    await serving(gateway)
    gateway.outcomes.clear()
    gateway.provider.script("up-small", NO, Reply(), NO)
    hit = await gateway.chat(AGAIN, stream=True)
    await until_quiet(gateway)
    assert hit.headers["x-foreword-cache"] == "semantic-hit"
    assert folded(hit).text == "Hello there, bot."
    again = [one for one in gateway.outcomes if one.origin == "refresh"]
    assert [one.interaction_cost_nanousd for one in again] == [0] * len(again)
    costs = [one.cost_nanousd or 0 for one in again]
    assert len(costs) == 3
    assert all(costs)
    assert again[0].parent_request_id == next(one for one in gateway.outcomes if one.origin == "user").request_id
    found = await the_class(gateway)
    assert found.state.totals.hit_labels == 1
    assert found.state.totals.label_cost_nanousd == sum(costs)
    # Found wrong, twice: the question has an answer of its own now, and is not offered the other one again.
    own = await gateway.chat(AGAIN)
    assert own.headers["x-foreword-cache"] == "hit"
    assert folded(own).text == "No."


async def test_a_route_without_the_tier_embeds_nothing(start_gateway: StartGateway) -> None:
    encoder = _Counting()
    gateway = await start_gateway(policy=policy(), embedder=encoder)
    plain = {"x_foreword_tags": "plain=yes"}
    await gateway.chat(FIRST, headers=plain)
    await gateway.chat(AGAIN, headers=plain)
    assert encoder.asked == 0
    assert gateway.outcomes[-1].semantic == ""


async def test_a_key_gets_no_answer_of_a_model_that_is_not_its_own(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(status=500), Reply(status=500), Reply(status=500))
    await serving(gateway)
    stored = [one for one in gateway.outcomes if one.origin == "user"][-1]
    made = await gateway.worker.services.keys.create(gateway.tenant, name="narrow", models=("small",))
    answer = await gateway.chat(AGAIN, headers={"Authorization": f"Bearer {made.secret}"})
    expected = "miss" if stored.routed_model == "large" else "semantic-hit"
    assert answer.headers["x-foreword-cache"] == expected


async def test_without_vectors_requests_go_on_and_say_so(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=policy(), embedder=_Gone())
    answer = await gateway.chat(FIRST)
    assert (answer.status, answer.headers["x-foreword-cache"]) == (200, "miss")
    assert gateway.outcomes[-1].semantic == "embedder"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"tools": [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]}, "ineligible:tools"),
        ({"seed": 3}, "ineligible:seed"),
        ({"text": "what is the latest price of gold today"}, "ineligible:live"),
        ({"text": "which of these whales sleep " * 60}, "too_long"),
        ({"text": "and then"}, "ineligible:too_short"),
    ],
)
async def test_what_may_not_enter_says_why(gateway: Gateway, fields: dict[str, object], why: str) -> None:
    asked = {"model": "small", "messages": [{"role": "user", "content": fields.get("text", FIRST)}], **fields}
    await gateway.post("/v1/chat/completions", asked)
    assert gateway.outcomes[-1].semantic == why


async def test_refusals_and_unfinished_answers_serve_no_other_wording(gateway: Gateway) -> None:
    await open_class(gateway)
    refused, cut = Reply(words=("I'm sorry", ", but I can't help with that.")), Reply(finish_reason="length")
    for number, reply in enumerate((refused, cut)):
        gateway.provider.script("up-small", reply, reply)
        for text in (FIRST, AGAIN):
            answer = await gateway.chat(text, max_tokens=number + 1)
            await until_quiet(gateway)
            assert answer.headers["x-foreword-cache"] == "miss"
            assert [one for one in gateway.outcomes if one.origin == "user"][-1].semantic == "empty"


async def test_every_question_of_a_burst_is_entered(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=policy(), embedder=HashingEncoder())
    await open_class(gateway)
    animals = [f"animal{number}" for number in range(40)]
    async with asyncio.TaskGroup() as group:
        for animal in animals:
            group.create_task(gateway.chat(f"where does the {animal} usually sleep during winter months"))
    await until_quiet(gateway)
    semantic = semantic_of(gateway)
    assert isinstance(semantic.index, LocalIndex)
    assert semantic.hook.background.dropped == 0
    assert semantic.index.entries == 1 + len(animals)


async def test_one_key_cannot_write_more_than_its_quota(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=policy(), embedder=HashingEncoder(), semantic_writes_per_minute="2")
    for animal in ("whales", "owls", "horses", "beavers"):
        await gateway.chat(f"where do {animal} usually sleep during the winter months")
        await until_quiet(gateway)
    index = semantic_of(gateway).index
    assert index is not None
    assert isinstance(index, LocalIndex)
    assert index.entries == 2


async def test_metrics_tell_of_looks_and_of_how_classes_stand(gateway: Gateway) -> None:
    await serving(gateway)
    await gateway.chat(AGAIN)
    watch = semantic_of(gateway).watch
    assert watch is not None
    await watch.look()
    text = gateway.worker.services.metrics.render()[0].decode()
    assert 'foreword_cache_lookups_total{result="hit",tier="semantic"} 1.0' in text
    assert 'foreword_semantic_mode{route="chat"} 1.0' in text
    assert 'foreword_semantic_refusals_total{by="empty"}' in text
    upper = next(line for line in text.splitlines() if line.startswith("foreword_semantic_wrong_hits_upper{"))
    assert 0 < float(upper.rpartition(" ")[2]) <= 0.05


class _Counting(HashingEncoder):
    """Counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def embed(self, text: str) -> Embedded | TooLong:
        self.asked += 1
        return await super().embed(text)


class _Gone(HashingEncoder):
    """Is never there."""

    async def embed(self, text: str) -> Embedded | TooLong:
        raise EmbedderUnavailable(f"no vector for {len(text)} characters")
