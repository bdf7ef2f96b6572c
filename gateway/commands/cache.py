"""`foreword cache stats|show|invalidate`: on the gateway's own Redis, whether the gateway runs or not.

Prints no answer's text. An invalidation is a dry run without --yes, and says which live workers have not heard of it.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Mapping
from typing import Final

import orjson
from rich.console import Console
from rich.table import Table

from gateway.cache.withdraw import Selection
from gateway.clock import SystemClock
from gateway.commands.redis import with_store
from gateway.semantic import admin
from gateway.settings import Settings
from gateway.stores.redis import RedisStore
from policies.book import PolicyBook
from policies.document import DocumentError
from policies.load import load_models, read_text

EXIT_OK: Final = 0
EXIT_FAILURE: Final = 1
EXIT_CONFIG: Final = 2
PIPED_WIDTH: Final = 200
SELECTORS: Final = Selection.__struct_fields__


def stats(settings: Settings, *, as_json: bool) -> int:
    """Print what is stored by tenant, and a row for every semantic class."""
    try:
        models = load_models(read_text(settings.models, source=str(settings.models)), source=str(settings.models))
        policies = PolicyBook(settings.policies, groups=models.groups, models_file=settings.models).current()
    except DocumentError as error:
        for problem in error.problems:
            sys.stderr.write(f"{problem}\n")
        return EXIT_FAILURE
    found = with_store(settings, lambda store: admin.stats(store, policies, clock=SystemClock()))
    if found is None:
        return EXIT_FAILURE
    if as_json:
        _print_json(admin.shown_stats(found))
        return EXIT_OK
    console = _console()
    stored = Table("tenant", "answers", "bytes", title="stored answers", title_justify="left")
    for tenant in sorted(found.answers):
        stored.add_row(tenant, str(found.answers[tenant]), str(found.size_bytes[tenant]))
    console.print(stored)
    console.print(_classes(found))
    return EXIT_OK


def show(settings: Settings, *, answer_id: str, as_json: bool) -> int:
    """Print where an answer comes from; 1 where there is none."""
    found = with_store(settings, lambda store: _shown(store, answer_id))
    if found is None:
        return EXIT_FAILURE
    if not found:
        sys.stderr.write(f"{answer_id}: no stored answer begins so; give 8 characters of its key at least\n")
        return EXIT_FAILURE
    if as_json:
        _print_json(found)
        return EXIT_OK
    table = Table("field", "value", show_header=False)
    questions = found.pop("questions")
    for name, value in found.items():
        table.add_row(name, str(value))
    for question in questions if isinstance(questions, list) else ():
        table.add_row("question", str(question["text"]))
    _console().print(table)
    return EXIT_OK


def invalidate(settings: Settings, chosen: Mapping[str, str | None], *, is_dry_run: bool, as_json: bool) -> int:
    """Take back what is chosen; 1 where some live worker did not say that it has heard."""
    epoch = chosen["epoch"]
    if epoch is not None and not epoch.isdecimal():
        sys.stderr.write(f"--epoch: {epoch!r}: must be a whole number, as in the policy\n")
        return EXIT_CONFIG
    given = {name: value for name, value in chosen.items() if value is not None and name != "epoch"}
    selection = Selection(**given, epoch=None if epoch is None else int(epoch))
    if selection.is_empty:
        sys.stderr.write(f"say which answers: give at least one of --{', --'.join(SELECTORS)}\n")
        return EXIT_CONFIG
    by, clock = f"cli:{getpass.getuser()}", SystemClock()
    done = with_store(
        settings, lambda store: admin.withdraw(store, selection, by=by, is_dry_run=is_dry_run, clock=clock)
    )
    if done is None:
        return EXIT_FAILURE
    silent = done.heard.silent if done.heard is not None else ()
    if as_json:
        _print_json(admin.shown_withdrawal(done))
    else:
        verb = "would go" if is_dry_run else "are gone"
        sys.stdout.write(f"{done.answers} answers and {done.questions} questions {verb}\n")
        if done.classes:
            sys.stdout.write(f"{done.classes} classes {'would be' if is_dry_run else 'are'} forgotten\n")
        if done.heard is not None:
            sys.stdout.write(f"{len(done.heard.acknowledged)} workers have acknowledged\n")
        if is_dry_run:
            sys.stdout.write("nothing was changed; --yes does it\n")
    for worker in silent:
        sys.stderr.write(f"worker {worker} has not acknowledged; it serves from memory for 60 s at most\n")
    return EXIT_FAILURE if silent else EXIT_OK


async def _shown(store: RedisStore, answer_id: str) -> dict[str, object]:
    found = await admin.show(store, answer_id)
    return {} if found is None else admin.shown_answer(*found, now=SystemClock().now())


def _classes(found: admin.Stats) -> Table:
    table = Table(title="semantic classes", title_justify="left")
    for heading in (
        "tenant",
        "route",
        "mode",
        "labels",
        "requests",
        "hits",
        "wrong/hit",
        "upper 95 %",
        "noise",
        "verified",
        "net USD",
    ):
        table.add_column(heading, overflow="fold")
    for row in found.classes:
        seen = row.figures
        table.add_row(
            row.tenant,
            f"{row.policy}/{row.route}" + ("" if row.is_current else " (no longer)"),
            seen.mode + (" (label budget spent)" if seen.is_frozen else ""),
            str(seen.labels),
            str(seen.requests),
            f"{seen.hits} ({seen.hits / max(1, seen.requests):.1%})",
            f"{seen.wrong_per_hit:.2%}",
            f"{seen.wrong_per_hit_upper:.2%}",
            f"{seen.noise_floor:.1%}",
            f"{seen.affirmed} yes, {seen.refuted} no, {seen.unverified} neither",
            f"{seen.net_saved_nanousd / 1e9:.6f}",
        )
    return table


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH)


def _print_json(value: object) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")
