"""A cheap model's word on two questions, through a whole gateway: when it is asked, what it does, what it costs."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.cache.semantic.features import NAMES
from gateway.embedder.hashing import HashingEncoder
from tests.http.conftest import StartGateway
from tests.http.folding import folded
from tests.http.running import Gateway
from tests.http.wordings import AGAIN, FIRST, open_class, policy, the_class, until_quiet
from tests.provider import Reply
from tests.replies import Seen

YES, NO, HELD = Reply(words=("Yes",)), Reply(words=("no", ".")), Reply(words=("yes",), gate="verifier")
UNFIT = Reply(finish_reason="length")
"""The first hits are asked again, and what comes would become the question's own answer; this is none to be kept."""
ASKED = "up-large"
"""The verifier's model; users ask for the other one."""


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Gateway:
    return await start_gateway(policy=policy(verify="{model: large, timeout: 5s}"), embedder=HashingEncoder())


async def doubting(gateway: Gateway) -> None:
    """Let the gateway's class serve what a verifier affirms, and store the answer of FIRST."""
    await open_class(gateway, is_doubtful=True)
    await gateway.chat(FIRST)
    await until_quiet(gateway)


def asked_of(gateway: Gateway) -> list[Seen]:
    """Return what the verifier was asked."""
    return [seen for seen in gateway.provider.requests if json.loads(seen.body)["model"] == ASKED]


async def test_a_yes_serves_the_stored_answer_and_is_booked_to_whoever_asked(gateway: Gateway) -> None:
    await doubting(gateway)
    gateway.provider.script(ASKED, YES)
    hit = await gateway.chat(AGAIN, stream=True)
    assert hit.headers["x-foreword-cache"] == "semantic-hit", gateway.outcomes[-1]
    assert folded(hit).text == "Hello there, bot."
    (seen,) = asked_of(gateway)
    assert json.loads(json.loads(seen.body)["messages"][1]["content"]) == {"A": FIRST, "B": AGAIN}
    await until_quiet(gateway)
    user = [one for one in gateway.outcomes if one.origin == "user"][-1]
    asked = next(one for one in gateway.outcomes if one.origin == "cache")
    assert (asked.parent_request_id, asked.tenant, asked.tags) == (user.request_id, user.tenant, ("cache=verify",))
    assert (asked.cost_nanousd or 0) > 0
    assert (asked.interaction_cost_nanousd, user.cost_nanousd) == (0, 0)
    totals = (await the_class(gateway)).state.totals
    assert (totals.affirmed, totals.verify_cost_nanousd) == (1, asked.cost_nanousd)


async def test_a_verdict_is_remembered_and_not_asked_for_again(gateway: Gateway) -> None:
    await doubting(gateway)
    gateway.provider.script(ASKED, YES)
    gateway.provider.script("up-small", *[UNFIT] * 2)
    for _ in range(2):
        answer = await gateway.chat(AGAIN)
        assert answer.headers["x-foreword-cache"] == "semantic-hit"
        await until_quiet(gateway)
    assert len(asked_of(gateway)) == 1


async def test_a_no_is_a_miss_that_teaches_and_is_not_asked_again(gateway: Gateway) -> None:
    await doubting(gateway)
    gateway.provider.script(ASKED, NO)
    answer = await gateway.chat(AGAIN)
    await until_quiet(gateway)
    assert answer.headers["x-foreword-cache"] == "miss"
    assert [one for one in gateway.outcomes if one.origin == "user"][-1].semantic == "gate:refuted"
    again = await gateway.chat(AGAIN, headers={"Cache_Control": "max-age=0"})
    await until_quiet(gateway)
    assert again.headers["x-foreword-cache"] == "miss"
    assert len(asked_of(gateway)) == 1
    assert (await the_class(gateway)).state.totals.refuted == 1


async def test_a_verifier_that_is_late_delays_nobody_further_and_still_is_remembered(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(policy=policy(verify="{model: large, timeout: 50ms}"), embedder=HashingEncoder())
    await doubting(gateway)
    gateway.provider.script(ASKED, HELD)
    answer = await gateway.chat(AGAIN)  # would never end, if it waited for the verdict
    assert answer.headers["x-foreword-cache"] == "miss"
    assert [one for one in gateway.outcomes if one.origin == "user"][-1].semantic == "gate:unverified"
    gateway.provider.open_gate("verifier")
    await until_quiet(gateway)
    found = await the_class(gateway)
    assert found.state.totals.affirmed == 1
    assert any(one.affirmed for one in found.state.answers.values())
    text = gateway.worker.services.metrics.render()[0].decode()
    assert 'foreword_semantic_verdicts_total{verdict="late"} 1.0' in text
    assert 'foreword_semantic_verdicts_total{verdict="same"} 1.0' in text
    assert float(_value(text, 'foreword_semantic_verify_cost_usd_total{route="chat"}')) > 0


async def test_a_class_that_observes_asks_behind_the_answer_and_labels_with_the_verdict(gateway: Gateway) -> None:
    await gateway.chat(FIRST)
    await until_quiet(gateway)
    gateway.provider.script(ASKED, HELD)
    second = await gateway.chat(AGAIN)
    assert second.headers["x-foreword-cache"] == "miss"
    found = await the_class(gateway)
    assert found.state.totals.labels == 0
    gateway.provider.open_gate("verifier")
    await until_quiet(gateway)
    assert (found.state.totals.labels, found.state.totals.affirmed) == (1, 1)
    weight = found.state.model.mean[NAMES.index("affirmed")]
    assert weight > 3.0


async def test_callers_who_ask_at_once_share_one_asking(gateway: Gateway) -> None:
    await doubting(gateway)
    gateway.provider.script(ASKED, HELD)
    gateway.provider.script("up-small", *[UNFIT] * 3)
    before = len(gateway.provider.requests)
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(gateway.chat(AGAIN, stream=True)) for _ in range(3)]
        await gateway.provider.wait_for_requests(before + 1)
        gateway.provider.open_gate("verifier")
    said = [task.result().headers["x-foreword-cache"] for task in asking]
    # One that comes late may find the first one's hit being asked again, and join that.
    assert "semantic-hit" in said
    assert {*said} <= {"semantic-hit", "joined"}
    assert len(asked_of(gateway)) == 1


async def test_who_leaves_while_the_verifier_thinks_ends_nothing(gateway: Gateway) -> None:
    await doubting(gateway)
    gateway.provider.script(ASKED, HELD)
    before = len(gateway.provider.requests)
    async with asyncio.TaskGroup() as tasks:
        leaving = tasks.create_task(gateway.chat(AGAIN))
        await gateway.provider.wait_for_requests(before + 1)
        leaving.cancel()
    gateway.provider.open_gate("verifier")
    await until_quiet(gateway)
    assert (await gateway.chat(AGAIN)).headers["x-foreword-cache"] == "semantic-hit"
    assert len(gateway.provider.requests) == before + 1


@pytest.mark.parametrize("reply", [Reply(words=("Perhaps", ".")), Reply(status=400), Reply(body="{}")])
async def test_no_usable_word_is_a_miss(gateway: Gateway, reply: Reply) -> None:
    await doubting(gateway)
    gateway.provider.script(ASKED, *[reply] * 4)
    answer = await gateway.chat(AGAIN)
    await until_quiet(gateway)
    assert (answer.status, answer.headers["x-foreword-cache"]) == (200, "miss")
    totals = (await the_class(gateway)).state.totals
    assert (totals.affirmed, totals.refuted) == (0, 0)
    assert totals.unverified > 0


async def test_a_spent_budget_asks_nobody(start_gateway: StartGateway) -> None:
    verify = "{model: large, timeout: 5s, budget_usd_day: 0}"
    gateway = await start_gateway(policy=policy(verify=verify), embedder=HashingEncoder())
    await doubting(gateway)
    answer = await gateway.chat(AGAIN)
    await until_quiet(gateway)
    assert answer.headers["x-foreword-cache"] == "miss"
    assert [one for one in gateway.outcomes if one.origin == "user"][-1].semantic == "gate:unverified"
    assert asked_of(gateway) == []


async def test_a_key_of_few_models_is_served_with_the_operators_verifier(gateway: Gateway) -> None:
    await doubting(gateway)
    gateway.provider.script(ASKED, YES)
    made = await gateway.worker.services.keys.create(gateway.tenant, name="narrow", models=("small",))
    answer = await gateway.chat(AGAIN, headers={"Authorization": f"Bearer {made.secret}"})
    assert answer.headers["x-foreword-cache"] == "semantic-hit"


def _value(text: str, name: str) -> str:
    return next(line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(name))


LONG = "Practise every day with a patient teacher and play the songs that you love most of all"
OTHER = "Practise every day with a patient teacher and sing the tunes that you love most of all"


@pytest.mark.parametrize(("said", "aliases", "denied"), [("yes", 1, 0), ("no", 0, 1)])
async def test_answers_that_words_and_vectors_do_not_tell_apart_are_put_to_the_same_model(
    gateway: Gateway, said: str, aliases: int, denied: int
) -> None:
    first, again = (Reply(words=tuple(f"{word} " for word in text.split())) for text in (LONG, OTHER))
    gateway.provider.script("up-small", first)
    await gateway.chat(FIRST)
    await until_quiet(gateway)
    # The miss, then the second look that a "no" brings about: the stored question, and this one.
    gateway.provider.script("up-small", again, first, again)
    gateway.provider.script(ASKED, YES, Reply(words=(said,)))
    gateway.provider.always(ASKED, Reply(words=(said,)))
    await gateway.chat(AGAIN)
    await until_quiet(gateway)
    judged = [json.loads(json.loads(seen.body)["messages"][1]["content"]) for seen in asked_of(gateway)]
    assert {"question": AGAIN, "A": "".join(first.words), "B": "".join(again.words)} in judged
    asked = [one for one in gateway.outcomes if one.tags == ("cache=judge",)]
    assert asked
    assert all(one.origin == "cache" and one.cost_nanousd for one in asked)
    found = (await the_class(gateway)).state
    (evidence,) = found.answers.values()
    assert (len(evidence.aliases), len(evidence.denied)) == (aliases, denied)
    assert found.totals.label_cost_nanousd >= sum(one.cost_nanousd or 0 for one in asked)
