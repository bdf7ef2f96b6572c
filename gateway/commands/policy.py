"""`foreword policy lint|show`: says what is wrong with the policy files, or what they mean and where rollouts stand."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from itertools import groupby

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.clock import SystemClock
from gateway.commands.redis import open_store
from gateway.ports import StoreUnavailable
from gateway.rollout.rollouts import read_states
from gateway.rollout.state import RolloutState, shown_state
from gateway.settings import Settings
from gateway.stores.embedded import find_running
from policies.book import PolicyBook
from policies.document import DocumentError, Problem
from policies.lint import lint as find_problems
from policies.lint import notes as find_notes
from policies.load import load_models, read_text
from policies.show import Row, rows
from policies.show import limits as limits_of

EXIT_OK = 0
EXIT_FAILURE = 1
OF_POLICY = ("policy", "version", "tenants")
PIPED_WIDTH = 200
ROLLOUT = (
    "rollout of {policy}: {status}, {percent:g} % under {candidate} (step {step}), the rest under {stable}: {reason}"
)


def lint(settings: Settings, *, as_json: bool) -> int:
    """Print every problem, one a line; 1 if there is any. Where there is none, keys that nothing reads are noted."""
    problems = find_problems(settings.policies, settings.models)
    noted = () if problems else find_notes(settings.policies, settings.models)
    if as_json:
        shown = [{**asdict(one), "is_note": not problems} for one in (*problems, *noted)]
        sys.stdout.write(orjson.dumps(shown).decode() + "\n")
    else:
        tell(problems)
        for note in noted:
            sys.stdout.write(f"note: {note}\n")
        if not problems:
            sys.stdout.write(f"{settings.policies} and {settings.models}: nothing wrong\n")
    return EXIT_FAILURE if problems else EXIT_OK


def show(settings: Settings, *, as_json: bool) -> int:
    """Print one row a route, in the order in which routes are asked, and where rollouts stand; 1 for bad files."""
    try:
        models = load_models(read_text(settings.models, source=str(settings.models)), source=str(settings.models))
        book = PolicyBook(settings.policies, groups=models.groups, models_file=settings.models)
    except DocumentError as error:
        tell(error.problems)
        return EXIT_FAILURE
    found = rows(book.current())
    limits = {policy.name: limits_of(policy) for policy in book.current().policies}
    rollouts = _rollouts(settings, [policy.name for policy in book.current().policies])
    if as_json:
        shown = {"routes": [asdict(row) for row in found], "limits": limits, "rollouts": rollouts}
        sys.stdout.write(orjson.dumps(shown).decode() + "\n")
        return EXIT_OK
    console = Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH)
    names = [field.name for field in fields(Row) if field.name not in OF_POLICY]
    for policy, of_policy in groupby(found, key=lambda row: (row.policy, row.version, row.tenants)):
        name, version, tenants = policy
        table = Table(title=f"{name} ({version}) for tenants {tenants}", title_justify="left", expand=False)
        for heading in names:
            table.add_column(Text(heading.replace("_", " ")), overflow="fold")
        for row in of_policy:
            table.add_row(*(Text(str(getattr(row, heading))) for heading in names))
        console.print(table)
        for line in limits[name]:
            console.print(Text(line))
    for rollout in rollouts or ():
        console.print(Text(ROLLOUT.format(**rollout)))
    return EXIT_OK


def _rollouts(settings: Settings, policies: Sequence[str]) -> list[dict[str, object]] | None:
    """Return where rollouts stand in the Redis of the gateway that runs; None where there is none or it is away."""
    url = settings.redis_url or find_running(settings.data_dir)
    if url is None:
        return None
    try:
        states = asyncio.run(_states(url, policies))
    except StoreUnavailable as error:
        sys.stderr.write(f"foreword: rollouts are not known: Redis cannot be used: {error}\n")
        return None
    now = SystemClock().now()
    return [shown_state(state, now=now) for state in states if state.candidate]


async def _states(url: str, policies: Sequence[str]) -> tuple[RolloutState, ...]:
    async with open_store(url) as store:
        return await read_states(store, policies)


def tell(problems: tuple[Problem, ...]) -> None:
    """Print problems to stderr, one a line."""
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
