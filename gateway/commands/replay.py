"""`foreword policy replay`: what a policy would have done with recorded traffic. Exit 1 on a violation, 2 on misuse."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.commands.history import since, usd, with_history
from gateway.commands.policy import PIPED_WIDTH, tell
from gateway.history.reading import Texts
from gateway.history.replaying import Replayed, UnknownVersion, replay_history, version_of
from gateway.settings import Settings
from gateway.stores.redis import RedisStore
from policies.document import DocumentError
from policies.load import load_models, load_policy, read_text
from policies.model import Policy
from policies.replay_report import Replay, Side

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_CONFIG = 2


def replay(
    settings: Settings, *, file: Path | None, against: str | None, span: str, plot: Path | None, as_json: bool
) -> int:
    """Replay a file, or the recorded version `against`, over the last `span`; print, and plot where asked."""
    if (file is None) == (against is None):
        sys.stderr.write("policy replay: give a policy FILE, or a recorded version with --against\n")
        return EXIT_CONFIG
    since_s = since(span)
    if since_s is None:
        return EXIT_CONFIG
    try:
        given = None if file is None else _load(settings, file)
    except DocumentError as error:
        tell(error.problems)
        return EXIT_CONFIG

    def choose(texts: Texts) -> Policy:
        return given if given is not None else version_of(texts, against or "")

    async def run(store: RedisStore | None) -> Replayed:
        return await replay_history(store, settings.data_dir, choose, since_s=since_s)

    try:
        found = with_history(settings, run)
    except UnknownVersion as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIG
    except DocumentError as error:
        tell(error.problems)
        return EXIT_CONFIG
    if found is None:
        return EXIT_FAILURE
    _print(found, span=span, as_json=as_json)
    if plot is not None:
        from gateway.plots import plot_replay  # noqa: PLC0415 - only who plots waits for matplotlib

        plot_replay(found.replay, plot)
    is_bad = found.replay.violation_count or found.replay.repeated < found.replay.repeatable
    return EXIT_FAILURE if is_bad else EXIT_OK


def _load(settings: Settings, file: Path) -> Policy:
    models = load_models(read_text(settings.models, source=str(settings.models)), source=str(settings.models))
    return load_policy(read_text(file, source=str(file)), source=str(file), groups=models.groups)


def _print(found: Replayed, *, span: str, as_json: bool) -> None:
    replayed = found.replay
    if as_json:
        shown = {**asdict(replayed), "other": found.other, "unreadable": found.unreadable}
        sys.stdout.write(orjson.dumps(shown).decode() + "\n")
        return
    console = Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH)
    for line in _summary(found, span):
        console.print(Text(line))
    console.print(_routes(replayed))
    if replayed.most_changed:
        console.print(_changes(replayed))
    for line in replayed.budgeted.lines:
        console.print(Text(line))
    for title, lines in (("violation", replayed.violations), ("not repeated", replayed.not_repeated)):
        for line in lines:
            console.print(Text(f"{title}: {line}", style="bold red"))


def _summary(found: Replayed, span: str) -> Iterator[str]:
    replayed = found.replay
    yield f"{replayed.policy} {replayed.policy_version} over {replayed.requests} requests of the last {span}"
    if found.other or found.unreadable:
        yield f"left out: {found.other} under other policies, {found.unreadable} without a recorded decision"
    if replayed.repeatable:
        yield f"made under this very version: {replayed.repeatable}, repeated exactly: {replayed.repeated}"
    lost = ", ".join(f"{count} {why}" for why, count in sorted(replayed.lost_hits.items()) if why) or "none"
    yield f"cache hits kept: {replayed.kept_hits}; lost: {lost} (to be paid: {usd(replayed.lost_hits_nanousd)} USD)"
    yield from _budgets(replayed)
    if replayed.undecided:
        yield f"undecided: {replayed.undecided} (nothing recorded to choose with)"
    yield f"other first model: {replayed.changed}; violations: {replayed.violation_count}"


def _budgets(replayed: Replay) -> Iterator[str]:
    """Say what budgets do by what they had left then, what that takes for granted, and what they do by costs alone."""
    found = replayed.budgeted
    if found.narrowed_then or found.refused_then or found.narrowed_now or found.refused_now:
        yield (
            f"plans narrowed by budgets: {found.narrowed_then} then, {found.narrowed_now} now;"
            f" refused: {found.refused_then} then, {found.refused_now} now"
        )
        if replayed.repeatable < replayed.requests:
            yield (
                "  taken for granted: each budget had left what was recorded, more or less by what its limit has moved;"
                " what this file would have spent before, and budgets that it adds, are not in that"
            )
    if found.unknown:
        yield (
            f"{found.unknown} decisions replayed without narrowing: nobody wrote down what these budgets had left"
            " (older entries, other budgets, or it ended before one was asked)"
        )
    for row in replayed.refusals:
        yield f"budget {row.budget}: by the sum of costs about {row.requests} requests of {row.holders} holders refused"


def _routes(replayed: Replay) -> Table:
    headings = ("route", "", "requests", "models", "USD", "p50 s", "p95 s", "no price")
    table = Table(*headings, title="routes, then and now", title_justify="left")
    for row in replayed.routes:
        for name, side in (("then", row.then), ("now", row.now)):
            table.add_row(*map(Text, (row.route, name, *_side(side))), end_section=name == "now")
    return table


def _side(side: Side) -> tuple[str, ...]:
    asked = sum(side.models.values())
    models = ", ".join(f"{name} {100 * count / asked:.0f} %" for name, count in side.models.items())
    times = ("-" if time_s is None else f"{time_s:.3f}" for time_s in (side.p50_s, side.p95_s))
    return (str(side.requests), models or "-", usd(side.cost_nanousd), *times, str(side.unpriced))


def _changes(replayed: Replay) -> Table:
    headings = ("request", "route", "model", "USD", "reason then", "reason now")
    table = Table(*headings, title="most changed decisions", title_justify="left")
    for change in replayed.most_changed:
        pairs = (
            (change.route_then, change.route_now),
            (change.model_then or "none", change.model_now or "none"),
            (usd(change.cost_then_nanousd), usd(change.cost_now_nanousd)),
        )
        moved = (then if then == now else f"{then} → {now}" for then, now in pairs)
        table.add_row(*map(Text, (change.request_id, *moved, change.reason_then, change.reason_now)))
    return table
