"""The most that a request can cost and the most tokens it can take, before anybody is asked. Pure.

True upper bounds: a token has at least one byte, every attempt may be billed in full, cache writes and reasoning are
paid at the dearest rate. What has no bound (an unknown price, no output cap, a server-side tool) has None.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from policies.model import Catalogue, ModelCard
from policies.prices import Rates
from router.types import ChatRequest

IMAGE_TOKENS: Final = 50_000
"""More than any model here charges for one image given by URL (gpt-4o-mini in high detail: 2,833 + 8 tiles x 5,667).
An image in the body is bounded by its bytes already."""
MESSAGE_TOKENS: Final = 16
"""What a provider may add around each message and tool: role, separators."""
_SERVER_SIDE: Final = frozenset({"web_search_options", "web_search", "search_parameters", "background"})
_SIZED: Final = ("text", "image_url", "input_audio", "refusal", "input_text")
"""Kinds of parts that are in the body, or are bounded otherwise."""
_DEAR_TIERS: Final = ("priority", "scale")
_TELLING: Final = _SERVER_SIDE | {"service_tier", "n"}


class Size(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The most tokens one leg may read, and give for each of `choices`; `output` None: nobody set a cap."""

    input: int
    output: int | None
    choices: int

    @property
    def tokens(self) -> int:
        """The most that a leg can take of a limit on tokens."""
        return self.input + (self.output or 0) * self.choices


def size_of(request: ChatRequest, *, output_cap: int | None) -> Size | None:
    """Return the most a leg of this request may take, None where that cannot be said.

    A leg that continues a cut answer reads what was written so far as well: the output cap is added to the input.
    """
    document, choices = request.document, 1
    if not _TELLING.isdisjoint(document):
        if document.get("service_tier") in _DEAR_TIERS or any(document.get(name) for name in _SERVER_SIDE):
            return None
        given = document.get("n")
        choices = given if isinstance(given, int) else 1
    messages, most = document.get("messages"), len(request.body)
    if isinstance(messages, list):
        most += MESSAGE_TOKENS * len(messages)
        for message in messages:
            if isinstance(message, dict) and not isinstance(content := message.get("content"), str):
                images = _images(content)
                if images is None:
                    return None
                most += images * IMAGE_TOKENS
    else:
        most += MESSAGE_TOKENS
    if output_cap:
        most += output_cap
    return Size(input=most, output=0 if request.dialect == "embeddings" else output_cap, choices=choices)


class Charge(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The most that a model charges, in pico-dollars: per input token, per output token; `cap` output tokens at most.

    `above`: (input tokens, dearest input, dearest output) of the rates that a longer prompt pays.
    """

    input: int
    output: int
    cap: int | None
    above: tuple[tuple[int, int, int], ...]


Charges = tuple[Charge, ...]


def charges_of(groups: Iterable[str], catalogue: Catalogue) -> Charges | None:
    """Return what each of `groups` charges at most; None where one of them is not here or has no known price."""
    found = []
    for group in groups:
        card = catalogue.get(group)
        charge = None if card is None else _charge(card)
        if charge is None:
            return None
        found.append(charge)
    return tuple(found)


def most_nanousd(charges: Charges | None, size: Size | None, attempts: int) -> int | None:
    """Return the most that so many attempts can cost, each at any of the models; None where one has no bound."""
    if charges is None or size is None:
        return None
    into, output, choices, dearest = size.input, size.output, size.choices, 0
    for charge in charges:
        out = charge.cap if output is None else output
        if out is None:
            return None
        if choices != 1:
            out *= choices
        pico = into * charge.input + out * charge.output
        if charge.above:
            for above, input_rate, output_rate in charge.above:
                if into > above:
                    pico = max(pico, into * input_rate + out * output_rate)
        if pico > dearest:  # noqa: PLR1730 - max() costs four times as much
            dearest = pico
    return (dearest + 999) // 1000 * attempts


def leg_nanousd(card: ModelCard, size: Size) -> int | None:
    """Return the most one attempt at `card` can cost, in nano-dollars rounded up; None where it has no bound."""
    charge = _charge(card)
    return None if charge is None else most_nanousd((charge,), size, 1)


def plan_nanousd(groups: Iterable[str], catalogue: Catalogue, size: Size | None, *, attempts: int) -> int | None:
    """Return the most that `attempts` attempts at any of `groups` can cost; None where one of them has no bound."""
    return most_nanousd(charges_of(groups, catalogue), size, attempts)


def _charge(card: ModelCard) -> Charge | None:
    price = card.price
    if price is None:
        return None
    into, out = _dearest(price.base)
    above = tuple((limit, *_dearest(rates)) for limit, rates in price.above)
    return Charge(input=into, output=out, cap=card.max_output_tokens, above=above)


def _dearest(rates: Rates) -> tuple[int, int]:
    return max(rates.input, rates.cached_input, rates.cache_write), max(rates.output, rates.reasoning)


def _images(content: object) -> int | None:
    """Count a message's images; None where a part's size is not in the body: files by id and whatever comes next."""
    if not isinstance(content, list):
        return 0
    kinds = [part.get("type") for part in content if isinstance(part, dict)]
    return kinds.count("image_url") if all(kind in _SIZED for kind in kinds) else None
