from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.prices import Price, Rates
from router.cost import cost_nanousd, dearest, price_of
from router.types import Usage

USAGE = Usage(input_tokens=1000, output_tokens=100)

MODELS = (
    "openai/gpt-4o-mini",
    "openai/gpt-4o",
    "openai/gpt-4.1-mini",
    "openai/gpt-5-mini",
    "anthropic/claude-haiku-4-5",
    "anthropic/claude-sonnet-4-5",
    "gemini/gemini-2.5-flash",
    "gemini/gemini-2.5-pro",
    "gemini/gemini-3.1-pro-preview",
    "groq/openai/gpt-oss-120b",
    "deepseek/deepseek-chat",
    "mistral/mistral-small-latest",
    "xai/grok-4.3",
    "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "dashscope/qwen-flash",
)


@pytest.mark.parametrize(
    ("model", "usd_per_million"),
    [
        # Published by the providers, USD per million tokens: input, cached input, cache write, output.
        ("openai/gpt-4o-mini", ("0.15", "0.075", "0.15", "0.60")),
        ("openai/gpt-4o", ("2.50", "1.25", "2.50", "10")),
        ("openai/gpt-5-mini", ("0.25", "0.025", "0.25", "2")),
        ("anthropic/claude-haiku-4-5", ("1", "0.10", "1.25", "5")),
        ("anthropic/claude-sonnet-4-5", ("3", "0.30", "3.75", "15")),
        ("gemini/gemini-2.5-flash", ("0.30", "0.03", "0.30", "2.50")),
        ("openai/text-embedding-3-small", ("0.02", "0.02", "0.02", "0")),
    ],
)
def test_prices_are_the_published_ones(model: str, usd_per_million: tuple[str, str, str, str]) -> None:
    price = price_of(model)
    assert price is not None
    base = price.base
    assert tuple(
        Fraction(pico, 1_000_000) for pico in (base.input, base.cached_input, base.cache_write, base.output)
    ) == (tuple(map(Fraction, usd_per_million)))


def test_cached_and_cache_write_tokens_are_counted_once_each_at_their_own_rate() -> None:
    usage = Usage(input_tokens=1000, cached_tokens=600, cache_write_tokens=300, output_tokens=10)
    # 100 x 1 + 600 x 0.10 + 300 x 1.25 + 10 x 5 USD per million = 585 micro-dollars
    assert cost_nanousd(price_of("anthropic/claude-haiku-4-5"), usage) == 585_000


def test_reasoning_tokens_are_part_of_the_output_and_have_their_own_rate() -> None:
    rates = Rates(input=0, cached_input=0, cache_write=0, output=1_000, reasoning=3_000)
    assert cost_nanousd(Price(base=rates), Usage(output_tokens=10, reasoning_tokens=4)) == 6 + 12


def test_a_fraction_of_a_nanodollar_is_rounded_up() -> None:
    rates = Rates(input=1, cached_input=1, cache_write=1, output=1, reasoning=1)
    assert [cost_nanousd(Price(base=rates), Usage(input_tokens=n)) for n in (0, 1, 1000, 1001)] == [0, 1, 1, 2]


def test_a_model_without_a_published_price_is_unknown_and_never_free() -> None:
    assert price_of("openai/no-such-model") is None
    assert cost_nanousd(None, USAGE) is None


def test_an_entrys_own_prices_replace_the_maps() -> None:
    own = {"input_cost_per_token": "1e-06", "output_cost_per_token": 2e-06}
    assert cost_nanousd(price_of("openai/no-such-model", own), USAGE) == 1_200_000
    mini = price_of("openai/gpt-4o-mini", {"input_cost_per_token": 1e-06})
    assert mini is not None
    assert (mini.base.input, mini.base.output) == (1_000_000, 600_000)


def test_a_prompt_over_a_threshold_pays_the_dearer_rates_for_all_its_tokens() -> None:
    price = price_of("gemini/gemini-2.5-pro")
    assert price is not None
    assert cost_nanousd(price, Usage(input_tokens=200_000)) == 250_000_000
    assert cost_nanousd(price, Usage(input_tokens=200_001)) == 500_002_500


def test_the_dearest_of_several_prices_is_at_least_each_of_them() -> None:
    flat, tiered = price_of("openai/gpt-4o"), price_of("gemini/gemini-2.5-pro")
    assert flat is not None
    assert tiered is not None
    both = dearest([flat, tiered])
    assert both is not None
    for tokens in (1, 200_000, 200_001, 900_000):
        for one in (flat, tiered):
            assert both.rates(tokens).input >= one.rates(tokens).input
            assert both.rates(tokens).output >= one.rates(tokens).output
    assert dearest([flat, None]) is None
    assert dearest([]) is None


def test_a_cheap_tier_that_one_of_several_lacks_costs_what_the_standard_one_does_there() -> None:
    flex = {"input_cost_per_token_flex": 1e-07, "output_cost_per_token_flex": 1e-07}
    cheap, plain = price_of("openai/gpt-4o-mini", flex), price_of("openai/gpt-4o-mini")
    alone, both = dearest([cheap]), dearest([cheap, plain])
    assert cheap is not None
    assert plain is not None
    assert alone is not None
    assert both is not None
    assert alone.tier("flex").base.input == 100_000
    assert both.tier("flex").base.input == plain.base.input


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    input_tokens = draw(st.integers(1, 400_000))
    cached = draw(st.integers(0, input_tokens))
    output_tokens = draw(st.integers(0, 30_000))
    return Usage(
        input_tokens=input_tokens,
        cached_tokens=cached,
        cache_write_tokens=draw(st.integers(0, input_tokens - cached)),
        output_tokens=output_tokens,
        reasoning_tokens=draw(st.integers(0, output_tokens)),
    )


# Where LiteLLM and this differ, on purpose: `off_peak_pricing` (tencent) is billed at the peak rate, and fireworks_ai's
# cached tokens at the input rate, where LiteLLM halves a rate that its map does not hold.
@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=20)
@given(usage=usages())
def test_costs_equal_litellms_within_rounding(model: str, usage: Usage) -> None:
    import litellm  # here, after the door has set LiteLLM's environment
    from litellm.types.utils import CompletionTokensDetailsWrapper, PromptTokensDetailsWrapper
    from litellm.types.utils import Usage as LiteLLMUsage

    stated = LiteLLMUsage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens_details=PromptTokensDetailsWrapper(
            cached_tokens=usage.cached_tokens, cache_creation_tokens=usage.cache_write_tokens
        ),
        completion_tokens_details=CompletionTokensDetailsWrapper(reasoning_tokens=usage.reasoning_tokens),
        cache_creation_input_tokens=usage.cache_write_tokens,
        cache_read_input_tokens=usage.cached_tokens,
    )
    provider, _, name = model.partition("/")
    prompt_usd, completion_usd = litellm.cost_per_token(model=name, custom_llm_provider=provider, usage_object=stated)
    ours = cost_nanousd(price_of(model), usage)
    assert ours is not None
    assert ours == pytest.approx((prompt_usd + completion_usd) * 1e9, rel=1e-9, abs=1.001)
