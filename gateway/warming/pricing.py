"""What a warm comes to beside a live call, from prices, sizes and what the kept request took. Pure.

Nothing is guessed: without a price, or without a bound, there is no quote.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.part import Part
from policies.bounds import Size, leg_nanousd
from policies.model import Catalogue
from policies.prices import Price
from router.cost import cost_nanousd
from router.types import Usage

PREFIX_TTL_S: Final = 300.0
"""How long providers keep a prompt that was just read: Anthropic says 5 minutes, OpenAI 5 to 10 without use."""
LEAST_PREFIX_TOKENS: Final = 1024
"""The shortest prompt that OpenAI and Anthropic keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Nano-dollars, as warmer.types.Quote names them."""

    live_nanousd: int
    warm_nanousd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """What making the provider read the prompt costs, what the live call then saves; both 0 where there is none."""

    cost_nanousd: int = 0
    saved_nanousd: int = 0
    ttl_s: float = 0.0


def cost_of(price: Price | None, usage: Usage, *, live_tier: str, warm_tier: str) -> Cost | None:
    """Return what `usage` costs a caller, and the warmer at its tier; None where the price is unknown."""
    live = cost_nanousd(price, msgspec.structs.replace(usage, service_tier=live_tier))
    warm = cost_nanousd(price, msgspec.structs.replace(usage, service_tier=warm_tier))
    return None if live is None or warm is None else Cost(live_nanousd=live, warm_nanousd=warm)


def cost_of_parts(parts: Iterable[Part], catalogue: Catalogue, *, warm_tier: str) -> Cost | None:
    """Return what a run's answers cost; None where a price is unknown."""
    live = warm = 0
    for part in parts:
        card = catalogue.get(part.model)
        cost = None if card is None else cost_of(card.price, part.usage, live_tier="", warm_tier=warm_tier)
        if cost is None:
            return None
        live, warm = live + cost.live_nanousd, warm + cost.warm_nanousd
    return Cost(live_nanousd=live, warm_nanousd=warm)


def bound_of_parts(
    parts: Iterable[Part], catalogue: Catalogue, *, growth: float, most_output: int | None
) -> int | None:
    """Return the most that having a run's answers made may cost, at sizes `growth` times those of the kept run's.

    It is a sum to be kept to, not one that cannot be passed: the purse sees to that.
    """
    most = 0
    for part in parts:
        card = catalogue.get(part.model)
        caps = [cap for cap in (part.most_output, most_output) if cap is not None]
        size = Size(input=int(part.most_input * max(1.0, growth)), output=min(caps, default=None), choices=1)
        leg = None if card is None or not part.most_input else leg_nanousd(card, size)
        if leg is None:
            return None
        most += leg
    return most


def scaled(parts: Iterable[Part], growth: float) -> tuple[Part, ...]:
    """Return the parts with prompts `growth` times as long: another transcript through the same steps."""
    return tuple(
        msgspec.structs.replace(
            part, usage=msgspec.structs.replace(part.usage, input_tokens=int(part.usage.input_tokens * growth))
        )
        for part in parts
    )


def prefix_of(price: Price | None, *, tokens: int, is_marked: bool, needs_mark: bool, tiers: tuple[str, str]) -> Prefix:
    """Return what warming the provider's prefix cache comes to; nothing where the provider has none for this prompt.

    `tiers` are the live call's and the warmer's. `is_marked`: the request says what to keep (Anthropic's
    cache_control), which `needs_mark` providers want; writing then costs more, for the live call as well.
    """
    none = Prefix()
    if price is None or tokens < LEAST_PREFIX_TOKENS or (needs_mark and not is_marked):
        return none
    live, warm = (price.tier(tier).rates(tokens) for tier in tiers)
    read = live.cache_write if is_marked else live.input
    if live.cached_input >= read:
        return none
    written = warm.cache_write if is_marked else warm.input
    return Prefix(
        cost_nanousd=-(-(tokens * written + warm.output) // 1000),
        saved_nanousd=tokens * (read - live.cached_input) // 1000,
        ttl_s=PREFIX_TTL_S,
    )
