"""warmer.ports.Asker over the gateway's own flow: prices predicted requests, and has them answered.

Origin `warmer`: lowest priority, the policy's tier, one attempt, and never more than what was quoted as the bound. Must
not decide what is worth it, nor spend where warming is off, the caller has no rights any more, or another one leads.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Final

from gateway.errors import RequestFailed
from gateway.pipelines.report import PipelineReport
from gateway.ports import StoreUnavailable
from gateway.purse import Purse, Warming
from gateway.retained.kept import Kept
from gateway.retained.runs import left_s
from gateway.semantic.again import answered
from gateway.supervisor import Supervisor, SupervisorClosed
from gateway.warming.callers import Callers
from gateway.warming.recipes import read_body, written
from gateway.warming.room import BRIEF_S, Room
from gateway.warming.run_prefix import read_run
from gateway.warming.shelf import Shelf
from gateway.warming.wanted import Priced, Wish, Wishes, grown
from policies.book import PolicySet
from policies.model import Catalogue
from warmer.types import Crowded, Known, Level, PredictorName, Quote, Recipe, Warmed

QUOTED: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the asker finds: `policies` and `catalogue` as they are now; `may_spend` is whether this warmer leads."""

    wishes: Wishes
    shelf: Shelf
    callers: Callers
    room: Room
    supervisor: Supervisor
    policies: Callable[[], PolicySet]
    catalogue: Callable[[], Catalogue]
    may_spend: Callable[[], bool]


class FlowAsker:
    """See the module. Owner of the calls under way, and of what was quoted lately."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._quoted: OrderedDict[tuple[str, Recipe], Priced] = OrderedDict()
        self._under_way: dict[asyncio.Task[Warmed | None], str] = {}
        self.is_hurried: Callable[[str, str], bool] = _never

    async def quote(self, tenant: str, recipe: Recipe) -> Quote | None:
        """Return what it comes to; None where it may not be asked, cannot be priced, or Redis is away."""
        try:
            wish = await self._wish(tenant, recipe)
            priced = None if wish is None else await self._price(wish)
        except StoreUnavailable:
            return None
        if priced is None:
            return None
        self._quoted.pop((tenant, recipe), None)
        self._quoted[tenant, recipe] = priced
        if len(self._quoted) > QUOTED:
            self._quoted.popitem(last=False)
        return priced.quote

    async def warm(
        self, tenant: str, recipe: Recipe, *, level: Level, predictor: PredictorName
    ) -> Warmed | Crowded | None:
        """Ask it; None where nobody was asked. `stop_what_is_off` ends it early, with what it may have cost."""
        around, quoted = self._around, self._quoted.get((tenant, recipe))
        rules = around.policies().for_tenant(tenant).warming
        if quoted is None or rules is None:
            return None
        if not await around.room.comes(quoted.groups, most=rules.max_in_flight, at_most_s=BRIEF_S):
            return Crowded()
        try:
            wish = await self._wish(tenant, recipe)
            priced = None if wish is None else await self._price(wish)
        except StoreUnavailable:
            return None
        if wish is None or priced is None or not self._is_still_wanted(quoted, priced, level):
            return None
        if not around.may_spend():
            return None
        purse = Purse(left_nanousd=quoted.quote.bound_nanousd)
        warming, is_run = wish.warming(predictor, purse), wish.kept.kind == "run"
        act = self._run(wish, warming, priced, level) if is_run else self._chat(wish, warming, priced, level)
        warmed = await self._owned(act, tenant)
        cost = quoted.quote.bound_nanousd - purse.left_nanousd
        if warmed is None:
            return Warmed(key=priced.quote.key, cost_nanousd=cost, is_kept=False, ttl_s=0.0) if cost else None
        return replace(warmed, cost_nanousd=cost)

    def stop_what_is_off(self) -> int:
        """Give up calls of tenants whose policy has warming off by now, all where another leads; return how many."""
        policies, may_spend = self._around.policies(), self._around.may_spend()
        doomed = [
            task
            for task, tenant in self._under_way.items()
            if not may_spend or policies.for_tenant(tenant).warming is None
        ]
        for task in doomed:
            task.cancel()
        return len(doomed)

    async def _owned(self, act: Coroutine[object, object, Warmed | None], tenant: str) -> Warmed | None:
        """Run it as a task that can be stopped without its caller; None where it was."""
        try:
            task = self._around.supervisor.spawn(act, name="warm")
        except SupervisorClosed:
            return None
        self._under_way[task] = tenant
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            self._under_way.pop(task, None)
        return None if task.cancelled() else task.result()

    async def _chat(self, wish: Wish, warming: Warming, priced: Priced, level: Level) -> Warmed | None:
        ask = self._around.wishes.ask(wish, warming, prefix=level == "prefix")
        reply = None if ask is None else await answered(self._around.wishes.flow.run, ask)
        if reply is None:
            return None
        quote, made = priced.quote, reply.trail.made
        if level == "prefix":
            return Warmed(key=quote.key, cost_nanousd=0, is_kept=True, ttl_s=quote.prefix_ttl_s)
        ttl_s = made.ttl_s if made is not None else 0.0
        return Warmed(key=reply.trail.key, cost_nanousd=0, is_kept=made is not None, ttl_s=ttl_s)

    async def _run(self, wish: Wish, warming: Warming, priced: Priced, level: Level) -> Warmed | None:
        wishes = self._around.wishes
        try:
            posted = wishes.posted(wish, warming)
            interaction = wishes.interactions.open(wish.kept.pipeline, posted, is_chat=wish.kept.is_chat)
        except RequestFailed:
            return None
        if level == "prefix":
            is_read = await read_run(interaction, wishes.flow, is_answered=wishes.is_answered) > 0
            return Warmed(key=interaction.key, cost_nanousd=0, is_kept=is_read, ttl_s=priced.quote.prefix_ttl_s)
        report = await interaction.whole()
        is_kept = report.status == "ok"
        return Warmed(key=interaction.key, cost_nanousd=0, is_kept=is_kept, ttl_s=_left_s(report) if is_kept else 0.0)

    def _is_still_wanted(self, quoted: Priced, now: Priced, level: Level) -> bool:
        """Whether nothing has changed since it was quoted that would have it asked twice, or dearer."""
        if now.quote.key != quoted.quote.key or now.quote.bound_nanousd > quoted.quote.bound_nanousd:
            return False
        return level == "prefix" or (now.newest_at_s <= quoted.newest_at_s and not now.is_asked)

    async def _price(self, wish: Wish) -> Priced | None:
        return await self._around.wishes.price(wish, catalogue=self._around.catalogue())

    async def _wish(self, tenant: str, recipe: Recipe) -> Wish | None:
        """Return what is to be asked, for a caller who still may; None where its text is gone or warming is off."""
        around = self._around
        policy = around.policies().for_tenant(tenant)
        rules = policy.warming
        like = None if rules is None else await around.shelf.kept(tenant, _like(recipe))
        if rules is None or like is None:
            return None
        caller = await around.callers.of(like)
        about = await self._about(tenant, recipe)
        if caller is None or (about is None and not isinstance(recipe, Known) and recipe.about):
            return None
        if isinstance(recipe, Known):
            document = read_body(like)
        else:
            document = written(like, question=recipe.question, about=about)
        if document is None:
            return None
        is_hurried = isinstance(recipe, Known) and self.is_hurried(tenant, recipe.key)
        wish = Wish(kept=like, document=document, caller=caller, policy=policy, rules=rules, is_hurried=is_hurried)
        return wish if isinstance(recipe, Known) else grown(wish)

    async def _about(self, tenant: str, recipe: Recipe) -> Kept | None:
        """Return the request whose transcript is used, which its own caller must still be allowed to have."""
        if isinstance(recipe, Known) or not recipe.about:
            return None
        about = await self._around.shelf.kept(tenant, recipe.about)
        return about if about is not None and await self._around.callers.of(about) is not None else None


def _never(_tenant: str, _key: str) -> bool:
    return False


def _like(recipe: Recipe) -> str:
    return recipe.key if isinstance(recipe, Known) else recipe.like


def _left_s(report: PipelineReport) -> float:
    return left_s([answer for step in report.steps for answer in step.answers])
