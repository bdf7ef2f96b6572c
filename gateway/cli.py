"""The command line: parses arguments, loads settings, and hands over to the command.

Imports each command's parts only when it runs, so that `--help` is quick. Exit codes: 0 done, 1 failed, 2 usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli_options import add, policy_actions, report_options, with_json
from gateway.version import installed_version

if TYPE_CHECKING:
    from gateway.settings import Loaded

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_CONFIG = 2

_SETTINGS_OF = {
    "serve": None,  # every one
    "warm": None,  # it is a gateway that does not listen
    "policy": ("policies", "models", "redis_url", "data_dir"),
    "keys": ("redis_url", "data_dir"),
    "report": ("redis_url", "data_dir"),
    "cache": ("redis_url", "data_dir", "policies", "models"),
}


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. argparse itself exits with 2 for wrong usage and 0 for --help."""
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    options = _parser(command).parse_args(arguments)
    if options.command == "demo":
        return _demo(options)
    loaded = _load(options)
    if loaded is None:
        return EXIT_CONFIG
    if options.command == "serve":
        return _serve(loaded, options)
    if options.command == "warm":
        return _warm(loaded)
    if options.command == "policy":
        return _policy(loaded, options)
    if options.command == "report":
        return _report(loaded, options)
    if options.command == "cache":
        return _cache(loaded, options)
    return _keys(loaded, options)


def _serve(loaded: Loaded, options: argparse.Namespace) -> int:
    if options.print_config:
        from gateway.print_config import describe

        for line in describe(loaded):
            sys.stdout.write(f"{line}\n")
        return EXIT_OK
    from gateway.settings import process_environment
    from gateway.workers import serve

    environment = process_environment()  # as it was given: what is imported later adds to it
    return serve(loaded.settings, reread=lambda: _read_settings(options, environment).settings)


def _report(loaded: Loaded, options: argparse.Namespace) -> int:
    if options.warming:
        from gateway.commands.warming import warming_report

        return warming_report(loaded.settings, span=options.since, plot=options.plot, as_json=options.json)
    if options.plot is not None:
        sys.stderr.write("--plot: only with --warming\n")
        return EXIT_CONFIG
    from gateway.commands.report import report

    return report(loaded.settings, span=options.since, by=options.by, as_json=options.json)


def _warm(loaded: Loaded) -> int:
    from gateway.commands.redis import redis_for
    from gateway.settings import export_metrics_dir

    with redis_for(loaded.settings) as settings:
        if settings is None:
            return EXIT_FAILURE
        metrics = settings.data_dir / "metrics"
        metrics.mkdir(mode=0o700, parents=True, exist_ok=True)
        export_metrics_dir(metrics)
        from gateway.documents import read_documents
        from gateway.warm import run_warmer
        from policies.document import DocumentError

        try:
            documents = read_documents(settings)
        except DocumentError as error:
            for problem in error.problems:
                sys.stderr.write(f"{problem}\n")
            return EXIT_CONFIG
        return run_warmer(settings, documents)


def _policy(loaded: Loaded, options: argparse.Namespace) -> int:
    settings = loaded.settings
    if options.action == "replay":
        from gateway.commands.replay import replay

        against, plot = options.against, options.plot
        return replay(settings, file=options.file, against=against, span=options.since, plot=plot, as_json=options.json)
    if options.action in ("explain", "diff"):
        from gateway.commands import explain

        if options.action == "diff":
            return explain.diff(options.old, options.new, as_json=options.json)
        return explain.explain_request(settings, explain.asked(options), as_json=options.json)
    from gateway.commands import policy

    act = policy.lint if options.action == "lint" else policy.show
    return act(settings, as_json=options.json)


def _keys(loaded: Loaded, options: argparse.Namespace) -> int:
    from gateway.commands import keys

    settings = loaded.settings
    if options.action == "create":
        models = None if options.allowed is None else [name.strip() for name in options.allowed.split(",")]
        return keys.create(settings, tenant=options.tenant, name=options.name, models=models, as_json=options.json)
    if options.action == "list":
        return keys.show(settings, as_json=options.json)
    return keys.revoke(settings, key_id=options.id, as_json=options.json)


def _cache(loaded: Loaded, options: argparse.Namespace) -> int:
    from gateway.commands import cache

    settings = loaded.settings
    if options.action == "stats":
        return cache.stats(settings, as_json=options.json)
    if options.action == "show":
        return cache.show(settings, answer_id=options.id, as_json=options.json)
    chosen = {name: getattr(options, f"select_{name}") for name in cache.SELECTORS}
    return cache.invalidate(settings, chosen, is_dry_run=not options.yes, as_json=options.json)


def _demo(options: argparse.Namespace) -> int:
    from gateway.commands import demo

    return demo.run_demo(base_url=options.base_url, api_key=options.api_key, sections=options.sections)


def _load(options: argparse.Namespace) -> Loaded | None:
    """Return the settings, or None after having said on stderr what is wrong with them."""
    from gateway.settings import SettingsError, keep_libraries_single_threaded, process_environment

    keep_libraries_single_threaded()
    try:
        return _read_settings(options, process_environment())
    except SettingsError as error:
        for problem in error.problems:
            sys.stderr.write(f"{problem}\n")
        return None


def _read_settings(options: argparse.Namespace, environment: Mapping[str, str]) -> Loaded:
    from gateway.settings import load_settings

    given = {name.removeprefix("set_"): value for name, value in vars(options).items() if name.startswith("set_")}
    flags = {name: value for name, value in given.items() if value is not None}
    return load_settings(flags=flags, environment=environment, config=options.config)


def _parser(command: str) -> argparse.ArgumentParser:
    """Return the parser; only the named command has its settings, which need imports."""
    parser = argparse.ArgumentParser(prog="foreword", description="An LLM gateway for chat bots.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"foreword {installed_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = add(commands, "serve", "run the gateway")
    serve.add_argument(
        "--print-config", action="store_true", help="show every setting and where it came from, and stop"
    )
    warm = add(commands, "warm", "run the warmer alone (serve starts one by itself)")
    policy = policy_actions(add(commands, "policy", "check, show, compare and replay the policies"))
    report = report_options(add(commands, "report", "what was spent and saved, from the ledger"))
    keys = _key_actions(add(commands, "keys", "make, list and revoke gateway keys"))
    cache = _cache_actions(add(commands, "cache", "show and take back stored answers"))
    _demo_options(add(commands, "demo", "send a debate through the pipeline and show what comes back"))
    takers = {"serve": (serve,), "warm": (warm,), "policy": policy, "keys": keys, "report": (report,), "cache": cache}
    for taker in takers.get(command, ()):
        _add_settings(taker, _SETTINGS_OF[command])
    return parser


def _key_actions(parser: argparse.ArgumentParser) -> Sequence[argparse.ArgumentParser]:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = add(actions, "create", "make a key and show it, this once")
    create.add_argument("--tenant", default="default", help="who the key belongs to (default: %(default)s)")
    create.add_argument("--name", default="", help="what to call it")
    create.add_argument("--models", dest="allowed", help="names separated by commas; without it every model")
    listed = add(actions, "list", "show all keys, without their secrets")
    revoke = add(actions, "revoke", "end a key, within a second")
    revoke.add_argument("id", help="the key's id, key-…")
    return with_json((create, listed, revoke))


def _cache_actions(parser: argparse.ArgumentParser) -> Sequence[argparse.ArgumentParser]:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    stats = add(actions, "stats", "how much is stored, and how every semantic class stands")
    show = add(actions, "show", "where one answer comes from, and which questions lead to it")
    show.add_argument("id", help="the answer's key, or its first 8 characters")
    invalidate = add(actions, "invalidate", "take answers back everywhere; without --yes only count them")
    for name, text in (
        ("id", "the answer with this key, or one that begins so"),
        ("tenant", "this tenant's; alone, all that is known of the tenant's classes goes too"),
        ("model", "answers of this model group"),
        ("route", "answers of this route"),
        ("epoch", "answers stored under this epoch of their route"),
        ("tag", "answers to requests with this tag, key=value"),
        ("transcript", "answers about the text with this SHA-256"),
        ("scope", "answers that questions of this semantic scope lead to"),
    ):
        invalidate.add_argument(f"--{name}", dest=f"select_{name}", help=text)
    invalidate.add_argument("--yes", action="store_true", help="do it; without this only say what would go")
    return with_json((stats, show, invalidate))


def _demo_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base-url", help="a gateway that runs; without it one is started for the demo")
    parser.add_argument("--api-key", help="a key of that gateway (default: FOREWORD_API_KEY)")
    parser.add_argument("--sections", type=int, default=1, help="sections of the debate to send (default: %(default)s)")


def _add_settings(parser: argparse.ArgumentParser, names: Sequence[str] | None) -> None:
    """Add a flag per setting. Values stay text: settings.py alone checks them, so that errors read the same."""
    from gateway.settings import NOT_FLAGS, Settings

    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file with settings, named as the flags")
    group = parser.add_argument_group("settings", "also as FOREWORD_<NAME> in the environment; flags win")
    for name, field in Settings.model_fields.items():
        if name in NOT_FLAGS or (names is not None and name not in names):
            continue
        flag = "--" + name.replace("_", "-")
        text = (field.description or name).replace("%", "%%")
        if isinstance(field.default, bool):
            group.add_argument(flag, dest=f"set_{name}", action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            default = "" if field.default is None else f" (default: {field.default!s})"
            metavar = name.rsplit("_", 1)[-1].upper()
            group.add_argument(flag, dest=f"set_{name}", metavar=metavar, help=f"{text}{default}")
