"""Imports every module of the product alone and prints what happened as JSON; run by test_imports.py, not by pytest.

Must not run in pytest's process: what is measured is an interpreter in which nothing of ours is loaded. One interpreter
a module would cost LiteLLM's 6 s of CPU each time, so: third-party libraries are loaded once, watched as well, and each
module is imported in a fork in which none of ours is loaded. What needs LiteLLM is forked again from a process that has
it.
"""

from __future__ import annotations

import ast
import gc
import importlib
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Final, TypedDict, TypeVar

T = TypeVar("T")
DOOR: Final = "router.litellm_door"
WATCHED: Final = ("socket.", "subprocess.", "os.fork", "os.posix_spawn", "os.system", "_thread.start")
# urllib3 binds a socket to ::1, and closes it, to find out whether there is IPv6; it never sends anything.
KNOWN: Final = ("urllib3/util/connection.py",)
BY_ITS_DOOR: Final = frozenset({"onnxruntime"})
"""Libraries not loaded beforehand, because their door must set their environment first."""


class Result(TypedDict):
    """What importing one module did."""

    needs_litellm: bool
    error: str | None
    events: list[str]
    threads: int


class Watch:
    """Records what an import asks of the operating system that an import must not ask."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.is_on = True
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.is_on or not event.startswith(WATCHED):
            return
        frames = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_stack()[:-1]]
        if not any(known in frame for known in KNOWN for frame in frames):
            self.events.append(f"{event}{arguments!r} from {frames[-1]}")


class NeedsLiteLLM(BaseException):
    """Stops an import that has reached LiteLLM; no `except Exception` on its way swallows it."""


class Fence:
    """A finder that stops at LiteLLM."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "litellm":
            raise NeedsLiteLLM
        return None


def alone(name: str, watch: Watch) -> Result:
    """Import `name` and tell what happened."""
    watch.is_on = True
    watch.events.clear()
    result = Result(needs_litellm=False, error=None, events=watch.events, threads=1)
    try:
        importlib.import_module(name)
    except NeedsLiteLLM:
        result["needs_litellm"] = True
    except BaseException:  # noqa: BLE001 - whatever it is, it is the finding
        result["error"] = traceback.format_exc()
    tasks = Path("/proc/self/task")  # counts native threads too
    result["threads"] = len(list(tasks.iterdir())) if tasks.is_dir() else threading.active_count()
    return result


def in_fork(work: Callable[[], T]) -> T:
    """Return what `work` returns in a fork of this process, through JSON."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with os.fdopen(writer, "w") as pipe:
            json.dump(work(), pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    found: T = json.loads(answer)
    return found


def third_party(files: Iterable[Path], ours: frozenset[str]) -> list[str]:
    """Return every library that `files` import at module level, but for LiteLLM."""
    names: set[str] = set()
    for path in files:
        with suppress(SyntaxError):  # the import itself will report it, by module
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, ast.Import):
                    names.update(alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    names.add(node.module)
    known = ours | sys.stdlib_module_names | {"litellm"}
    return sorted(name for name in names if name.partition(".")[0] not in known)


def probe(modules: Sequence[str], watch: Watch) -> dict[str, Result]:
    """Import each of `modules` in a fork of its own, fenced off from LiteLLM; those that reach it again, with it."""
    watch.is_on = False
    gc.freeze()
    results = {name: in_fork(partial(fenced, name, watch)) for name in modules}
    unfinished = [name for name in modules if results[name]["needs_litellm"]]
    if unfinished:
        results |= in_fork(partial(with_litellm, unfinished, watch))
    return results


def fenced(name: str, watch: Watch) -> Result:
    """Import `name`, stopping at LiteLLM."""
    sys.meta_path.insert(0, Fence())
    return alone(name, watch)


def with_litellm(modules: Sequence[str], watch: Watch) -> dict[str, Result]:
    """Import the door to LiteLLM, forget everything of ours again, then import each of `modules` in a fork."""
    door = alone(DOOR, watch)
    watch.is_on = False
    packages = {name.partition(".")[0] for name in modules}
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]
    gc.freeze()
    found = {name: door if name == DOOR else in_fork(partial(alone, name, watch)) for name in modules}
    return {name: Result(**{**result, "needs_litellm": True}) for name, result in found.items()}


def main(root: Path, modules: Sequence[str]) -> None:
    """Print {"libraries": Result, module: Result, ...}."""
    sys.path.insert(0, str(root))
    ours = frozenset(name.partition(".")[0] for name in modules)
    watch = Watch()
    files = [path for package in sorted(ours) for path in (root / package).rglob("*.py")]
    libraries = Result(needs_litellm=False, error=None, events=[], threads=1)
    for library in third_party(files, ours):
        if library.partition(".")[0] in BY_ITS_DOOR:
            continue
        found = alone(library, watch)
        libraries["events"] = [*libraries["events"], *found["events"]]
        libraries["threads"] = found["threads"]
    json.dump({"libraries": libraries} | probe(modules, watch), sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
