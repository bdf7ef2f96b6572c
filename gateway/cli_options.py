"""The command line's shapes that are more than a line: policy's actions and report's options. Must not run anything."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str) -> argparse.ArgumentParser:
    """No abbreviations: `--admin-key SECRET` must not pass for --admin-key-file, where ps would show it."""
    return commands.add_parser(name, help=text, description=text, allow_abbrev=False)


def policy_actions(parser: argparse.ArgumentParser) -> Sequence[argparse.ArgumentParser]:
    """Add lint, show, replay, explain and diff."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    replay = add(actions, "replay", "decide recorded requests again, under another policy; 1 on a violation")
    replay.add_argument("file", nargs="?", type=Path, help="the policy file to try")
    replay.add_argument("--against", metavar="VERSION", help="a recorded version instead of a file")
    _since(replay)
    replay.add_argument("--plot", type=Path, metavar="FILE.png", help="draw then and now")
    explain = add(actions, "explain", "show one request's plan and why, calling nobody")
    explain.add_argument("--request", type=Path, required=True, metavar="FILE", help="the request's JSON body")
    explain.add_argument("--tenant", default="default", help="who asks (default: %(default)s)")
    explain.add_argument("--session", default="", help="the conversation it belongs to")
    explain.add_argument("--tags", default="", metavar="KEY=VALUE,…", help="as x-foreword-tags")
    explain.add_argument("--dialect", choices=("chat", "embeddings"), default="chat", help="which endpoint")
    explain.add_argument("--unhealthy", default="", metavar="MODEL,…", help="models taken to be out of service")
    explain.add_argument("--draw", type=float, default=0.5, help="the draw, from 0 to 1 (default: %(default)s)")
    explain.add_argument("--budget-left", type=_usd, metavar="USD", help="what its tightest budget has left")
    diff = add(actions, "diff", "show every key that two policy files do not have in common")
    diff.add_argument("old", type=Path)
    diff.add_argument("new", type=Path)
    lint = add(actions, "lint", "check policy files and the models file")
    return with_json((lint, add(actions, "show", "show the routes of every policy"), replay, explain, diff))


def report_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add what `report` takes."""
    _since(parser)
    by = ("tenant", "route", "model", "day")
    parser.add_argument("--by", choices=by, default="tenant", help="a line for each (default: %(default)s)")
    parser.add_argument("--warming", action="store_true", help="what warming was good for, by predictor")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw that; with --warming alone")
    return with_json((parser,))[0]


def _usd(text: str) -> float:
    found = float(text)
    if not 0 <= found < float("inf"):
        raise ValueError
    return found


def _since(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", default="7d", metavar="DURATION", help="how far back (default: %(default)s)")


def with_json(parsers: Sequence[argparse.ArgumentParser]) -> Sequence[argparse.ArgumentParser]:
    """Let each of them answer in JSON."""
    for parser in parsers:
        parser.add_argument("--json", action="store_true", help="JSON for scripts")
    return parsers
