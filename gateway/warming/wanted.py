"""A recipe made into something that can be asked, with what it comes to: for chats and for runs.

Plans and prices, asks nobody and changes nothing.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

import msgspec
import orjson

from gateway.cache.codec import StoredAnswer
from gateway.errors import RequestFailed
from gateway.flow import Flow
from gateway.interactions import Interactions
from gateway.keys import Caller
from gateway.part import Part
from gateway.ports import Clock
from gateway.posted import Posted
from gateway.purse import Purse, Warming
from gateway.retained.bound import bound_of
from gateway.retained.keepable import retains
from gateway.retained.kept import Kept
from gateway.trail import Ask, CacheControl
from gateway.warming.pricing import Cost, Prefix, bound_of_parts, cost_of, cost_of_parts, prefix_of, scaled
from gateway.warming.recipes import Document, prefix_only, question_bytes, unstreamed
from gateway.warming.run_prefix import prefix_of_run
from gateway.warming.shelf import Shelf, Standing
from policies.arrange import service_tier
from policies.model import Catalogue, Policy
from policies.rules import WarmingRules
from router.facts import BadRequest, DoorLimits, read_request
from router.types import Usage
from router.usage import BYTES_PER_TOKEN
from warmer.types import PredictorName, Quote

FRESH_SHARE = 0.9
"""Of a run, answers older than this share of their time are made anew; warmer/choosing.py has the same bound."""
LEAST_OUTPUT = 256
_SOMEBODY: PredictorName = "announced"
_MARKED = ("anthropic", "bedrock", "vertex_ai")
"""Providers that keep a prompt only where the request says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be asked for whom: a kept request, its body as it is to be now, and the policy it falls under."""

    kept: Kept
    document: Document
    caller: Caller
    policy: Policy
    rules: WarmingRules
    growth: float = 1.0
    is_hurried: bool = False

    @property
    def most_output(self) -> int | None:
        """The most tokens that an answer may have: twice as many as the kept one's, four times as many of another one;
        a longer one is cut off, paid and not kept. None where answers have none, or nobody counted them."""
        usages = [part.usage for part in self.kept.parts]
        if self.kept.dialect == "embeddings" or any(usage.is_estimated for usage in usages):
            return None
        taken = max(usage.output_tokens for usage in usages)
        return max(LEAST_OUTPUT, (2 if self.growth == 1.0 else 4) * taken)

    @property
    def tier(self) -> str:
        """The service tier that warms ask for: "" is the standard one, also where time is too short for a cheap one."""
        return "" if self.rules.tier == "standard" or self.is_hurried else self.rules.tier

    def warming(self, predictor: PredictorName, purse: Purse) -> Warming:
        """Return on whose account it is asked."""
        return Warming(
            predictor=predictor,
            purse=purse,
            service_tier=self.tier,
            wait_s=self.kept.wait_s,
            most_output=self.most_output,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A quote with what stands behind it: when the newest answer that it would replace was made, the models that would
    be asked, and whether somebody is asking the same now."""

    quote: Quote
    newest_at_s: float
    groups: tuple[str, ...]
    is_asked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sums:
    """What a wish costs, at most costs, and would save as a prefix alone; `ttl_s` of the answer that it makes."""

    key: str
    cost: Cost
    bound_nanousd: int
    prefix: Prefix
    ttl_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """Makes asks of wishes and prices them, with the parts of one gateway."""

    flow: Flow
    interactions: Interactions
    shelf: Shelf
    limits: DoorLimits
    clock: Clock

    def ask(self, wish: Wish, warming: Warming, *, prefix: bool = False) -> Ask | None:
        """Return a chat or embeddings request as the warmer asks it; None where it is not one (any more).

        Nothing is looked up for it: what is stored is about to end. A prefix is stored nowhere.
        """
        document = unstreamed(wish.document) if wish.kept.dialect == "chat" else wish.document
        if prefix:
            document = prefix_only(document)
        try:
            request = read_request(orjson.dumps(document), dialect=wish.kept.dialect, limits=self.limits)
        except (BadRequest, orjson.JSONEncodeError):
            return None
        return Ask(
            request=request,
            caller=wish.caller,
            request_id=f"warm-{secrets.token_hex(8)}",
            endpoint=wish.kept.dialect,
            received_s=self.clock.monotonic(),
            origin="warmer",
            session=wish.kept.session,
            tags=frozenset(wish.kept.tags),
            cache_control=CacheControl(no_cache=True, no_store=prefix, namespace=wish.kept.namespace),
            assemble=not prefix,
            warming=warming,
        )

    def posted(self, wish: Wish, warming: Warming) -> Posted:
        """Return a run as the warmer posts it: steps whose answers are good are told from the cache."""
        document = unstreamed(wish.document) if wish.kept.is_chat else {**wish.document, "stream": False}
        max_age_s = FRESH_SHARE * wish.kept.ttl_s
        return Posted(
            document=document,
            caller=wish.caller,
            request_id=f"warm-{secrets.token_hex(8)}",
            received_s=self.clock.monotonic(),
            session=wish.kept.session,
            tags=frozenset(wish.kept.tags),
            cache_control=CacheControl(max_age_s=max_age_s, namespace=wish.kept.namespace),
            deadline_s=None,
            traceparent=None,
            warming=warming,
        )

    async def price(self, wish: Wish, *, catalogue: Catalogue) -> Priced | None:
        """Return what it comes to; None where it may not be asked or cannot be priced. Raises StoreUnavailable."""
        warming = wish.warming(_SOMEBODY, Purse(left_nanousd=0))
        if wish.kept.kind == "run":
            return await self._price_run(wish, warming, catalogue)
        ask = self.ask(wish, warming)
        return None if ask is None else await self._price_chat(wish, ask, catalogue)

    async def is_answered(self, ask: Ask) -> bool:
        """Return whether the cache has an answer to it that is not to be made anew yet. Raises StoreUnavailable."""
        trail = self.flow.trail(ask)
        try:
            self.flow.plan(ask, trail)
        except RequestFailed:
            return False
        key = self.flow.key(ask, trail)
        (answer,) = (await self.shelf.standing(ask.caller.tenant, (key,))).answers if key else (None,)
        return not _is_missing(answer, now=self.clock.now())

    async def _price_chat(self, wish: Wish, ask: Ask, catalogue: Catalogue) -> Priced | None:
        trail = self.flow.trail(ask)
        try:
            plan = self.flow.plan(ask, trail)
        except RequestFailed:
            return None
        key, route_class = self.flow.key(ask, trail), trail.route_class
        bound = bound_of(ask.request, trail, plan, catalogue=catalogue)
        if not key or bound is None or route_class is None or not retains(trail.policy, route_class):
            return None
        card, live_tier = catalogue[plan.candidates[0]], service_tier(route_class.route, plan.deadline_s)
        cost = cost_of(card.price, _usage(wish, trail.facts.input_tokens), live_tier=live_tier, warm_tier=wish.tier)
        if cost is None:
            return None
        standing = await self.shelf.standing(ask.caller.tenant, (key,))
        prefix = prefix_of(
            card.price if wish.kept.dialect == "chat" else None,
            tokens=max(0, trail.facts.input_tokens - question_bytes(wish.document) // BYTES_PER_TOKEN),
            is_marked=b'"cache_control"' in ask.request.body,
            needs_mark=any(provider.startswith(_MARKED) for provider in card.providers),
            tiers=(live_tier, wish.tier),
        )
        sums = _Sums(key=key, cost=cost, bound_nanousd=bound, prefix=prefix, ttl_s=plan.cache.exact_ttl_s)
        return _priced(wish, sums, standing, groups=plan.candidates[:1])

    async def _price_run(self, wish: Wish, warming: Warming, catalogue: Catalogue) -> Priced | None:
        tenant = wish.caller.tenant
        try:
            posted = self.posted(wish, warming)
            key = self.interactions.open(wish.kept.pipeline, posted, is_chat=wish.kept.is_chat).key
        except RequestFailed:
            return None
        same = await self.shelf.kept(tenant, key)
        parts = scaled(wish.kept.parts, wish.growth) if same is None else same.parts
        standing = await self.shelf.standing(tenant, () if same is None else [part.key for part in parts])
        missing = _missing(parts, standing.answers, now=self.clock.now())
        cost = cost_of_parts(missing or parts, catalogue, warm_tier=wish.tier)
        growth = 1.0 if same is not None else wish.growth
        bound = bound_of_parts(missing or parts, catalogue, growth=growth, most_output=wish.most_output)
        if cost is None or bound is None:
            return None
        prefix = prefix_of_run(missing or parts, catalogue, warm_tier=wish.tier, marked=_MARKED)
        sums = _Sums(key=key, cost=cost, bound_nanousd=bound, prefix=prefix, ttl_s=wish.kept.ttl_s)
        return _priced(wish, sums, standing, groups=tuple({part.model for part in parts}))


def grown(wish: Wish) -> Wish:
    """Return the wish with how much longer its body is than the kept one's: prompts grow with it."""
    return replace(wish, growth=len(orjson.dumps(wish.document)) / max(1, len(wish.kept.body)))


def _priced(wish: Wish, sums: _Sums, standing: Standing, *, groups: tuple[str, ...]) -> Priced:
    quote = Quote(
        key=sums.key,
        live_nanousd=sums.cost.live_nanousd,
        warm_nanousd=sums.cost.warm_nanousd,
        bound_nanousd=sums.bound_nanousd,
        wait_s=wish.kept.wait_s,
        ttl_s=sums.ttl_s,
        fresh_until_s=standing.fresh_until_s(),
        prefix_nanousd=sums.prefix.cost_nanousd,
        prefix_saved_nanousd=sums.prefix.saved_nanousd,
        prefix_ttl_s=sums.prefix.ttl_s,
    )
    return Priced(quote=quote, newest_at_s=standing.newest_at_s(), groups=groups, is_asked=standing.is_asked)


def _usage(wish: Wish, input_tokens: int) -> Usage:
    """Return the tokens it will take: those it took, its prompt as long as the new one is in proportion."""
    taken = wish.kept.parts[0].usage
    if wish.growth == 1.0:
        return taken
    return msgspec.structs.replace(taken, input_tokens=input_tokens, cached_tokens=0, cache_write_tokens=0)


def _missing(parts: tuple[Part, ...], answers: tuple[StoredAnswer | None, ...], *, now: float) -> tuple[Part, ...]:
    return tuple(
        part
        for part, answer in zip(parts, answers or (None,) * len(parts), strict=True)
        if _is_missing(answer, now=now)
    )


def _is_missing(answer: StoredAnswer | None, *, now: float) -> bool:
    return answer is None or now - answer.created_at > FRESH_SHARE * answer.ttl_s
