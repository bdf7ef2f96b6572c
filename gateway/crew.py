"""Forked child processes: started, restarted when they die, and ended together.

Must not know what the children do, and must run in a process without threads and without an event loop.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import structlog

from gateway.ports import Clock

PR_SET_PDEATHSIG = 1
WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
ENDING = frozenset({signal.SIGTERM, signal.SIGINT})
EXIT_CONFIG = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one child runs; its return value is the exit code. Without a vital job there is no gateway."""

    name: str
    run: Callable[[], int]
    is_vital: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartRules:
    """A child that lived less than `settled_s` failed to boot; waits double from `first_wait_s` to `longest_wait_s`.

    After `most_boot_failures` in a row of one vital job the crew gives up. `kill_after_s` comes on top of the drain.
    A second signal sooner than `impatience_s` after the first is the same wish told twice.
    """

    settled_s: float = 5.0
    first_wait_s: float = 0.2
    longest_wait_s: float = 5.0
    most_boot_failures: int = 5
    kill_after_s: float = 10.0
    impatience_s: float = 1.0
    tick_s: float = 1.0


@dataclass(slots=True, kw_only=True)
class _Child:
    job: Job
    pid: int = 0
    started_s: float = 0.0
    boot_failures: int = 0
    last_code: int = 0
    due_s: float = 0.0


class Signals:
    """Receives SIGTERM, SIGINT and SIGCHLD without acting in a handler. Use `watching`."""

    def __init__(self, reader: socket.socket) -> None:
        self._reader = reader

    def wait(self, timeout_s: float) -> Sequence[int]:
        """Return the signals that came, waiting up to `timeout_s` seconds for the first one."""
        if not select.select([self._reader], [], [], max(0.0, timeout_s))[0]:
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


def fork(run: Callable[[], int]) -> int:
    """Run `run` in a child that dies with this process, and return the child's pid. Never returns in the child.

    The child has default signal handlers, but for SIGINT: Ctrl-C reaches the whole terminal, and the parent passes it
    on as SIGTERM.
    """
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    # Blocked, so that a signal that comes between fork and reset does not write into the parent's wake-up socket.
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    try:
        pid = os.fork()
        if pid == 0:
            _become_child(parent, run)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
    return pid


class Crew:
    """The owner of the children.

    `on_end` hears each ended pid, `on_stop` that all are about to be asked to end; `tick` is called about every
    `tick_s`.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        clock: Clock,
        drain_s: float,
        rules: RestartRules,
        on_end: Callable[[int], None],
        on_stop: Callable[[], None],
        tick: Callable[[], None],
    ) -> None:
        self._children = [_Child(job=job) for job in jobs]
        self._clock = clock
        self._drain_s = drain_s
        self._rules = rules
        self._on_end = on_end
        self._on_stop = on_stop
        self._tick = tick
        self._log = structlog.get_logger()

    def run(self, signals: Signals) -> int:
        """Keep the children running until a signal or a hopeless child, and return the exit code.

        0 after a signal if all children ended by themselves in time; 2 if a vital child ended with 2, which says that
        its configuration is wrong and no restart would help; else 1.
        """
        while True:
            self._start_due()
            got = signals.wait(self._wait_s())
            if ENDING.intersection(got):
                return self._end(signals)
            self._reap()
            code = self._hopeless()
            if code:
                self._end(signals)
                return code
            self._tick()

    def _start_due(self) -> None:
        now = self._clock.monotonic()
        for child in self._children:
            if not child.pid and child.due_s <= now:
                child.pid = fork(child.job.run)
                child.started_s = now

    def _wait_s(self) -> float:
        now = self._clock.monotonic()
        due = [child.due_s - now for child in self._children if not child.pid]
        return max(0.0, min([*due, self._rules.tick_s]))

    def _reap(self) -> None:
        for child in self._children:
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, code: int) -> None:
        rules = self._rules
        now = self._clock.monotonic()
        lived_s = now - child.started_s
        child.boot_failures = child.boot_failures + 1 if lived_s < rules.settled_s else 0
        child.last_code = code
        wait_s = 0.0
        if child.boot_failures:
            wait_s = min(rules.first_wait_s * 2 ** (child.boot_failures - 1), rules.longest_wait_s)
        self._on_end(child.pid)
        self._log.error(
            "process ended", process=child.job.name, pid=child.pid, why=how_it_ended(code), lived_s=round(lived_s, 3)
        )
        child.pid = 0
        # A helper that says no restart would help has said why; the gateway goes on without it.
        child.due_s = math.inf if code == EXIT_CONFIG and not child.job.is_vital else now + wait_s

    def _hopeless(self) -> int:
        for child in self._children:
            if not child.job.is_vital or child.pid:
                continue
            if child.last_code == EXIT_CONFIG:
                return EXIT_CONFIG
            if child.boot_failures >= self._rules.most_boot_failures:
                self._log.error(
                    "giving up: a process does not start",
                    process=child.job.name,
                    tries=child.boot_failures,
                    see="the lines above say why",
                )
                return 1
        return 0

    def _end(self, signals: Signals) -> int:
        """Ask all to end; kill those that are late, or all at once at a second signal.

        Tools that signal a process group and then its leader, as many supervisors do, send two within moments.
        """
        clean = True
        asked_s = self._clock.monotonic()
        deadline = asked_s + self._drain_s + self._rules.kill_after_s
        self._on_stop()
        self._send(signal.SIGTERM)
        while any(child.pid for child in self._children):
            got = signals.wait(min(deadline - self._clock.monotonic(), self._rules.tick_s))
            now = self._clock.monotonic()
            is_impatient = bool(ENDING.intersection(got)) and now - asked_s >= self._rules.impatience_s
            if is_impatient or now >= deadline:
                clean = False
                self._send(signal.SIGKILL)
            clean = self._collect() and clean
        return 0 if clean else 1

    def _collect(self) -> bool:
        """Reap without restarting; return whether every one that ended did so as asked."""
        clean = True
        for child in self._children:
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                # SIGTERM itself: it had not yet got round to its own handler, so it served nobody.
                clean = clean and (code in (0, -signal.SIGTERM) or not child.job.is_vital)
                self._on_end(child.pid)
                child.pid = 0
        return clean

    def _send(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.pid:
                os.kill(child.pid, number)


def how_it_ended(code: int) -> str:
    """Say in words what an exit code is; negative ones are signals."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _noted(_number: int, _frame: FrameType | None) -> None:
    """The wake-up socket has it."""


def _become_child(parent: int, run: Callable[[], int]) -> None:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
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
