"""The shape of the house: what lies at the top, how long a file and a function may be, what an __init__ may hold."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.arch.house import PACKAGES, ROOT, committed_files, source_files

TOP_LEVEL = {
    *PACKAGES, "tests", "deploy", ".ci", ".gitignore", ".dockerignore", "pyproject.toml", "Makefile",
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE",
    "requirements.in", "requirements.lock", "requirements-dev.in", "requirements-dev.lock",
    "requirements-build.in", "requirements-build.lock", "requirements-nodeps.lock",
}  # fmt: skip

MAX_FILE_LINES = 300
MAX_TEST_FILE_LINES = 450  # deploy/adr/0004
MAX_FUNCTION_LINES = 40

# A file ("gateway/x.py") or a function ("gateway/x.py:name") that may be longer, and the ADR in deploy/adr/ saying why.
_SIZES = "0004-where-the-size-limits-give-way.md"
LONGER: dict[str, str] = {"gateway/trail.py:_outcome": _SIZES}
# An __init__ that holds more than its table, and the ADR saying why.
MORE_THAN_A_TABLE = {"router/backends/__init__.py": _SIZES}

PYTHON_FILES = (*source_files(), *sorted((ROOT / "tests").rglob("*.py")))


def _functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield every function's name and its length in lines, without its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            documented = ast.get_docstring(node) is not None
            docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
            yield node.name, (node.end_lineno or 0) - node.lineno + 1 - docstring


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_nothing_new_lies_at_the_top_level() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in committed_files()} - TOP_LEVEL == set()


def test_no_file_is_longer_than_the_limit() -> None:
    lengths = {_relative(path): len(path.read_text("utf-8").splitlines()) for path in PYTHON_FILES}
    limits = {name: MAX_TEST_FILE_LINES if name.startswith("tests/") else MAX_FILE_LINES for name in lengths}
    assert {name: n for name, n in lengths.items() if n > limits[name] and name not in LONGER} == {}


def test_no_function_is_longer_than_the_limit() -> None:
    lengths = {
        f"{_relative(path)}:{name}": length
        for path in PYTHON_FILES
        for name, length in _functions(ast.parse(path.read_text("utf-8")))
    }
    assert {name: n for name, n in lengths.items() if n > MAX_FUNCTION_LINES and name not in LONGER} == {}


def test_whatever_is_longer_has_its_reason_written_down() -> None:
    reasons = {
        name: (ROOT / "deploy" / "adr" / adr).read_text("utf-8")
        for name, adr in {**LONGER, **MORE_THAN_A_TABLE}.items()
    }
    assert [name for name, reason in reasons.items() if name.partition(":")[0] not in reason] == []


def test_an_init_file_is_empty_or_holds_one_table() -> None:
    """One table: a docstring, imports, one assignment and the docstring below it."""
    offenders = []
    for path in (path for path in source_files() if path.name == "__init__.py"):
        body = ast.parse(path.read_text("utf-8")).body
        rest = [node for node in body if not isinstance(node, ast.Import | ast.ImportFrom)]
        tables = [node for node in rest if isinstance(node, ast.Assign | ast.AnnAssign)]
        strings = [node for node in rest if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
        if len(tables) > 1 or len(tables) + len(strings) != len(rest):
            offenders.append(_relative(path))
    assert set(offenders) == set(MORE_THAN_A_TABLE)


def test_a_decision_record_is_one_page() -> None:
    records = sorted((ROOT / "deploy" / "adr").glob("*.md"))
    assert records
    assert {path.name: n for path in records if (n := len(path.read_text("utf-8").split())) > 500} == {}
