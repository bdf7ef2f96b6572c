"""What a crew's child is: the job it runs, the rules it is kept by, and the process that runs it now.

Must not decide when a child starts or ends: gateway.crew does.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.forking import TellReady, fork

RETIRE = signal.SIGUSR1
"""Asks a child that serves to take no more connections and to end when those it has are gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one child runs; it calls what it is given when it serves, and its return value is the exit code.

    Without a vital job there is no gateway. `overlaps`: when replaced, the new child serves before the old one is asked
    to retire; otherwise the old one ends first. `kept` not empty: a child that runs by the same words stays instead.
    """

    name: str
    run: Callable[[TellReady], int]
    is_vital: bool
    overlaps: bool = True
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartRules:
    """A child that never told that it serves, or lived less than `settled_s`, failed to boot.

    Then waits double from `first_wait_s` to `longest_wait_s`.

    After `most_boot_failures` in a row of one vital job the crew gives up. `kill_after_s` comes on top of the drain.
    A second signal sooner than `impatience_s` after the first is the same wish told twice. A replacement that does not
    serve within `ready_within_s` is killed, and the old child stays.
    """

    settled_s: float = 5.0
    first_wait_s: float = 0.2
    longest_wait_s: float = 5.0
    most_boot_failures: int = 5
    kill_after_s: float = 10.0
    impatience_s: float = 1.0
    ready_within_s: float = 60.0
    tick_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the crew calls. `on_end` hears each ended pid, `on_stop` that all are about to be asked to end.

    `tick` is called about every `tick_s`; `reload` at SIGHUP: it returns the new jobs, or None where the old ones stay,
    and says why. `is_hangup` tells whether SIGHUP means the end instead.
    """

    on_end: Callable[[int], None]
    on_stop: Callable[[], None]
    tick: Callable[[], None]
    reload: Callable[[], Sequence[Job] | None]
    is_hangup: Callable[[], bool]


@dataclass(slots=True, kw_only=True, eq=False)
class Child:
    """One process. `is_leaving` once it was asked to end; `kill_at_s` is when it is killed, on the crew's clock."""

    job: Job
    pid: int
    ready: int
    started_s: float
    kill_at_s: float = math.inf
    is_ready: bool = False
    is_leaving: bool = False

    def hear(self) -> bool:
        """Return whether it has told, since the last call, that it serves."""
        if self.ready < 0:
            return False
        try:
            told = os.read(self.ready, 1)
        except BlockingIOError:
            return False
        self.is_ready = bool(told)
        self.forget()
        return self.is_ready

    def forget(self) -> None:
        """Close its pipe."""
        if self.ready >= 0:
            os.close(self.ready)
        self.ready = -1

    def ask_to_leave(self, number: signal.Signals, *, kill_at_s: float) -> None:
        """Send the signal; that it ends is then no failure."""
        self.is_leaving = True
        self.kill_at_s = kill_at_s
        os.kill(self.pid, number)


def start(job: Job, *, now_s: float, kill_at_s: float = math.inf) -> Child:
    """Fork a child that runs `job`."""
    forked = fork(job.run)
    return Child(job=job, pid=forked.pid, ready=forked.ready, started_s=now_s, kill_at_s=kill_at_s)
