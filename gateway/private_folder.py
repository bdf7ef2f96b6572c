"""Folders that only this user may enter, and unix sockets in them whose paths are short enough.

Must not open a socket.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

MAX_SOCKET_PATH_BYTES = 103
"""What sockaddr_un holds on every system (104 on BSD, 108 on Linux) without the closing zero."""


class NotOurs(Exception):
    """The folder belongs to somebody else, who could listen in our place."""


def socket_path(wanted: Path, runtime_dir: Path | None = None) -> Path:
    """Return `wanted`, or where it is too long for a socket, one in a folder of its own under `runtime_dir` or /tmp."""
    if len(os.fsencode(wanted)) <= MAX_SOCKET_PATH_BYTES:
        return wanted
    digest = hashlib.sha256(os.fsencode(wanted.parent)).hexdigest()[:12]
    short = (runtime_dir or Path(tempfile.gettempdir())).absolute()
    return short / f"foreword-{os.geteuid()}-{digest}" / wanted.name


def make_private(folder: Path) -> None:
    """Make `folder` if it is not there, and ours alone (0700). Raises NotOurs, OSError."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise NotOurs(f"{folder}: must be a directory that belongs to uid {os.geteuid()}")
    folder.chmod(0o700)
