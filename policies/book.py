"""The policies in force, replaced whole when their files change and not at all when a file is bad.

Polls and hashes contents: a Kubernetes ConfigMap is swapped by a symbolic link, which inotify does not see.
Must not start a task or log: whoever calls `refresh` says what happened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from policies.document import DocumentError, Problem
from policies.load import load_policy, read_text
from policies.model import Policy
from policies.patterns import matches

MODELS_FILE = "models.yaml"
DEFAULT = "default"
_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySet:
    """Policies in the order in which they are asked; the last one applies to every tenant.

    `version` is the first 12 hex digits of a SHA-256 over all files; `texts` are the files by their policy's name.
    """

    version: str
    policies: tuple[Policy, ...]
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)

    def for_tenant(self, tenant: str) -> Policy:
        """Return the first policy that applies to `tenant`; total, because the last one applies to all."""
        for policy in self.policies:
            for pattern in policy.tenants:
                if matches(pattern, tenant):
                    return policy
        return self.policies[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """The files had changed, and are in force now."""

    policies: PolicySet


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """The files are those in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The files are not those in force and cannot be; `is_new` is False when the last refresh said the same."""

    problems: tuple[Problem, ...]
    is_new: bool


class PolicyBook:
    """The one owner of the policies in force. `current` is safe from any thread; call `refresh` from one at a time."""

    def __init__(self, directory: Path, *, groups: Collection[str], models_file: Path | None = None) -> None:
        """Load every *.yaml of `directory` but models.yaml and `models_file`. Raises DocumentError if any is bad.

        `groups` are all model names of the models file, usable or not: a policy may name a model whose key is absent.
        """
        self._directory = directory
        self._groups = frozenset(groups)
        self._models_file = models_file
        texts = read_directory(directory, models_file=models_file)
        self._texts = texts
        self._refused: tuple[Problem, ...] = ()
        self._current = compile_set(texts, groups=self._groups, directory=directory)

    @property
    def groups(self) -> frozenset[str]:
        """Every model that a policy may name."""
        return self._groups

    def current(self) -> PolicySet:
        """Return the set in force: one attribute read. Take it once per request."""
        return self._current

    def refresh(self) -> Reloaded | Unchanged | Rejected:
        """Read the files and put them in force if they changed and are all good; otherwise the last good set stays.

        Blocks on file reads (milliseconds): call it off the event loop. A file that is gone is a bad file, so that a
        half-finished copy never takes a tenant's rules away; to retire a policy without a restart, give it
        `tenants: []`.
        """
        try:
            texts = read_directory(self._directory, models_file=self._models_file)
            if texts == self._texts:
                self._refused = ()
                return Unchanged()
            gone = [name for name in self._texts if name not in texts]
            if gone:
                raise DocumentError(tuple(_gone(self._directory, name) for name in gone))
            compiled = compile_set(texts, groups=self._groups, directory=self._directory)
        except DocumentError as error:
            is_new = error.problems != self._refused
            self._refused = error.problems
            return Rejected(problems=error.problems, is_new=is_new)
        self._texts, self._refused = texts, ()
        self._current = compiled
        return Reloaded(policies=compiled)


def read_directory(directory: Path, *, models_file: Path | None = None) -> Mapping[str, str]:
    """Return the texts of a directory's policy files by file name, in the order in which they are asked.

    That is by name, with default.yaml last. Raises DocumentError for all files that cannot be read.
    """
    skipped = {MODELS_FILE}
    if models_file is not None and models_file.parent.resolve() == directory.resolve():
        skipped.add(models_file.name)
    try:
        # Editors leave hidden files, and a ConfigMap has hidden directories.
        names = sorted(
            (path.name for path in directory.iterdir() if path.suffix in _SUFFIXES and path.name[0] != "."),
            key=lambda name: (Path(name).stem == DEFAULT, name),
        )
    except OSError as error:
        problem = Problem(
            source=str(directory),
            line=1,
            key="(directory)",
            value=error.strerror or "unreadable",
            expected="a directory with policy files",
        )
        raise DocumentError((problem,)) from error
    texts: dict[str, str] = {}
    problems: list[Problem] = []
    for name in names:
        if name in skipped:
            continue
        try:
            texts[name] = read_text(directory / name, source=str(directory / name))
        except DocumentError as error:
            problems += error.problems
    if problems:
        raise DocumentError(tuple(problems))
    return texts


def compile_set(texts: Mapping[str, str], *, groups: Collection[str] | None, directory: Path) -> PolicySet:
    """Compile all files. Raises DocumentError with the problems of all of them, and of what they are together."""
    policies: list[Policy] = []
    by_policy: dict[str, str] = {}
    problems: list[Problem] = []
    digest = hashlib.sha256()
    for name, text in texts.items():
        digest.update(f"{name}\0{len(text)}\0{text}".encode())
        try:
            policies.append(load_policy(text, source=str(directory / name), groups=groups))
            by_policy[policies[-1].name] = text
        except DocumentError as error:
            problems += error.problems
    problems += _set_problems(policies, texts, directory)
    if problems:
        raise DocumentError(tuple(problems))
    return PolicySet(version=digest.hexdigest()[:12], policies=tuple(policies), texts=by_policy)


def _set_problems(policies: list[Policy], texts: Mapping[str, str], directory: Path) -> list[Problem]:
    problems: list[Problem] = []
    if not any(Path(name).stem == DEFAULT for name in texts):
        problems.append(_gone(directory, f"{DEFAULT}.yaml"))
    first: dict[str, str] = {}
    for policy in policies:
        if policy.name in first:
            expected = f"must be unique; {first[policy.name]} has it too"
            problems.append(Problem(source=policy.source, line=1, key="policy", value=policy.name, expected=expected))
        first.setdefault(policy.name, policy.source)
        if Path(policy.source).stem == DEFAULT and "*" not in policy.tenants:
            expected = 'must be absent or ["*"]: the default applies to everyone whom no other file names'
            value = ", ".join(policy.tenants) or "[]"
            problems.append(Problem(source=policy.source, line=1, key="tenants", value=value, expected=expected))
    return problems


def _gone(directory: Path, name: str) -> Problem:
    expected = "must be there: it applies to every tenant whom no other file names"
    if Path(name).stem != DEFAULT:
        expected = "put it back; to retire it give it `tenants: []`, or remove it and restart"
    return Problem(source=str(directory / name), line=1, key="(file)", value="missing", expected=expected)
