"""The files of the embedded Redis: where they lie, who has them, and what a killed gateway left running there.

Must not start a server; see gateway/stores/embedded.py.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from gateway.private_folder import NotOurs, make_private, socket_path

PING_LIMIT_S = 1.0
STOP_LIMIT_S = 10.0
STEP_S = 0.01


class EmbeddedRedisFailed(Exception):
    """redis-server is here but cannot serve this data directory; the message says why and what would help."""


class RedisHome:
    """The places that one embedded redis-server uses below a data directory."""

    def __init__(self, data_dir: Path, runtime_dir: Path | None) -> None:
        self.data_dir = data_dir.absolute()
        self.folder = self.data_dir / "redis"
        self.config = self.folder / "redis.conf"
        self.log = self.folder / "redis.log"
        self.pid_file = self.folder / "redis.pid"
        self.socket = socket_path(self.folder / "redis.sock", runtime_dir)

    @property
    def url(self) -> str:
        """Return the URL of the server's socket."""
        return f"unix://{quote(str(self.socket))}"

    def make(self) -> None:
        """Create the directories, ours alone. Raises EmbeddedRedisFailed where one belongs to somebody else."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            for folder in (self.folder, self.socket.parent):
                make_private(folder)
        except NotOurs as error:
            raise EmbeddedRedisFailed(str(error)) from error
        except OSError as error:
            raise EmbeddedRedisFailed(f"{error.filename}: cannot be used for data: {error.strerror}") from error

    def lock(self) -> int:
        """Lock the data directory and return the lock's descriptor. Raises EmbeddedRedisFailed naming the holder."""
        path = self.data_dir / "lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise EmbeddedRedisFailed(
                f"{self.data_dir}: in use by another gateway, pid {holder}; stop that one or give another --data-dir"
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, b"%d\n" % os.getpid())
        return lock

    def check_format(self, binary: str) -> None:
        """Refuse data that `binary` would not find: Redis 6 looks past the files of Redis 7 and would start empty."""
        if not (self.folder / "appendonlydir").is_dir():
            return
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
        major = re.search(r"v=(\d+)\.", said)
        if major is not None and int(major[1]) < 7:
            raise EmbeddedRedisFailed(
                f"{self.folder}: written by Redis 7 or later, but {binary} is {major[0][2:]}x; "
                "put a redis-server of version 7 or later into PATH"
            )

    def end_orphan(self) -> None:
        """End a server that outlived its gateway, saving where it still answers. Call it with the lock held."""
        pid = self._orphan()
        if pid is None:
            return
        answers = ping(self.socket) != b""
        os.kill(pid, signal.SIGTERM if answers else signal.SIGKILL)
        for step in range(int(STOP_LIMIT_S / STEP_S)):
            if self._orphan() is None:
                return
            if step == int(STOP_LIMIT_S / STEP_S / 2):
                os.kill(pid, signal.SIGKILL)
            time.sleep(STEP_S)
        raise EmbeddedRedisFailed(f"{self.folder}: redis-server {pid} of an earlier gateway does not end; kill it")

    def _orphan(self) -> int | None:
        """Return the process that the pid file names, if it is a redis-server at work in this folder."""
        try:
            pid = int(self.pid_file.read_text())
            named = Path(f"/proc/{pid}/comm").read_text()
            works_here = Path(f"/proc/{pid}/cwd").resolve(strict=True) == self.folder.resolve()
        except (OSError, ValueError):
            return None
        return pid if works_here and "redis" in named else None

    def last_words(self) -> str:
        """Return the end of the server's log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return " | ".join(line.strip() for line in lines[-3:]) or "it wrote no log"


def ping(path: Path) -> bytes:
    """Ask PING over the socket at `path`: `+PONG`, an error such as `-LOADING …`, or nothing if there is no answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PING_LIMIT_S)
        try:
            connection.connect(os.fspath(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(256).strip()
        except OSError:
            return b""
