"""Small, complete values that tests vary: each builder takes the fields a test is about."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from policies.model import CacheRules, Capability, Catalogue, Dialect, Match, ModelCard, Policy, RequestFacts, Route
from policies.prices import Price, Rates

GROUPS = frozenset({"gpt-4o-mini", "gpt-4o", "claude-haiku-4-5", "text-embedding-3-small"})

MINIMAL = """\
version: 1
policy: example
routes:
  - name: all
    match: {any: true}
    candidates: [requested]
"""


def price(input_usd: float, output_usd: float) -> Price:
    """Return a price from USD per million tokens."""
    into, out = round(input_usd * 1_000_000), round(output_usd * 1_000_000)
    return Price(base=Rates(input=into, cached_input=into, cache_write=into, output=out, reasoning=out))


def card(
    group: str,
    cost: Price | None = None,
    *,
    mode: Dialect = "chat",
    window: int | None = 128_000,
    most_output: int | None = 16_384,
    can: Collection[Capability] = ("tools", "json_schema"),
    providers: tuple[str, ...] = ("example",),
    regions: tuple[str, ...] = ("",),
) -> ModelCard:
    """Return what policy may know of `group`."""
    return ModelCard(
        group=group,
        providers=providers,
        regions=regions,
        mode=mode,
        price=cost,
        context_window=window,
        max_output_tokens=most_output,
        capabilities=frozenset(can),
        is_simulated=False,
    )


def catalogue(*cards: ModelCard) -> Catalogue:
    """Return the cards by group."""
    return {one.group: one for one in cards}


FACTS = RequestFacts(
    dialect="chat",
    requested_model="gpt-4o-mini",
    tenant="someone",
    session="s",
    tags=frozenset(),
    input_tokens=1000,
    max_output_tokens=None,
    needs=frozenset(),
    allowed_models=None,
)

ROUTE = Route(
    name="only",
    match=Match(),
    candidates=("requested",),
    selector="fixed",
    fallbacks=(),
    deadline_s=60.0,
    max_output_tokens=None,
    cache=CacheRules(),
)


def policy(*routes: Route, models: dict[str, str] | None = None) -> Policy:
    """Return a policy of these routes."""
    return Policy(name="example", version="0123456789ab", source="example.yaml", models=models or {}, routes=routes)


def route(name: str, condition: Match) -> Route:
    """Return a route of this name and condition."""
    return replace(ROUTE, name=name, match=condition)
