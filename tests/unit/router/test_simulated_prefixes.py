"""What simulated models do of providers' prefix caches and cheap service tiers."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Mapping

import msgspec
import orjson
import pytest

from policies.prices import Price
from router.backends.simulated import SimulatedBackend
from router.cost import cost_nanousd, price_of
from router.simulation.pace import FLEX_FIRST_TOKEN, pace_of
from router.simulation.prefix import BLOCK_TOKENS, LEAST_TOKENS, blocks_of, cached_tokens
from router.simulation.prefix_memory import PrefixMemory
from router.types import Call, Streamed, Usage, Whole
from router.usage import read_answer
from tests.clock import FakeClock
from tests.unit.router.test_simulated import Json, call_of, chat

GPT = price_of("openai/gpt-5-mini")
CLAUDE = price_of("anthropic/claude-haiku-4-5")
TRANSCRIPT = "ANN: Trams are quiet, and everybody knows it. BOB: They are loud!\n" * 100
LONG_TOKENS = len(TRANSCRIPT) // 4


def priced(document: Mapping[str, object], *, price: Price | None = GPT, stream: bool = False, tier: str = "") -> Call:
    call = call_of(document, stream=stream, model="gpt-5-mini")
    deployment = dataclasses.replace(call.deployment, price=price, provider="openai")
    return msgspec.structs.replace(call, deployment=deployment, service_tier=tier)


async def usage(backend: SimulatedBackend, call: Call) -> Usage:
    answer = await backend.send(call)
    assert isinstance(answer, Whole)
    read = read_answer(answer.body, dialect="chat").usage
    assert read is not None
    return read


def question(task: str) -> Json:
    return chat(TRANSCRIPT + task, max_tokens=20)


async def test_a_prompt_that_begins_as_one_before_is_cached_up_to_the_last_whole_block() -> None:
    backend = SimulatedBackend(clock=FakeClock(), scale=0.0)
    first = await usage(backend, priced(question("Find fallacies.")))
    second = await usage(backend, priced(question("Sum it up.")))
    assert first.cached_tokens == 0
    assert second.cached_tokens % BLOCK_TOKENS == 0
    assert LONG_TOKENS - BLOCK_TOKENS <= second.cached_tokens <= LONG_TOKENS
    dear, cheap = cost_nanousd(GPT, first), cost_nanousd(GPT, second)
    assert dear is not None
    assert cheap is not None
    assert cheap < dear


async def test_a_cached_prefix_is_told_in_streams_too() -> None:
    backend = SimulatedBackend(clock=FakeClock(), scale=0.0)
    await usage(backend, priced(question("one")))
    answer = await backend.send(priced(question("two"), stream=True))
    assert isinstance(answer, Streamed)
    events = b"".join([chunk async for chunk in answer.chunks]).split(b"\n\n")
    told = orjson.loads(events[-3].removeprefix(b"data: "))["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert told >= LEAST_TOKENS


@pytest.mark.parametrize("price", [None, CLAUDE, price_of("openai/gpt-4")])
async def test_models_without_an_automatic_prefix_cache_never_tell_of_cached_tokens(price: Price | None) -> None:
    backend = SimulatedBackend(clock=FakeClock(), scale=0.0)
    for _ in range(2):
        assert (await usage(backend, priced(question("again"), price=price))).cached_tokens == 0


async def test_short_prompts_are_never_cached() -> None:
    backend = SimulatedBackend(clock=FakeClock(), scale=0.0)
    for _ in range(2):
        assert (await usage(backend, priced(chat("word " * 700)))).cached_tokens == 0


async def test_another_schema_before_the_prompt_shares_nothing() -> None:
    backend = SimulatedBackend(clock=FakeClock(), scale=0.0)
    await usage(backend, priced(question("one")))
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    assert (await usage(backend, priced({**question("one"), "response_format": schema}))).cached_tokens == 0


async def _first(answer: Streamed) -> bytes:
    return await anext(aiter(answer.chunks))


async def test_a_prompt_is_found_from_its_answers_first_token_on_and_not_before() -> None:
    clock = FakeClock()
    backend = SimulatedBackend(clock=clock, scale=1.0)
    streamed = await backend.send(priced(question("one"), stream=True))
    assert isinstance(streamed, Streamed)
    other = SimulatedBackend(clock=clock, scale=0.0, prefixes=backend._prefixes)
    assert (await usage(other, priced(question("two")))).cached_tokens == 0
    async with asyncio.TaskGroup() as group:
        first = group.create_task(_first(streamed))
        for _ in range(10):
            await asyncio.sleep(0)
        assert clock.sleepers == 1
        clock.wind(60.0)
    assert b"assistant" in first.result()
    assert (await usage(other, priced(question("three")))).cached_tokens >= LEAST_TOKENS


async def test_what_was_read_is_forgotten_some_minutes_later_and_the_least_recent_first() -> None:
    clock = FakeClock()
    memory = PrefixMemory(clock, keep_s=300.0, max_blocks=4)
    await memory.remember("a", ["1", "2"])
    clock.wind(200.0)
    await memory.remember("a", ["1"])
    clock.wind(150.0)
    assert await memory.known("a", ["1", "2"]) == 1
    assert await memory.known("b", ["1", "2"]) == 0
    await memory.remember("b", ["5", "6", "7"])
    assert await memory.known("a", ["1"]) == 1
    await memory.remember("b", ["8"])
    assert await memory.known("a", ["1"]) == 0


def test_blocks_name_equal_beginnings_alike_and_no_others() -> None:
    one, two = blocks_of(question("one more " * 100)), blocks_of(question("something else " * 100))
    assert one[:12] == two[:12]
    assert not set(one[13:]) & set(two[13:])
    assert len(one) == 14
    assert blocks_of(chat("x" + TRANSCRIPT))[0] != one[0]


def test_less_than_the_least_that_is_kept_counts_as_nothing() -> None:
    assert cached_tokens(7, prompt_tokens=2000) == 0
    assert cached_tokens(8, prompt_tokens=2000) == 1024
    assert cached_tokens(99, prompt_tokens=2000) == 2000


async def test_a_call_that_may_say_nothing_reads_the_prompt() -> None:
    backend = SimulatedBackend(clock=FakeClock(), scale=0.0)
    read = await usage(backend, priced({**question("one"), "max_tokens": 0}))
    assert read.output_tokens == 0
    assert (await usage(backend, priced(question("one")))).cached_tokens >= LEAST_TOKENS


async def test_the_cheap_tier_costs_half_where_the_model_has_a_price_for_it() -> None:
    backend = SimulatedBackend(clock=FakeClock(), scale=0.0)
    flex = await usage(backend, priced(chat("hello"), tier="flex"))
    standard = await usage(backend, priced(chat("hello")))
    assert flex.service_tier == "flex"
    half, full = cost_nanousd(GPT, flex), cost_nanousd(GPT, standard)
    assert half is not None
    assert full is not None
    assert half == pytest.approx(full / 2, abs=1)


@pytest.mark.parametrize(
    ("own", "asked", "price", "told"),
    [
        (None, "", GPT, None),
        (None, "flex", GPT, "flex"),
        ("auto", "flex", GPT, "flex"),
        ("default", "flex", GPT, "default"),
        ("flex", "", GPT, "flex"),
        ("flex", "", CLAUDE, "default"),
        ("flex", "", None, "default"),
    ],
)
async def test_an_answer_tells_the_tier_it_was_given(
    own: str | None, asked: str, price: Price | None, told: str | None
) -> None:
    fields = {} if own is None else {"service_tier": own}
    answer = await SimulatedBackend(clock=FakeClock(), scale=0.0).send(
        priced(chat("hello", **fields), price=price, tier=asked)
    )
    assert isinstance(answer, Whole)
    assert orjson.loads(answer.body).get("service_tier") == told


def test_the_cheap_tier_is_slower() -> None:
    plain = pace_of("gpt-5-mini", rng=random.Random(1), scale=1.0)
    flex = pace_of("gpt-5-mini", rng=random.Random(1), scale=1.0, tier="flex")
    assert flex.first_token_s == pytest.approx(plain.first_token_s * FLEX_FIRST_TOKEN)
    assert flex.token_gap_s > plain.token_gap_s
