"""Forked children and the signals of their parent: the system calls of gateway.crew, without its rules.

Must run in a process without threads and without an event loop.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1
WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

TellReady = Callable[[], None]
"""Called by a child, once, when it serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forked:
    """A child. `ready` is a descriptor that becomes readable when the child has told that it serves, or has ended."""

    pid: int
    ready: int


class Signals:
    """Receives the watched signals without acting in a handler. Use `watching`."""

    def __init__(self, reader: socket.socket) -> None:
        self._reader = reader

    def wait(self, timeout_s: float, *, also: Iterable[int] = ()) -> Sequence[int]:
        """Return the signals that came, waiting up to `timeout_s` seconds for the first, or for one of `also` to be
        readable.
        """
        reader = self._reader.fileno()
        if reader not in select.select([reader, *also], [], [], max(0.0, timeout_s))[0]:
            return ()
        return tuple(self._reader.recv(4096))


@contextmanager
def watching() -> Iterator[Signals]:
    """Collect the watched signals from here on; restores the old handlers at the end."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    old_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    old = {number: signal.signal(number, _noted) for number in WATCHED}
    try:
        yield Signals(reader)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(old_fd)
        reader.close()
        writer.close()


def fork(run: Callable[[TellReady], int]) -> Forked:
    """Run `run` in a child that dies with this process; close `ready` of what is returned. Never returns in the child.

    The child has default signal handlers, but for two that reach the whole terminal and are for the parent to pass on:
    SIGINT (Ctrl-C) and SIGHUP.
    """
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    # Blocked, so that a signal that comes between fork and reset does not write into the parent's wake-up socket.
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    try:
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _become_child(parent, lambda: run(lambda: _tell(writer)))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
    os.close(writer)
    os.set_blocking(reader, False)
    return Forked(pid=pid, ready=reader)


def threads_here() -> int:
    """Return how many threads this process has, native ones included; 1 where the system does not say."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 1


def has_lost_terminal(was_terminal: bool) -> bool:
    """Return whether the terminal that this process was started at has gone: SIGHUP then means the end, as it used to.

    POSIX.1-2017, general terminal interface, "Modem Disconnect": reads and controls of it fail from then on.
    """
    if not was_terminal:
        return False
    try:
        os.tcgetpgrp(0)
    except OSError:
        return True
    return False


def how_it_ended(code: int) -> str:
    """Say in words what an exit code is; negative ones are signals."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _tell(writer: int) -> None:
    with suppress(BrokenPipeError):  # the parent is gone, and its death signal under way
        os.write(writer, b"1")
    os.close(writer)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """The wake-up socket has it."""


def _become_child(parent: int, run: Callable[[], int]) -> None:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        gc.enable()
        if os.getppid() == parent:  # else it died before the kernel knew our wish
            code = run()
    finally:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
