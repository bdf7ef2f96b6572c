"""A Redis 8 for the tests of vector sets: found, or unpacked from the distribution's own packages beside the system.

Installs nothing and needs no rights: packages go into a folder of the user's cache, signed and checked by apt, once.
Must not take longer than `LONGEST_S`; where there is none to be had it says why, and remembers that for a while.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.clock import SystemClock

LONGEST_S = 90.0
AGAIN_AFTER_S = 6 * 3600.0
"""A machine that could not reach its packages is not made to try at every run."""
_CLOCK = SystemClock()
_SUITE = "trixie"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_PACKAGES = (
    *("redis-tools", "libc6", "libgcc-s1", "libstdc++6", "libatomic1", "libjemalloc2", "liblzf1", "libssl3t64"),
    *("libsystemd0", "libcap2", "libzstd1", "zlib1g"),
)
"""The server's program lies in redis-tools; the rest is what it links, as the system's own may be older."""


class NoRedis8(Exception):
    """There is none, and why."""


def redis8() -> str:
    """Return the path of a redis-server of version 8 or later; may take ten seconds the first time.

    Raises NoRedis8.
    """
    found = os.environ.get("FOREWORD_REDIS8") or shutil.which("redis-server")  # noqa: TID251 - no setting of serve
    if found is not None and _major(found) >= 8:
        return found
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "foreword-tests"  # noqa: TID251 - same
    server = home / f"redis8-{_SUITE}" / "redis-server"
    with _alone(home):
        if server.exists() and _major(str(server)) >= 8:
            return str(server)
        failure = home / "redis8-failure.txt"
        if failure.exists() and _CLOCK.now() - failure.stat().st_mtime < AGAIN_AFTER_S:
            raise NoRedis8(f"{failure.read_text()} (tried not long ago; delete {failure.name} to try again)")
        try:
            _unpack(server.parent)
        except NoRedis8 as error:
            failure.write_text(str(error))
            raise
    return str(server)


def _major(server: str) -> int:
    """Return the server's major version, 0 where it does not run."""
    try:
        said = subprocess.run([server, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    version = re.search(r"v=(\d+)\.", said)
    return int(version[1]) if version is not None else 0


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Let one process at a time look into `home`: test processes start together."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        file = (home / "lock").open("w")
    except OSError as error:
        raise NoRedis8(f"no folder for it: {error}") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _unpack(folder: Path) -> None:
    """Fetch and unpack the packages into `folder`, all or nothing. Raises NoRedis8."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NoRedis8("neither redis-server 8 nor apt here")
    if not _KEYRING.exists():
        raise NoRedis8("no keyring of Debian's archive here, so its packages could not be checked")
    until_s = _CLOCK.monotonic() + LONGEST_S
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        work = Path(made)
        options = _apt_options(work)
        _run(["apt-get", *options, "-qq", "update"], work, until_s)
        _run(["apt-get", *options, "-qq", "download", *_PACKAGES], work, until_s)
        for package in sorted(work.glob("*.deb")):
            _run(["dpkg-deb", "-x", package.name, "root"], work, until_s)
            package.unlink()
        shutil.rmtree(folder, ignore_errors=True)
        (work / "root").rename(folder)
    loaders = sorted(folder.glob("usr/lib/*/ld-linux-*.so.*"))
    if not loaders:
        raise NoRedis8("its packages hold no loader for this machine")
    loader = loaders[0]
    launcher = folder / "redis-server"
    launcher.write_text(
        f'#!/bin/sh\nexec "{loader}" --argv0 redis-server --library-path "{loader.parent}"'
        f' "{folder}/usr/bin/redis-check-rdb" "$@"\n'
    )
    launcher.chmod(0o755)
    if _major(str(launcher)) < 8:
        raise NoRedis8("what its packages hold does not run here")


def _apt_options(work: Path) -> list[str]:
    """Return what makes apt work in a folder of its own, from the mirror that the system itself uses."""
    sources = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    lines = [line for path in sources if path.is_file() for line in path.read_text(errors="replace").splitlines()]
    found = (re.search(r"https?://\S+/debian/?(?=\s|$)", line) for line in lines if not line.lstrip().startswith("#"))
    mirror = next((match[0] for match in found if match is not None), None)
    if mirror is None:
        raise NoRedis8("no Debian mirror in apt's sources")
    (work / "lists" / "partial").mkdir(parents=True)
    (work / "our.list").write_text(f"deb [signed-by={_KEYRING}] {mirror} {_SUITE} main\n")
    given = {
        "Dir::Etc::SourceList": work / "our.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": work / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": work,
        "APT::Sandbox::User": "",
        "Acquire::Retries": 0,
        "Acquire::Languages": "none",
        "Acquire::http::Timeout": 10,
        "Acquire::https::Timeout": 10,
    }
    return [part for name, value in given.items() for part in ("-o", f"{name}={value}")]


def _run(command: list[str], work: Path, until_s: float) -> None:
    left_s = max(1.0, until_s - _CLOCK.monotonic())
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False, timeout=left_s)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoRedis8(f"{command[0]}: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        # apt's own words name hosts, which are nobody's business but this machine's.
        raise NoRedis8(f"{command[0]} {command[-1]}: exit {done.returncode}; {len(said)} lines of complaint")


if __name__ == "__main__":
    print(redis8())  # noqa: T201 - for whoever wants FOREWORD_REDIS8
