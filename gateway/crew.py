"""Forked child processes: started, restarted when they die, replaced one by one, and ended together.

Must not know what the children do, and must run in a process without threads and without an event loop.
"""

from __future__ import annotations

import math
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from gateway.forking import Signals, how_it_ended
from gateway.job import RETIRE, Child, Hooks, Job, RestartRules, start
from gateway.ports import Clock

ENDING = frozenset({signal.SIGTERM, signal.SIGINT})
EXIT_CONFIG = 2


@dataclass(slots=True, kw_only=True)
class _Slot:
    job: Job
    child: Child | None = None
    boot_failures: int = 0
    last_code: int = 0
    due_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class _Roll:
    """A replacement under way: `child` is to serve before the one it replaces goes."""

    jobs: Sequence[Job]
    pending: deque[Job] = field(default_factory=deque)
    child: Child | None = None


class Crew:
    """The owner of the children."""

    def __init__(
        self, jobs: Sequence[Job], *, clock: Clock, drain_s: Callable[[], float], rules: RestartRules, hooks: Hooks
    ) -> None:
        self._slots = [_Slot(job=job) for job in jobs]
        self._retiring: list[Child] = []
        self._roll: _Roll | None = None
        self._is_asked_to_reload = False
        self._clock = clock
        self._drain_s = drain_s
        self._rules = rules
        self._hooks = hooks
        self._log = structlog.get_logger()

    def run(self, signals: Signals) -> int:
        """Keep the children running until a signal or a hopeless child, and return the exit code.

        0 after a signal if all children ended by themselves in time; 2 if a vital child ended with 2, which says that
        its configuration is wrong and no restart would help; else 1.
        """
        while True:
            self._start_due()
            unready = [child.ready for child in self._everyone() if child.ready >= 0]
            got = signals.wait(self._wait_s(), also=unready)
            is_hangup = signal.SIGHUP in got and self._hooks.is_hangup()
            if ENDING.intersection(got) or is_hangup:
                return self._end(signals)
            self._is_asked_to_reload |= signal.SIGHUP in got
            self._reap()
            self._roll_on()
            code = self._hopeless()
            if code:
                self._end(signals)
                return code
            self._hooks.tick()

    def _everyone(self) -> Iterator[Child]:
        yield from (slot.child for slot in self._slots if slot.child is not None)
        yield from self._retiring
        if self._roll is not None and self._roll.child is not None:
            yield self._roll.child

    def _start_due(self) -> None:
        now = self._clock.monotonic()
        for slot in self._slots:
            if slot.child is None and slot.due_s <= now:
                slot.child = start(slot.job, now_s=now)

    def _wait_s(self) -> float:
        now = self._clock.monotonic()
        due = [slot.due_s - now for slot in self._slots if slot.child is None]
        return max(0.0, min([*due, self._rules.tick_s]))

    def _reap(self) -> None:
        for child in tuple(self._everyone()):
            if child.hear():
                boot_s = self._clock.monotonic() - child.started_s
                self._log.info("process serves", process=child.job.name, pid=child.pid, boot_s=round(boot_s, 3))
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                child.forget()
                self._hooks.on_end(pid)
                self._ended(child, os.waitstatus_to_exitcode(status))
            elif self._clock.monotonic() >= child.kill_at_s:
                child.kill_at_s = math.inf
                os.kill(child.pid, signal.SIGKILL)

    def _ended(self, child: Child, code: int) -> None:
        lived_s = self._clock.monotonic() - child.started_s
        said = {"process": child.job.name, "pid": child.pid, "lived_s": round(lived_s, 3)}
        if child.is_leaving:
            self._log.info("process retired", **said, how=how_it_ended(code))
        else:
            self._log.error("process ended", **said, why=how_it_ended(code))
        if child in self._retiring:
            self._retiring.remove(child)
            return
        for slot in self._slots:
            if slot.child is child:
                slot.child = None
                has_settled = child.is_ready and lived_s >= self._rules.settled_s
                self._plan_restart(slot, code, has_settled=has_settled, was_asked=child.is_leaving)
                return
        if self._roll is not None:
            self._roll = None
            self._log.error("not reloaded: a new process does not serve; the old ones stay", process=child.job.name)

    def _plan_restart(self, slot: _Slot, code: int, *, has_settled: bool, was_asked: bool) -> None:
        rules = self._rules
        slot.boot_failures = 0 if has_settled or was_asked else slot.boot_failures + 1
        slot.last_code = 0 if was_asked else code
        wait_s = 0.0
        if slot.boot_failures:
            wait_s = min(rules.first_wait_s * 2 ** (slot.boot_failures - 1), rules.longest_wait_s)
        # A helper that says no restart would help has said why; the gateway goes on without it until the next SIGHUP.
        is_in_vain = slot.last_code == EXIT_CONFIG and not slot.job.is_vital
        slot.due_s = math.inf if is_in_vain else self._clock.monotonic() + wait_s

    def _roll_on(self) -> None:
        """Take the next step of a replacement; a new one waits until the last one's old children are gone.

        Otherwise a script that sends SIGHUP in a loop would fill the memory with retiring workers.
        """
        if self._roll is None and self._is_asked_to_reload and not self._retiring:
            self._is_asked_to_reload = False
            jobs = self._hooks.reload()
            self._roll = None if jobs is None else _Roll(jobs=jobs, pending=deque(jobs))
        roll = self._roll
        if roll is None:
            return
        if roll.child is not None and roll.child.is_ready:
            child, roll.child = roll.child, None
            child.kill_at_s = math.inf
            self._take_over(child)
        while roll.child is None and roll.pending:
            self._begin(roll, roll.pending.popleft())
        if roll.child is None:
            self._roll = None
            self._drop_others({job.name for job in roll.jobs})
            self._log.info("reloaded", processes=[job.name for job in roll.jobs])

    def _begin(self, roll: _Roll, job: Job) -> None:
        slot = self._slot(job)
        if job.overlaps:
            now = self._clock.monotonic()
            roll.child = start(job, now_s=now, kill_at_s=now + self._rules.ready_within_s)
        elif slot is None:
            self._slots.append(_Slot(job=job))
        elif slot.child is None:
            slot.job, slot.boot_failures, slot.due_s = job, 0, 0.0
        elif not job.kept or job.kept != slot.job.kept:
            slot.job = job
            self._ask_to_leave(slot.child, signal.SIGTERM)

    def _slot(self, job: Job) -> _Slot | None:
        return next((slot for slot in self._slots if slot.job.name == job.name), None)

    def _take_over(self, child: Child) -> None:
        slot = self._slot(child.job)
        if slot is None:
            self._slots.append(_Slot(job=child.job, child=child))
            return
        self._retire(slot)
        slot.job, slot.child, slot.boot_failures = child.job, child, 0

    def _drop_others(self, names: set[str]) -> None:
        for slot in [slot for slot in self._slots if slot.job.name not in names]:
            self._retire(slot)
            self._slots.remove(slot)

    def _retire(self, slot: _Slot) -> None:
        child = slot.child
        if child is not None:
            # One that has not told yet may still lack its handler of RETIRE.
            self._ask_to_leave(child, RETIRE if child.is_ready and child.job.overlaps else signal.SIGTERM)
            self._retiring.append(child)

    def _ask_to_leave(self, child: Child, number: signal.Signals) -> None:
        """Twice the drain time: once for connections to come back and be told, once for the answers they then want."""
        limit_s = 2 * self._drain_s() + self._rules.kill_after_s
        child.ask_to_leave(number, kill_at_s=self._clock.monotonic() + limit_s)

    def _hopeless(self) -> int:
        for slot in self._slots:
            if not slot.job.is_vital or slot.child is not None:
                continue
            if slot.last_code == EXIT_CONFIG:
                return EXIT_CONFIG
            if slot.boot_failures >= self._rules.most_boot_failures:
                self._log.error(
                    "giving up: a process does not start",
                    process=slot.job.name,
                    tries=slot.boot_failures,
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
        deadline = asked_s + self._drain_s() + self._rules.kill_after_s
        left = list(self._everyone())
        self._hooks.on_stop()
        _send(left, signal.SIGTERM)
        while left:
            got = signals.wait(min(deadline - self._clock.monotonic(), self._rules.tick_s))
            now = self._clock.monotonic()
            is_impatient = bool(ENDING.intersection(got)) and now - asked_s >= self._rules.impatience_s
            if is_impatient or now >= deadline:
                clean = False
                _send(left, signal.SIGKILL)
            for child in tuple(left):
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    code = os.waitstatus_to_exitcode(status)
                    # SIGTERM itself: it had not yet got round to its own handler, so it served nobody.
                    clean = clean and (code in (0, -signal.SIGTERM) or not child.job.is_vital)
                    self._hooks.on_end(pid)
                    child.forget()
                    left.remove(child)
        return 0 if clean else 1


def _send(children: Sequence[Child], number: signal.Signals) -> None:
    for child in children:
        os.kill(child.pid, number)
