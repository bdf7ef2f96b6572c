"""Check the models file and every policy file, for `policy lint`. Must not keep or print anything."""

from __future__ import annotations

from pathlib import Path

from policies.book import compile_set, read_directory
from policies.document import DocumentError, Problem
from policies.load import load_models, read_text
from policies.unread import unread_keys


def lint(directory: Path, models_file: Path) -> tuple[Problem, ...]:
    """Return everything that is wrong, the models file's first; nothing at all means `serve` would start with them."""
    problems: tuple[Problem, ...] = ()
    groups: frozenset[str] | None = None
    try:
        groups = load_models(read_text(models_file, source=str(models_file)), source=str(models_file)).groups
    except DocumentError as error:
        problems += error.problems
    try:
        compile_set(read_directory(directory, models_file=models_file), groups=groups, directory=directory)
    except DocumentError as error:
        problems += error.problems
    return problems


def notes(directory: Path, models_file: Path) -> tuple[Problem, ...]:
    """Return what files without a problem say in vain; with that `serve` would start all the same."""
    texts = read_directory(directory, models_file=models_file)
    return tuple(note for name, text in texts.items() for note in unread_keys(text, source=str(directory / name)))
