"""The most that a request can cost and the most tokens it can take, before anybody is asked. Pure.

True upper bounds: a token has at least one byte, every attempt may be billed in full, cache writes and reasoning are
paid at the dearest rate. What has no bound (an unknown price, no output cap, a server-side tool) has None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
_DEAR_TIERS: Final = ("priority", "scale")


class Size(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The most tokens one leg may read, and give for each of `choices`; `output` None: nobody set a cap."""

    input: int
    output: int | None
    choices: int


def size_of(request: ChatRequest, *, output_cap: int | None) -> Size | None:
    """Return the most a leg of this request may take, None where that cannot be said.

    A leg that continues a cut answer reads what was written so far as well: the output cap is added to the input.
    """
    document = request.document
    if not _SERVER_SIDE.isdisjoint(document) and any(document.get(name) for name in _SERVER_SIDE):
        return None
    if document.get("service_tier") in _DEAR_TIERS:
        return None
    images = urls = 0
    for part in _parts(document):
        kind = part.get("type")
        images += kind == "image_url"
        urls += kind not in ("text", "image_url", "input_audio", "refusal", "input_text")
    if urls:
        return None  # files by id and whatever comes next: their size is not in the body
    messages = document.get("messages")
    framing = MESSAGE_TOKENS * (len(messages) if isinstance(messages, list) else 1)
    written = output_cap or 0
    choices = document.get("n")
    return Size(
        input=len(request.body) + images * IMAGE_TOKENS + framing + written,
        output=0 if request.dialect == "embeddings" else output_cap,
        choices=choices if isinstance(choices, int) else 1,
    )


def leg_nanousd(card: ModelCard, size: Size) -> int | None:
    """Return the most one attempt at `card` can cost, in nano-dollars rounded up; None where it has no bound."""
    output = size.output if size.output is not None else card.max_output_tokens
    if card.price is None or output is None:
        return None
    pico = _dearest(card.price.base, size.input, output * size.choices)
    for above, rates in card.price.above:
        if size.input > above:
            pico = max(pico, _dearest(rates, size.input, output * size.choices))
    return -(-pico // 1000)


def plan_nanousd(groups: Iterable[str], catalogue: Catalogue, size: Size | None, *, attempts: int) -> int | None:
    """Return the most that `attempts` attempts at any of `groups` can cost; None where one of them has no bound."""
    dearest = 0
    for group in groups:
        leg = None if size is None or group not in catalogue else leg_nanousd(catalogue[group], size)
        if leg is None:
            return None
        dearest = max(dearest, leg)
    return dearest * attempts


def tokens_of(size: Size | None, *, input_estimate: int) -> int:
    """Return the most tokens the answering leg can take; where that is unknown the estimate, so that a limit works."""
    if size is None:
        return input_estimate
    return size.input + (size.output or 0) * size.choices


def _dearest(rates: Rates, input_tokens: int, output_tokens: int) -> int:
    return input_tokens * max(rates.input, rates.cached_input, rates.cache_write) + output_tokens * max(
        rates.output, rates.reasoning
    )


def _parts(document: Mapping[str, object]) -> Iterable[Mapping[str, object]]:
    messages = document.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        yield from (part for part in content if isinstance(part, dict)) if isinstance(content, list) else ()
