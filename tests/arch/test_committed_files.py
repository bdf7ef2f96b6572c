"""What may be in no committed file: this machine's paths, a registry's address; and what a lock must hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.arch.house import ROOT, committed_files

# One letter in brackets, so that this file passes its own test.
BANNED = re.compile(
    r"/wor[k]/|/roo[t]/|/opt/pyp[i]|/home/\w+[/]|pypi\.or[g]|pythonhosted\.or[g]|--(extra-)?index-ur[l]|--find-link[s]"
)
MAY_LOOK_FOR_SHARED_DATA = (
    "gateway/demo",
    "gateway/commands/demo",
    "tests/bench/",
    "README.md",
    "CONTRIBUTING.md",
    "Makefile",
)
LOCKS = tuple(sorted(ROOT.glob("requirements*.lock")))
REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)", re.MULTILINE)


def _text(path: Path) -> str:
    return path.read_text("utf-8", errors="replace")


def _pins(lock: Path) -> dict[str, str]:
    return {match["name"]: match["version"] for match in REQUIREMENT.finditer(_text(lock))}


def test_no_committed_file_names_a_registry_or_a_path_of_somebodys_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in committed_files()
        for number, line in enumerate(_text(path).splitlines(), start=1)
        if BANNED.search(line)
    ]
    assert found == []


def test_only_the_demo_and_the_benchmarks_look_beside_the_repository() -> None:
    beside = re.compile(r"\.\./share[d]")
    found = [str(path.relative_to(ROOT)) for path in committed_files() if beside.search(_text(path))]
    assert [name for name in found if not name.startswith(MAY_LOOK_FOR_SHARED_DATA)] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_line_of_a_lock_is_an_exact_version_with_hashes_and_no_address(lock: Path) -> None:
    entries = re.sub(r"\\\n\s+", " ", re.sub(r"^\s*#.*\n", "", _text(lock), flags=re.MULTILINE)).splitlines()
    assert entries
    form = re.compile(r"[A-Za-z0-9._-]+==\S+( ; [^@:]+?)?(\s+--hash=sha256:[0-9a-f]{64})+")
    assert [entry for entry in entries if not form.fullmatch(entry.strip())] == []


def test_what_is_tested_is_what_is_shipped() -> None:
    shipped, tested = _pins(ROOT / "requirements.lock"), _pins(ROOT / "requirements-dev.lock")
    assert shipped.items() <= tested.items()


@pytest.mark.parametrize(
    ("asked", "locks"),
    [
        ("requirements.in", "requirements.lock"),
        ("requirements-dev.in", "requirements-dev.lock"),
        ("requirements-build.in", "requirements-build.lock"),
    ],
)
def test_a_lock_holds_all_that_was_asked_for(asked: str, locks: str) -> None:
    names = {name.lower() for name in re.findall(r"^([A-Za-z0-9_-]+)", _text(ROOT / asked), re.MULTILINE)}
    assert names
    assert names <= {name.lower() for name in _pins(ROOT / locks)}
