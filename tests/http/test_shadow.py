"""A share of requests is copied to another model: nobody waits for the copy, sees it or is counted for it."""

from __future__ import annotations

import asyncio
import json

from tests.http.conftest import StartGateway
from tests.http.running import Gateway
from tests.provider import Reply

POLICY = """
version: 1
policy: shadowed
routes: [{{name: chat, match: {{any: true}}, candidates: [small], max_output_tokens: 20, cache: {{exact_ttl: 1h}}}}]
shadow: {{sample: 1, models: [large], max_concurrency: 2, limit_usd_day: {limit}}}
"""


async def until_copies_ended(gateway: Gateway) -> None:
    """Wait for the copies' tasks."""
    while any(name == "shadow" for name in gateway.worker.supervisor.names):
        await gateway.worker.services.clock.sleep(0.01)


async def test_a_copy_goes_to_the_other_model_after_the_answer(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=POLICY.format(limit=1))
    gateway.provider.always("up-large", Reply(gate="late"))
    answers = [await gateway.chat("one"), await gateway.chat("two", stream=True)]
    assert {answer.headers["x-foreword-model"] for answer in answers} == {"small"}
    gateway.provider.open_gate("late")
    await until_copies_ended(gateway)
    users = [outcome for outcome in gateway.outcomes if outcome.origin == "user"]
    copies = [outcome for outcome in gateway.outcomes if outcome.origin == "shadow"]
    assert [outcome.routed_model for outcome in copies] == ["large", "large"]
    assert {copy.parent_request_id for copy in copies} == {user.request_id for user in users}
    assert all(copy.cost_nanousd and copy.interaction_cost_nanousd == 0 and copy.result == "ok" for copy in copies)
    assert {copy.cache for copy in copies} == {"bypass"}
    # Nothing of the copy is stored: the next caller gets the first model's answer.
    again = await gateway.chat("one")
    assert (again.headers["x-foreword-cache"], again.headers["x-foreword-model"]) == ("hit", "small")
    sent = [json.loads(seen.body)["model"] for seen in gateway.provider.requests]
    assert sorted(sent) == ["up-large", "up-large", "up-small", "up-small"]


async def test_copies_stop_at_their_own_budget_and_their_own_concurrency(start_gateway: StartGateway) -> None:
    poor = await start_gateway(policy=POLICY.replace("shadowed", "shadowed-poor").format(limit="0.0000001"))
    for n in range(3):
        assert (await poor.chat(f"q{n}")).status == 200
    await until_copies_ended(poor)
    assert [outcome.origin for outcome in poor.outcomes] == ["user"] * 3

    busy = await start_gateway(policy=POLICY.replace("shadowed", "shadowed-busy").format(limit=1))
    busy.provider.always("up-large", Reply(gate="late"))
    answers = await asyncio.gather(*(busy.chat(f"q{n}") for n in range(6)))
    assert {answer.status for answer in answers} == {200}
    busy.provider.open_gate("late")
    await until_copies_ended(busy)
    assert sum(outcome.origin == "shadow" for outcome in busy.outcomes) == 2
