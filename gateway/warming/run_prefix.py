"""Has a provider read the prompts of a run without answering them, so that the run itself finds them in its cache.

Of each step that needs no other, on each segment whose answer is not stored: what they share and what is their own.
Stores nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import msgspec
import orjson

from gateway.flow import Flow
from gateway.interactions import Interaction
from gateway.part import Part
from gateway.pipelines.ports import StepAnswer, StepAsk, StepError
from gateway.pipelines.run import run_pipeline
from gateway.ports import StoreUnavailable
from gateway.semantic.again import answered
from gateway.trail import Ask, CacheControl
from gateway.warming.pricing import LEAST_PREFIX_TOKENS, Prefix, prefix_of
from gateway.warming.recipes import prefix_only
from policies.model import Catalogue
from router.facts import BadRequest

_READ = StepError(message="its prompt was only read", type="pipeline_error", code="only_read", source="gateway")


def prefix_of_run(parts: Iterable[Part], catalogue: Catalogue, *, warm_tier: str, marked: tuple[str, ...]) -> Prefix:
    """Return what having the prompts of these answers read comes to: of those that are long enough to be kept.

    Providers that begin with one of `marked` keep only what a request tells them to, which a step does not.
    """
    cost = saved = 0
    ttl_s = 0.0
    for part in parts:
        card = catalogue.get(part.model)
        found = prefix_of(
            None if card is None else card.price,
            tokens=part.usage.input_tokens,
            is_marked=False,
            needs_mark=card is not None and any(provider.startswith(marked) for provider in card.providers),
            tiers=("", warm_tier),
        )
        cost, saved = cost + found.cost_nanousd, saved + found.saved_nanousd
        ttl_s = max(ttl_s, found.ttl_s)
    return Prefix(cost_nanousd=cost, saved_nanousd=saved, ttl_s=ttl_s)


async def read_run(interaction: Interaction, flow: Flow, *, is_answered: Callable[[Ask], Awaitable[bool]]) -> int:
    """Ask for one token of every step that needs no other, is long enough and has no answer yet; return how many were
    read."""
    reads = _Reads(interaction, flow, is_answered)
    await run_pipeline(interaction.request, ask=reads, clock=interaction.steps.clock)
    return reads.count


@dataclass(slots=True)
class _Reads:
    """An AskStep that never has a result, so that no step follows and nothing is repaired."""

    interaction: Interaction
    flow: Flow
    is_answered: Callable[[Ask], Awaitable[bool]]
    count: int = 0
    bodies: set[bytes] = field(default_factory=set)

    async def __call__(self, ask: StepAsk, *, on_first_token: Callable[[], None] | None = None) -> StepAnswer:
        steps = self.interaction.steps
        if on_first_token is not None:
            on_first_token()
        try:
            asked = steps.ask_of(ask, steps.clock.monotonic())
            if await self._is_worth_it(asked):
                self.count += await answered(self.flow.run, _only_read(asked)) is not None
        except (BadRequest, StoreUnavailable):
            pass  # what cannot be asked, or is not known to be missing, is not read
        return StepAnswer(content=_READ)

    async def _is_worth_it(self, asked: Ask) -> bool:
        is_new = asked.request.body not in self.bodies
        self.bodies.add(asked.request.body)  # what is said twice in a transcript is read once
        is_long = self.flow.trail(asked).facts.input_tokens >= LEAST_PREFIX_TOKENS
        return is_new and is_long and not await self.is_answered(asked)


def _only_read(ask: Ask) -> Ask:
    request = ask.request
    body = orjson.dumps(prefix_only(request.document))
    return msgspec.structs.replace(
        ask,
        request=msgspec.structs.replace(request, body=body, document=orjson.loads(body)),
        cache_control=CacheControl(no_cache=True, no_store=True),
        assemble=False,
        store_sampled=False,
    )
