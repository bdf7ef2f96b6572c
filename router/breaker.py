"""Stops calling a deployment that keeps failing, and finds out when it is well again.

Must not call, wait, count for metrics or read a clock: what changed is kept as data for the gateway to take. Whether a
plan has anybody else to ask is not known here: the caller may overrule (never ejecting the last candidate is its duty).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from router.ports import BreakerHints
from router.windows import RecentCount

BreakerState = Literal["closed", "open", "half_open"]
_MAX_CHANGES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRules:
    """When a breaker opens, and for how long, in seconds.

    It opens after `failures` in a row, or when of at least `min_calls` in the last 10 s `failure_ratio` failed. It
    stays open for `open_s`, doubled each time a probe fails, up to `max_open_s`: with the first-token limit of a cold
    deployment (10 s) that is less than the 30 s within which one that is well again must be used.
    """

    failures: int = 5
    failure_ratio: float = 0.5
    min_calls: int = 20
    open_s: float = 2.0
    max_open_s: float = 15.0


DEFAULT_BREAKER = BreakerRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerChange:
    """One transition. `at_s` is the monotonic clock's; `reason` is fit for a log line."""

    deployment_id: str
    before: BreakerState
    after: BreakerState
    at_s: float
    reason: str


class _Breaker:
    __slots__ = ("calls", "failed", "in_a_row", "is_probed", "open_s", "open_until_s", "state")

    def __init__(self) -> None:
        self.state: BreakerState = "closed"
        self.in_a_row = 0
        self.calls = RecentCount()
        self.failed = RecentCount()
        self.open_s = 0.0
        self.open_until_s = 0.0
        self.is_probed = False


class Breakers:
    """All breakers of this process, by deployment id. Every `admit` that says yes is ended by exactly one of
    `succeeded`, `failed` and `abandoned`."""

    def __init__(self, rules: BreakerRules, *, hints: BreakerHints | None = None) -> None:
        self._rules = rules
        self._hints = hints
        self._by_id: dict[str, _Breaker] = {}
        self._changes: deque[BreakerChange] = deque(maxlen=_MAX_CHANGES)

    def state(self, deployment_id: str) -> BreakerState:
        """Return the state as of the last event; "closed" for one that never failed."""
        found = self._by_id.get(deployment_id)
        return "closed" if found is None else found.state

    def take_changes(self) -> Sequence[BreakerChange]:
        """Return the transitions since the last call (the newest 256), oldest first."""
        taken = tuple(self._changes)
        self._changes.clear()
        return taken

    def failure_ratio(self, deployment_id: str, now_s: float) -> float:
        """Return the share of recent calls that failed; calls before the first failure ever are not counted."""
        found = self._by_id.get(deployment_id)
        if found is None:
            return 0.0
        calls, failed = found.calls.move(now_s), found.failed.move(now_s)
        return failed / calls if calls else 0.0

    def would_admit(self, deployment_id: str, now_s: float) -> bool:
        """Say whether `admit` would say yes, without taking the probe."""
        if self._hints is not None:
            self._heed(self._hints, now_s)
        found = self._by_id.get(deployment_id)
        if found is None or found.state == "closed":
            return True
        return now_s >= found.open_until_s if found.state == "open" else not found.is_probed

    def admit(self, deployment_id: str, now_s: float) -> bool:
        """Say whether a call may go there now; while half open one at a time may, as a probe."""
        found = self._by_id.get(deployment_id)
        if found is None or found.state == "closed":
            return True
        if found.state == "open":
            if now_s < found.open_until_s:
                return False
            self._become(deployment_id, found, "half_open", now_s, "time for a probe")
        if found.is_probed:
            return False
        found.is_probed = True
        return True

    def succeeded(self, deployment_id: str, now_s: float) -> None:
        """Note a call that was answered."""
        found = self._by_id.get(deployment_id)
        if found is None:
            return
        found.in_a_row = 0
        found.is_probed = False
        if found.state == "closed":
            found.calls.add(now_s)
        else:
            found.calls.clear()
            found.failed.clear()
            found.open_s = 0.0
            self._become(deployment_id, found, "closed", now_s, "answered")
            self._publish(deployment_id, is_open=False)

    def failed(self, deployment_id: str, now_s: float, reason: str) -> None:
        """Note a call that failed for a reason that lies with the deployment."""
        found = self._by_id.get(deployment_id)
        if found is None:
            found = self._by_id[deployment_id] = _Breaker()
        found.in_a_row += 1
        found.is_probed = False
        found.calls.add(now_s)
        found.failed.add(now_s)
        if found.state == "half_open":
            self._open(deployment_id, found, now_s, f"the probe failed: {reason}")
        elif found.state == "closed" and self._is_too_much(found):
            self._open(deployment_id, found, now_s, f"{found.in_a_row} failures in a row, the last: {reason}")

    def abandoned(self, deployment_id: str) -> None:
        """Note a call that ended without saying anything about the deployment, such as a cancelled one."""
        found = self._by_id.get(deployment_id)
        if found is not None:
            found.is_probed = False

    def _is_too_much(self, found: _Breaker) -> bool:
        rules = self._rules
        if found.in_a_row >= rules.failures:
            return True
        return found.calls.total >= rules.min_calls and found.failed.total >= rules.failure_ratio * found.calls.total

    def _open(self, deployment_id: str, found: _Breaker, now_s: float, reason: str) -> None:
        rules = self._rules
        found.open_s = min(found.open_s * 2 or rules.open_s, rules.max_open_s)
        found.open_until_s = now_s + found.open_s
        self._become(deployment_id, found, "open", now_s, reason)
        self._publish(deployment_id, is_open=True)

    def _become(self, deployment_id: str, found: _Breaker, after: BreakerState, now_s: float, reason: str) -> None:
        change = BreakerChange(deployment_id=deployment_id, before=found.state, after=after, at_s=now_s, reason=reason)
        found.state = after
        self._changes.append(change)

    def _publish(self, deployment_id: str, *, is_open: bool) -> None:
        if self._hints is not None:
            self._hints.publish(deployment_id, is_open=is_open)

    def _heed(self, hints: BreakerHints, now_s: float) -> None:
        """Take what others have found as a reason to probe, never as proof.

        "open" elsewhere makes a closed breaker half open: one call finds out whether it is so from here. "closed"
        elsewhere ends the waiting of an open one.
        """
        for hint in hints.observe():
            found = self._by_id.get(hint.deployment_id)
            if hint.is_open and (found is None or found.state == "closed"):
                found = self._by_id.setdefault(hint.deployment_id, _Breaker())
                self._become(hint.deployment_id, found, "half_open", now_s, "open elsewhere")
            elif not hint.is_open and found is not None and found.state == "open":
                found.open_until_s = now_s
