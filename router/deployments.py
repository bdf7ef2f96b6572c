"""The door to litellm.Router: which deployments there are, pick one, report how it went.

Must not call a provider, retry or log. What depends on LiteLLM's version (1.106.2) stays here, in the door and in
backends/litellm.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from policies.model import Catalogue, ModelCard
from router import litellm_door
from router.cards import card_of, worst
from router.entries import Entry, LeftOut, Resolved, resolve, simulated
from router.errors import NoDeployment, ProviderError
from router.litellm_shapes import LiteLLMRouter
from router.types import ChatRequest, Deployment
from router.windows import RecentCount

COOLDOWN_S = 5.0
"""How long a deployment cools where neither its entry nor the provider says; LiteLLM's default."""
MAX_COOLDOWN_S = 300.0
"""The most that a provider's Retry-After may ask for."""
_NOBODY: frozenset[str] = frozenset()
_NONE_COOLING: Mapping[str, float] = MappingProxyType({})
_NOT_ITS_FAULT = ("bad_request", "context_length", "content_policy")


class LiteLLMDeployments:
    """Owns the Router and with it the health of every deployment, in this process alone.

    `found` are the providers in use, `backends` the rows of backends/ they need, `left_out` what cannot be used and
    why, `unread` the parameters of each deployment that change nothing. With `simulate_missing` and no provider at all,
    every group gets a simulated deployment that stands for its first entry's model.
    """

    def __init__(self, entries: Sequence[Entry], *, environment: Mapping[str, str], simulate_missing: bool) -> None:
        usable, self.left_out = _usable(entries, environment)
        if simulate_missing and all(card.is_simulated for _, card in usable):
            usable = _stand_ins(entries)
        usable = _with_own_ids(usable)
        self._good: dict[str, RecentCount] = {}
        self._by_id = {resolved.deployment.id: resolved for resolved, _ in usable}
        self.unread = {name: resolved.unread for name, resolved in self._by_id.items() if resolved.unread}
        self.backends = frozenset(resolved.deployment.backend for resolved, _ in usable)
        self.found = tuple(dict.fromkeys(resolved.deployment.provider for resolved, _ in usable))
        groups: dict[str, list[tuple[Resolved, ModelCard]]] = defaultdict(list)
        for pair in usable:
            groups[pair[0].deployment.group].append(pair)
        self._catalogue = {group: worst([card for _, card in pairs]) for group, pairs in groups.items()}
        self._orders = {group: _orders([one for one, _ in pairs]) for group, pairs in groups.items()}
        self._only = {group: only for group, orders in self._orders.items() if (only := self._lowest(orders))}
        self._router = litellm_door.router(
            [_router_entry(resolved, self._orders[group]) for group, pairs in groups.items() for resolved, _ in pairs],
            cooldown_s=COOLDOWN_S,
        )

    @property
    def router(self) -> LiteLLMRouter:
        """LiteLLM's Router, for backends/litellm.py."""
        return self._router

    @property
    def usable(self) -> tuple[Deployment, ...]:
        """Every deployment that may be picked."""
        return tuple(resolved.deployment for resolved in self._by_id.values())

    def catalogue(self) -> Catalogue:
        """Return the card of each usable group."""
        return self._catalogue

    async def pick(self, group: str, request: ChatRequest, *, exclude: frozenset[str] = _NOBODY) -> Deployment:  # noqa: ARG002
        """Return a deployment of `group` that is not cooling and not in `exclude`. Raises NoDeployment.

        The lowest `order` goes first, then LiteLLM's weights. Its pick (about 50 µs) is skipped where it could only
        come out one way: one deployment alone is left in the lowest order.
        """
        cooling = self._cooling()
        if not cooling and not exclude and (only := self._only.get(group)) is not None:
            return only
        orders = self._orders.get(group)
        if orders is None:
            raise NoDeployment(group)
        left = [name for name in orders if name not in cooling and name not in exclude]
        if not left:
            waits = (cooling[name] for name in orders if name in cooling)
            raise NoDeployment(group, retry_after_s=min(waits, default=None))
        lowest = min(orders[name] for name in left)
        first = [name for name in left if orders[name] == lowest]
        if len(first) == 1:
            return self._by_id[first[0]].deployment
        wish: dict[str, object] = {"_excluded_deployment_ids": list(exclude), "_target_order": lowest}
        try:
            picked = await self._router.async_get_available_deployment(model=group, request_kwargs=wish)
        except litellm_door.NO_DEPLOYMENT as error:
            raise NoDeployment(group) from error
        return self._by_id[str(picked["model_info"]["id"])].deployment

    def _lowest(self, orders: Mapping[str, int]) -> Deployment | None:
        """Return the deployment of the lowest order where there is one alone: the pick while all are well."""
        first = [name for name, order in orders.items() if order == min(orders.values())]
        return self._by_id[first[0]].deployment if len(first) == 1 else None

    def succeeded(self, deployment: Deployment) -> None:
        """Record a good answer; without it the cooldown sees 100 % failures. Needs a running event loop.

        LiteLLM reads its counts only when something has failed, and counting there costs 20 µs: they wait here.
        """
        good = self._good.get(deployment.id)
        if good is None:
            good = self._good[deployment.id] = RecentCount(seconds=60)
        good.add(asyncio.get_running_loop().time())

    def failed(self, deployment: Deployment, error: ProviderError) -> None:
        """Record a failure; LiteLLM decides whether the deployment cools. Needs a running event loop.

        In a group of several: at once after a 429, 401, 403 or 404, and with 5 answers in this minute of which more
        than half failed. A group's only deployment cools after a 401, 403, 404 or 1,000 failures in a row. What is
        wrong with the request itself does not count.
        """
        if error.kind in _NOT_ITS_FAULT:
            return
        known = self._by_id.get(deployment.id)
        if known is None:
            return
        good = self._good.pop(deployment.id, None)
        if good is not None and (count := good.move(asyncio.get_running_loop().time())):
            litellm_door.report_successes(self._router, deployment.id, count)
        wanted = min(error.retry_after_s or COOLDOWN_S, MAX_COOLDOWN_S)
        cooldown_s = wanted if known.cooldown_s is None else known.cooldown_s
        litellm_door.report_failure(
            self._router, deployment.id, group=deployment.group, kind=error.kind, cooldown_s=cooldown_s
        )

    def unhealthy(self) -> frozenset[str]:
        """Return the groups of which every deployment is cooling."""
        cooling = self._cooling()
        if not cooling:
            return _NOBODY
        return frozenset(group for group, orders in self._orders.items() if orders.keys() <= cooling.keys())

    def _cooling(self) -> Mapping[str, float]:
        """Return the ids that are cooling, each with the length of its cooldown in seconds."""
        cache = self._router.cooldown_cache
        if not cache.in_memory_cache.cache_dict:
            return _NONE_COOLING
        active = cache.get_active_cooldowns(list(self._by_id), None)
        return {name: float(str(state["cooldown_time"])) for name, state in active}


def _usable(
    entries: Sequence[Entry], environment: Mapping[str, str]
) -> tuple[list[tuple[Resolved, ModelCard]], tuple[LeftOut, ...]]:
    usable: list[tuple[Resolved, ModelCard]] = []
    left_out: list[LeftOut] = []
    modes: dict[str, str] = {}
    for entry in entries:
        found = resolve(entry, environment=environment, provider_of=litellm_door.provider_of)
        if isinstance(found, LeftOut):
            left_out.append(found)
            continue
        try:
            card = _card(found)
            if modes.setdefault(card.group, card.mode) != card.mode:
                raise ValueError(f"its mode is {card.mode}, the group's is {modes[card.group]}")
        except ValueError as error:
            left_out.append(LeftOut(group=entry.model_name, model=found.listed_model, reason=str(error)))
            continue
        usable.append((found, card))
    return usable, tuple(left_out)


def _stand_ins(entries: Sequence[Entry]) -> list[tuple[Resolved, ModelCard]]:
    first: dict[str, Entry] = {}
    for entry in entries:
        first.setdefault(entry.model_name, entry)
    made: list[tuple[Resolved, ModelCard]] = []
    for entry in first.values():
        try:
            resolved = simulated(entry)
            made.append((resolved, _card(resolved)))
        except ValueError:  # an image or speech model: nothing here can stand for it
            continue
    return made


def _card(resolved: Resolved) -> ModelCard:
    try:
        name, provider, _ = litellm_door.provider_of(resolved.listed_model)
        parameters = litellm_door.supported_params(name, provider)
    except ValueError:
        parameters = frozenset()
    return card_of(resolved, parameters=parameters)


def _with_own_ids(usable: list[tuple[Resolved, ModelCard]]) -> list[tuple[Resolved, ModelCard]]:
    """Number repeated ids: `gpt-4o@openai`, `gpt-4o@openai#2`."""
    seen: Counter[str] = Counter()
    numbered: list[tuple[Resolved, ModelCard]] = []
    for resolved, card in usable:
        name = resolved.deployment.id
        seen[name] += 1
        if seen[name] > 1:
            resolved = replace(resolved, deployment=replace(resolved.deployment, id=f"{name}#{seen[name]}"))
        numbered.append((resolved, card))
    return numbered


def _orders(members: Sequence[Resolved]) -> dict[str, int]:
    """Return each deployment's order; without one it comes last."""
    stated = {one.deployment.id: int(str(one.picking["order"])) for one in members if "order" in one.picking}
    last = max(stated.values(), default=0) + 1
    return {one.deployment.id: stated.get(one.deployment.id, last) for one in members}


def _router_entry(resolved: Resolved, orders: Mapping[str, int]) -> dict[str, object]:
    """Return the Router's row. It holds a key only where the Router itself makes the calls, and no prices: LiteLLM
    would write them over its map for the whole process."""
    deployment = resolved.deployment
    if deployment.backend == "litellm":
        parameters = dict(resolved.arguments)
    else:
        parameters = {"model": f"openai/{deployment.model}", "api_key": "unused", **resolved.picking}
    parameters["order"] = orders[deployment.id]
    parameters.pop("cooldown_time", None)
    policy = {key: resolved.info[key] for key in ("allowed_fails", "allowed_fails_policy") if key in resolved.info}
    return {
        "model_name": deployment.group,
        "litellm_params": parameters,
        "model_info": {"id": deployment.id, **policy},
    }
