"""What a model charges, compiled once from LiteLLM's price map into integers, and what an answer cost.

Must not decide anything, nor guess a price: a model that nobody priced is None, never free.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal

from policies.prices import Price, Rates
from router import litellm_door
from router.types import Usage

SERVICE_TIERS = ("flex", "priority")
"""Those that an answer may name and that LiteLLM's map prices; any other is charged as the standard one."""
_PICO = Decimal(10) ** 12
_TIER = re.compile(r"^(?:input|output)_cost_per_token_above_(\d+)(k?)_tokens$")


def price_of(model: str, overrides: Mapping[str, object] | None = None) -> Price | None:
    """Return the price of LiteLLM's `model` name (with or without provider prefix), None where nobody published one.

    `overrides` are an entry's own `input_cost_per_token`, `output_cost_per_token`, `cache_read_input_token_cost` … as
    LiteLLM names them (USD per token); each replaces the map's. Batches, audio, images and the one-hour cache rate are
    not modelled.
    """
    own = {key: value for key, value in (overrides or {}).items() if "_cost" in key and value is not None}
    entry = {**map_entry(model), **own}
    if entry.get("mode") == "embedding":
        entry.setdefault("output_cost_per_token", 0)
    table = entry.get("tiered_pricing")
    if isinstance(table, list) and not own:
        return _table([tier for tier in table if isinstance(tier, dict)])
    if entry.get("input_cost_per_token") is None or entry.get("output_cost_per_token") is None:
        return None
    tiers = {name: tier for name in SERVICE_TIERS if (tier := _of_tier(entry, name)) is not None}
    return Price(base=_rates(entry), above=tuple(_thresholds(entry)), tiers=tiers)


def _of_tier(entry: Mapping[str, object], name: str) -> Price | None:
    """Return the price under keys that end in the tier's name, None where the tier has no input and output price."""
    suffix = f"_{name}"
    own = {
        key.removesuffix(suffix): value for key, value in entry.items() if key.endswith(suffix) and value is not None
    }
    if "input_cost_per_token" not in own or "output_cost_per_token" not in own:
        return None
    return Price(base=_rates(own), above=tuple(_thresholds(own)))


def map_entry(model: str) -> Mapping[str, object]:
    """Return the price map's entry for `model`, empty where it has none: first the full name, then without provider."""
    for key in (model, model.partition("/")[2]):
        if key and litellm_door.is_listed(key):
            return litellm_door.listed(key)
    return {}


def cost_nanousd(price: Price | None, usage: Usage) -> int | None:
    """Return what `usage` costs in nano-dollars, rounded up; None where the price is unknown.

    Cached and cache-write tokens are part of `input_tokens` and reasoning tokens of `output_tokens`: each is counted
    once, at its own rate. A prompt over a threshold pays the dearer rates for all its tokens.
    """
    if price is None:
        return None
    if usage.service_tier:
        price = price.tier(usage.service_tier)
    rates = price.rates(usage.input_tokens)
    plain_input = max(0, usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens)
    plain_output = max(0, usage.output_tokens - usage.reasoning_tokens)
    pico = (
        plain_input * rates.input
        + usage.cached_tokens * rates.cached_input
        + usage.cache_write_tokens * rates.cache_write
        + plain_output * rates.output
        + usage.reasoning_tokens * rates.reasoning
    )
    return -(-pico // 1000)


def dearest(prices: Iterable[Price | None]) -> Price | None:
    """Return a price that is at least each of `prices`, rate by rate; None if any is unknown or there is none.

    So is each service tier's that one of them has: who has none charges the standard rates.
    """
    known: list[Price] = []
    for price in prices:
        if price is None:
            return None
        known.append(price)
    if not known:
        return None
    names = sorted({name for price in known for name in price.tiers})
    tiers = {name: _worst_price([price.tier(name) for price in known], {}) for name in names}
    return _worst_price(known, tiers)


def _worst_price(known: list[Price], tiers: Mapping[str, Price]) -> Price:
    thresholds = sorted({threshold for price in known for threshold, _ in price.above})
    return Price(
        base=_worst([price.base for price in known]),
        above=tuple((limit, _worst([price.rates(limit + 1) for price in known])) for limit in thresholds),
        tiers=tiers,
    )


def _worst(rates: list[Rates]) -> Rates:
    return Rates(
        input=max(rate.input for rate in rates),
        cached_input=max(rate.cached_input for rate in rates),
        cache_write=max(rate.cache_write for rate in rates),
        output=max(rate.output for rate in rates),
        reasoning=max(rate.reasoning for rate in rates),
    )


def _thresholds(entry: Mapping[str, object]) -> list[tuple[int, Rates]]:
    """Read `…_above_200k_tokens` keys. A rate that a tier does not name is the next lower tier's, as in LiteLLM."""
    suffixes: dict[int, str] = {}
    for key in entry:
        if entry[key] is not None and (found := _TIER.match(key)):
            number, unit = found.groups()
            suffixes[int(number) * (1000 if unit else 1)] = f"_above_{number}{unit}_tokens"
    tiers: list[tuple[int, Rates]] = []
    current = dict(entry)
    for threshold in sorted(suffixes):
        suffix = suffixes[threshold]
        for key in tuple(entry):
            if key.endswith(suffix) and entry[key] is not None:
                current[key.removesuffix(suffix)] = entry[key]
        tiers.append((threshold, _rates(current)))
    return tiers


def _table(tiers: list[Mapping[str, object]]) -> Price | None:
    """Read `tiered_pricing` (Alibaba): [{range: [over, up to], input_cost_per_token: …}, …], priced as a whole."""
    bounds = [tier["range"] for tier in tiers]
    starts = [int(Decimal(str(bound[0]))) for bound in bounds if isinstance(bound, list) and len(bound) == 2]
    if len(starts) != len(tiers) or not tiers or any("output_cost_per_token" not in tier for tier in tiers):
        return None
    ordered = sorted(zip(starts, (_rates(tier) for tier in tiers), strict=True), key=lambda pair: pair[0])
    return Price(base=ordered[0][1], above=tuple(ordered[1:]))


def _rates(entry: Mapping[str, object]) -> Rates:
    """Read one set of rates; as in LiteLLM, cache rates nobody published are the input's, reasoning is the output's."""
    plain_input = _pico(entry["input_cost_per_token"])
    plain_output = _pico(entry["output_cost_per_token"])
    return Rates(
        input=plain_input,
        cached_input=_pico(entry.get("cache_read_input_token_cost"), plain_input),
        cache_write=_pico(entry.get("cache_creation_input_token_cost"), plain_input),
        output=plain_output,
        reasoning=_pico(entry.get("output_cost_per_reasoning_token"), plain_output),
    )


def _pico(usd_per_token: object, default: int = 0) -> int:
    """Return USD per token in pico-dollars. By way of str: 7.5e-08 as a float is not 75 nano-dollars."""
    if usd_per_token is None:
        return default
    return int((Decimal(str(usd_per_token)) * _PICO).to_integral_value())
