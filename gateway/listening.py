"""The sockets that the parent opens once and its workers inherit.

Must not accept on them: SO_REUSEPORT is not used either, because a dying worker would take its accept queue with it.
"""

from __future__ import annotations

import errno
import resource
import socket

from gateway.setting_types import Address

BACKLOG = 2048
MOST_OPEN_FILES = 1_048_576
"""Some systems' hard limit is a thousand times this, and libraries that walk over it would take minutes."""


class CannotServe(Exception):
    """The gateway cannot start; the message names what is in the way and what would help."""


def allow_many_connections() -> None:
    """Raise the limit of open files as far as it may go: the usual 1,024 would end at 500 streams in flight."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def listen(address: Address, *, setting: str) -> list[socket.socket]:
    """Bind and listen on every address that `host` stands for; port 0 takes one free port for all of them.

    Raises CannotServe; `setting` is the flag that the message names.
    """
    sockets: list[socket.socket] = []
    port = address.port
    try:
        found = socket.getaddrinfo(address.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, where in dict.fromkeys(found):
            made = socket.socket(family, kind, protocol)
            sockets.append(made)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind((where[0], port, *where[2:]))
            made.listen(BACKLOG)
            made.setblocking(False)
            port = made.getsockname()[1]
    except OSError as error:
        for made in sockets:
            made.close()
        raise CannotServe(_why_not(address, port, setting, error)) from error
    return sockets


def _why_not(address: Address, port: int, setting: str, error: OSError) -> str:
    place = f"cannot listen on {address.host}:{port}"
    variable = f"FOREWORD_{setting.upper().replace('-', '_')}"
    if error.errno == errno.EADDRINUSE:
        return f"{place}: something else listens there; stop it, or choose another with --{setting} ({variable})"
    if error.errno == errno.EACCES:
        return f"{place}: not permitted; ports below 1024 need privileges: choose another with --{setting} ({variable})"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{place}: this machine has no such address; 127.0.0.1 is this machine alone, 0.0.0.0 all its addresses"
    return f"{place}: {error.strerror or error}"
