"""Warms through the gateway's own flow: at which price, for whom, within which bounds, and how they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from gateway.cache.exact import store_key
from gateway.errors import RequestFailed
from gateway.purse import Purse
from gateway.worker import refresh_policies
from tests.http.conftest import StartGateway
from tests.http.debating import ANALYSIS, FALLACY, debate, said, script
from tests.http.warming import MODELS, POLICY, Beside, warmer_beside
from tests.provider import Reply
from warmer.types import Known, Written

TALK = "Transcript:\n" + "ANN: Trams are quiet, I say.\nBOB: And I say that they are loud.\n" * 12


@pytest.fixture
async def beside(start_gateway: StartGateway) -> AsyncIterator[Beside]:
    gateway = await start_gateway(models=MODELS, policy=POLICY)
    async with warmer_beside(gateway) as made:
        yield made


async def test_a_warm_is_asked_once_at_the_cheap_tier_and_the_next_caller_has_a_hit(beside: Beside) -> None:
    known = await beside.asked("Why are trams quieter than buses?", stream=True)
    quote = await beside.quote(known)
    assert quote is not None
    assert quote.warm_nanousd * 2 == quote.live_nanousd > 0
    assert (quote.key, quote.ttl_s, quote.fresh_until_s, quote.wait_s > 0) == (known.key, 3600.0, 0.0, True)
    assert quote.live_nanousd < quote.bound_nanousd < 2_000_000  # not the model's longest answer
    warmed = await beside.warm(known)
    assert warmed is not None
    assert (warmed.key, warmed.is_kept, warmed.ttl_s) == (known.key, True, 3600.0)
    [seen] = beside.gateway.provider.requests
    sent = json.loads(seen.body)
    assert (sent["service_tier"], sent["max_tokens"]) == ("flex", 256)
    [warm] = [outcome for outcome in beside.gateway.outcomes if outcome.origin == "warmer"]
    assert (warm.warmed_by, warm.cost_nanousd, warm.tenant) == (
        "popularity",
        warmed.cost_nanousd,
        beside.gateway.tenant,
    )
    answer = await beside.gateway.chat("Why are trams quieter than buses?", stream=True)
    assert answer.headers["x-foreword-cache"] == "hit"
    hit = beside.gateway.outcomes[-1]
    assert (hit.cache, hit.cache_tier, hit.warmed_by, hit.origin) == ("hit", "memory", "popularity", "user")
    assert hit.saved_nanousd == warmed.cost_nanousd > 0
    assert len(beside.gateway.provider.requests) == 1
    again = await beside.quote(known)
    assert again is not None
    assert again.fresh_until_s > beside.gateway.worker.services.clock.now() + 3500


async def test_a_failing_provider_is_asked_once_and_nothing_is_kept(beside: Beside) -> None:
    known = await beside.asked("Why are trams quiet?")
    beside.gateway.provider.script("up-small", Reply(status=429), Reply())
    assert await beside.warm(known) is None
    assert [json.loads(seen.body)["model"] for seen in beside.gateway.provider.requests] == ["up-small"]
    assert (await beside.gateway.chat("Why are trams quiet?")).headers["x-foreword-cache"] == "miss"


async def test_what_was_answered_since_it_was_quoted_is_not_asked(beside: Beside) -> None:
    known = await beside.asked("Why are trams quiet?")
    assert await beside.quote(known) is not None
    await beside.gateway.chat("Why are trams quiet?")
    warmed = await beside.warming.asker.warm(beside.gateway.tenant, known, level="answer", predictor="popularity")
    assert warmed is None
    assert len(beside.gateway.provider.requests) == 1


async def test_another_tenant_has_no_quote_and_no_warm(beside: Beside) -> None:
    known = await beside.asked("Why are trams quiet?")
    assert await beside.quote(known, tenant="somebody-else") is None
    warmed = await beside.warming.asker.warm("somebody-else", known, level="answer", predictor="popularity")
    assert warmed is None
    assert beside.gateway.provider.requests == []


async def test_a_revoked_key_warms_nothing(beside: Beside) -> None:
    known = await beside.asked("Why are trams quiet?")
    keys = beside.gateway.worker.services.keys
    [mine] = [record for record in await keys.list() if record.tenant == beside.gateway.tenant]
    await keys.revoke(mine.id)
    assert await beside.warm(known) is None
    assert beside.gateway.provider.requests == []


async def test_a_question_is_put_to_another_transcript(beside: Beside) -> None:
    first = await beside.asked(TALK + "\nQuestion: Who is louder?")
    second = await beside.asked(TALK.replace("ANN", "EVE") + "\nQuestion: What is it about?")
    written = Written(like=first.key, question="Who is louder?", about=second.key)
    quote = await beside.quote(written)
    assert quote is not None
    assert quote.key not in (first.key, second.key)
    assert (await beside.warm(written)) is not None
    answer = await beside.gateway.chat(TALK.replace("ANN", "EVE") + "\nQuestion: Who is louder?")
    assert answer.headers["x-foreword-cache"] == "hit"
    assert beside.gateway.outcomes[-1].cache_key == quote.key


async def test_a_whole_run_is_warmed_and_the_next_one_costs_nothing(beside: Beside) -> None:
    script(beside.gateway)
    await debate(beside.gateway)
    run = next(outcome for outcome in beside.gateway.outcomes if outcome.endpoint == "pipeline")
    await beside.forget_answers()
    beside.gateway.provider.requests.clear()
    warmed = await beside.warm(Known(key=run.cache_key))
    assert warmed is not None
    assert (warmed.is_kept, warmed.key, len(beside.gateway.provider.requests)) == (True, run.cache_key, 2)
    steps = [one for one in beside.gateway.outcomes if one.origin == "warmer" and one.endpoint == "pipeline-step"]
    assert warmed.cost_nanousd == sum(step.cost_nanousd or 0 for step in steps) > 0
    answer = await debate(beside.gateway)
    assert answer.headers["x-foreword-cost-usd"].strip("0.") == ""
    rerun = beside.gateway.outcomes[-1]
    assert (rerun.origin, rerun.cache, rerun.warmed_by) == ("user", "hit", "popularity")
    assert len(beside.gateway.provider.requests) == 2


async def test_of_a_run_only_prompts_without_a_stored_answer_are_priced_and_read(beside: Beside) -> None:
    gateway, usage = beside.gateway, {"prompt_tokens": 4_000, "completion_tokens": 4, "total_tokens": 4_004}
    script(gateway, analysis=said(ANALYSIS, usage=usage), fallacy=said(FALLACY, usage=usage))
    await debate(gateway, "".join(f"ANN: Trams of line {number} are quiet, everybody says.\n" for number in range(330)))
    run = next(outcome for outcome in gateway.outcomes if outcome.endpoint == "pipeline")
    steps = [one.cache_key for one in gateway.outcomes if one.endpoint == "pipeline-step"]
    assert len(steps) == len(set(steps)) > 3
    of_one = await _prefix_without(beside, run.cache_key, steps[:1])
    of_two = await _prefix_without(beside, run.cache_key, steps[:2])
    assert 0 < of_one[0] < of_two[0]
    assert (of_one[1], of_two[1]) == (1, 2)


async def _prefix_without(beside: Beside, run: str, keys: Sequence[str]) -> tuple[int, int]:
    """Let these answers end; return what a prefix is said to save then, and how many prompts are read for it."""
    gateway, known = beside.gateway, Known(key=run)
    await beside.store.delete([store_key(key, tenant=gateway.tenant) for key in keys])
    quote = await beside.quote(known)
    assert quote is not None
    gateway.provider.requests.clear()
    assert await beside.warming.asker.warm(gateway.tenant, known, level="prefix", predictor="popularity") is not None
    return quote.prefix_saved_nanousd, len(gateway.provider.requests)


async def test_warming_switched_off_ends_a_call_in_the_air_and_lets_none_begin(beside: Beside, tmp_path: Path) -> None:
    known = await beside.asked("Why are trams quiet?")
    beside.gateway.provider.script("up-small", Reply(gate="never"))
    worker = beside.gateway.worker
    async with asyncio.TaskGroup() as group:
        warming = group.create_task(beside.warm(known))
        await beside.gateway.provider.wait_for_requests(1)
        [file] = await asyncio.to_thread(lambda: [*tmp_path.glob("*/default.yaml")])
        off = POLICY.replace("warming: {limit_usd_day: 1.0, max_share_of_spend: 1, holdout: 0}", "warming: off")
        await asyncio.to_thread(file.write_text, off)
        await refresh_policies(worker.services, worker.spend)
        assert beside.warming.asker.stop_what_is_off() == 1
    warmed = warming.result()
    assert warmed is not None
    assert (warmed.is_kept, warmed.cost_nanousd > 0) == (False, True)
    await beside.gateway.provider.wait_for_hang_up(0)
    assert await beside.quote(known) is None


async def test_a_call_that_may_cost_more_than_was_debited_is_not_made(beside: Beside) -> None:
    known = await beside.asked("Why are trams quiet?")
    quote = await beside.quote(known)
    assert quote is not None
    wish = await beside.warming.asker._wish(beside.gateway.tenant, known)
    assert wish is not None
    purse = Purse(left_nanousd=quote.bound_nanousd - 1)
    flow = beside.gateway.worker.services.flow
    ask = beside.warming.asker._around.wishes.ask(wish, wish.warming("popularity", purse))
    assert ask is not None
    with pytest.raises(RequestFailed) as refused:
        await flow.run(ask)
    assert refused.value.code == "budget_exceeded"
    assert (beside.gateway.provider.requests, purse.left_nanousd) == ([], quote.bound_nanousd - 1)
    purse.left_nanousd += 1
    await flow.run(ask)
    assert 0 < purse.spent_nanousd < quote.bound_nanousd == purse.spent_nanousd + purse.left_nanousd
