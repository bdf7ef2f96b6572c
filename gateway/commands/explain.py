"""`foreword policy explain|diff`: one request's plan without a gateway, and what an edit changes.

Asks nobody: facts come from the request file, the view from the models file and the flags.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.budgets.bound import size_of
from gateway.budgets.refusals import size_seen
from gateway.commands.policy import PIPED_WIDTH, tell
from gateway.explaining import shown_explanation
from gateway.settings import Settings
from gateway.waits import waits_of
from policies.book import PolicyBook
from policies.compare import changes, keys_of
from policies.decide import choose, match
from policies.document import DocumentError
from policies.explain import Explanation, explain
from policies.load import load_models, read_text
from policies.model import Dialect, Plan, Policy, RouteClass, View
from policies.narrowing import Cut, Headroom, binding, narrowed, told
from router.deployments import LiteLLMDeployments
from router.facts import BadRequest, DoorLimits, facts_of, read_request

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_CONFIG = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as `policy explain` is given it; `unhealthy` and `draw` are the part of the view that varies.

    `left_nanousd` is what its budgets are taken to have left, None for enough."""

    file: Path
    tenant: str
    session: str
    tags: frozenset[str]
    dialect: Dialect
    unhealthy: frozenset[str]
    draw: float
    left_nanousd: int | None


def asked(options: Namespace) -> Asked:
    """Return what the command line says of the request."""
    return Asked(
        file=options.request,
        tenant=options.tenant,
        session=options.session,
        tags=_names(options.tags),
        dialect=options.dialect,
        unhealthy=_names(options.unhealthy),
        draw=options.draw,
        left_nanousd=None if options.budget_left is None else round(options.budget_left * 1e9),
    )


def explain_request(settings: Settings, asked: Asked, *, as_json: bool) -> int:
    """Print the plan and every model considered; 1 where no model may serve, 2 for a bad file."""
    try:
        models = load_models(read_text(settings.models, source=str(settings.models)), source=str(settings.models))
        book = PolicyBook(settings.policies, groups=models.groups, models_file=settings.models)
    except DocumentError as error:
        tell(error.problems)
        return EXIT_CONFIG
    limits = DoorLimits(max_nesting_depth=settings.max_nesting_depth, max_messages=settings.max_messages)
    try:
        request = read_request(asked.file.read_bytes(), dialect=asked.dialect, limits=limits)
    except (BadRequest, OSError) as error:
        sys.stderr.write(f"--request: {asked.file}: {error}\n")
        return EXIT_CONFIG
    facts = facts_of(request, tenant=asked.tenant, session=asked.session, tags=asked.tags, allowed_models=None)
    deployments = LiteLLMDeployments(models.entries, environment=settings.environment, simulate_missing=True)
    view = View(catalogue=deployments.catalogue(), unhealthy=asked.unhealthy, draw=asked.draw)
    policy = book.current().for_tenant(asked.tenant)
    route_class = match(policy, facts)
    made = choose(route_class, view)
    cut, budget = None, ""
    if isinstance(made, Plan) and asked.left_nanousd is not None:
        seen = size_seen(size_of(request, output_cap=None), None, attempts=waits_of(settings).max_attempts)
        seen = replace(seen, left_nanousd=asked.left_nanousd)
        _, cut = narrowed(made, seen, policy=policy, route_class=route_class, catalogue=view.catalogue)
        budget = _budget(policy, route_class, made, seen, cut)
    _print(explain(route_class, made, view.catalogue, cut=cut, budget=budget), as_json=as_json)
    is_served = isinstance(made, Plan) and (cut is None or not cut.refusal)
    return EXIT_OK if is_served else EXIT_FAILURE


def diff(old: Path, new: Path, *, as_json: bool) -> int:
    """Print every key that two policy files do not have in common, defaults filled in; 2 for a bad file."""
    try:
        was, now = (keys_of(read_text(path, source=str(path)), source=str(path)) for path in (old, new))
    except DocumentError as error:
        tell(error.problems)
        return EXIT_CONFIG
    found = changes(was, now)
    if as_json:
        sys.stdout.write(orjson.dumps([asdict(change) for change in found]).decode() + "\n")
        return EXIT_OK
    table = Table("key", str(old), str(new), title_justify="left")
    for change in found:
        table.add_row(*map(Text, (change.key, change.old, change.new)))
    _console().print(table if found else Text("nothing differs"))
    return EXIT_OK


def _budget(policy: Policy, route_class: RouteClass, plan: Plan, seen: Headroom, cut: Cut | None) -> str:
    if not binding(policy.budgets, route_class.route.name):
        return "no budget applies on this route"
    return "the budget that is left covers the whole plan" if cut is None else told(plan.candidates, seen, cut)


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def _print(explanation: Explanation, *, as_json: bool) -> None:
    if as_json:
        shown = {**asdict(explanation), "considered": shown_explanation(explanation)}
        sys.stdout.write(orjson.dumps(shown).decode() + "\n")
        return
    console = _console()
    version = f"{explanation.policy} ({explanation.policy_version})"
    console.print(
        Text(f"{version}, route {explanation.route}, by {explanation.selector}: {explanation.reason or 'none'}")
    )
    if explanation.budget:
        console.print(Text(explanation.budget))
    table = Table("", "model", "named as", "role", "about USD", "why")
    for row in explanation.considered:
        cost = "unknown" if row.expected_cost_usd is None else f"{row.expected_cost_usd:.6f}"
        place = "-" if row.place is None else str(row.place)
        why = f"{row.code}: {row.why}" if row.code else row.why
        table.add_row(*map(Text, (place, row.group, row.name, row.role, cost, why)))
    console.print(table)


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH)
