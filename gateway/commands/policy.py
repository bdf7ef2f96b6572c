"""`foreword policy lint|show`: says what is wrong with the policy files, or what they mean."""

from __future__ import annotations

import sys
from dataclasses import asdict, fields
from itertools import groupby

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.settings import Settings
from policies.book import PolicyBook
from policies.document import DocumentError, Problem
from policies.lint import lint as find_problems
from policies.load import load_models, read_text
from policies.show import Row, rows

EXIT_OK = 0
EXIT_FAILURE = 1
OF_POLICY = ("policy", "version", "tenants")
PIPED_WIDTH = 200


def lint(settings: Settings, *, as_json: bool) -> int:
    """Print every problem, one a line; 1 if there is any."""
    problems = find_problems(settings.policies, settings.models)
    if as_json:
        sys.stdout.write(orjson.dumps([asdict(problem) for problem in problems]).decode() + "\n")
    else:
        tell(problems)
        if not problems:
            sys.stdout.write(f"{settings.policies} and {settings.models}: nothing wrong\n")
    return EXIT_FAILURE if problems else EXIT_OK


def show(settings: Settings, *, as_json: bool) -> int:
    """Print one row a route, in the order in which routes are asked; 1 if the files are bad."""
    try:
        models = load_models(read_text(settings.models, source=str(settings.models)), source=str(settings.models))
        book = PolicyBook(settings.policies, groups=models.groups, models_file=settings.models)
    except DocumentError as error:
        tell(error.problems)
        return EXIT_FAILURE
    found = rows(book.current())
    if as_json:
        sys.stdout.write(orjson.dumps([asdict(row) for row in found]).decode() + "\n")
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
    return EXIT_OK


def tell(problems: tuple[Problem, ...]) -> None:
    """Print problems to stderr, one a line."""
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
