"""Where a rollout stands, as one value that all replicas share, and how it moves on. Pure: no clock, no store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from gateway.rollout.guards import Reading
from policies.rules import GuardRules, RolloutRules

ALPHA: Final = 0.05
"""Chance of a false alarm over a whole rollout: all its guards, steps and moments together."""
SWITCH_S: Final = 2.0
"""A change takes effect this much later by default, at one instant everywhere: every replica has read it by then."""

Status = Literal["running", "paused", "rolled_back", "done"]


class RolloutState(msgspec.Struct, frozen=True, kw_only=True):
    """Which version is in force for whom. `percent` of sessions are under `candidate` from `effective_at` on (Unix
    seconds), `percent_before` until then; everybody else is under `stable`. `since` is when the step began; `reason`
    says in words why the state is what it is."""

    policy: str
    stable: str
    candidate: str = ""
    salt: str = ""
    step: int = 0
    percent: float = 0.0
    percent_before: float = 0.0
    effective_at: float = 0.0
    since: float = 0.0
    status: Status = "done"
    reason: str = ""
    harmed: int = 0

    def percent_at(self, now: float) -> float:
        """Return the share of sessions under the candidate at this moment, in per cent."""
        return self.percent if now >= self.effective_at else self.percent_before


def shown_state(state: RolloutState, *, now: float) -> dict[str, object]:
    """Return what status pages and `foreword policy show` say of a rollout; `percent` is of this moment."""
    return {
        "policy": state.policy,
        "status": state.status,
        "percent": state.percent_at(now),
        "step": state.step + 1,
        "stable": state.stable,
        "candidate": state.candidate,
        "harmed": state.harmed,
        "reason": state.reason,
    }


def settled(policy: str, version: str, *, reason: str) -> RolloutState:
    """Return the state of a policy that has one version only."""
    return RolloutState(policy=policy, stable=version, reason=reason)


def seen(
    state: RolloutState | None,
    *,
    policy: str,
    version: str,
    rules: RolloutRules | None,
    is_change: bool,
    now: float,
    switch_s: float = SWITCH_S,
) -> RolloutState:
    """Return the state after a replica has read `version` from its file; the same object where nothing follows.

    `is_change`: the file changed under a running replica. A replica that merely starts with a version that the state
    knows follows the state, rolled back or not.
    """
    if state is None:
        return settled(policy, version, reason="first version seen")
    if version == state.candidate or (version == state.stable and not is_change):
        return state
    if version == state.stable:
        return _next(state, now + switch_s, percent=0.0, status="done", candidate="", reason="the file was put back")
    if rules is None:
        return settled(policy, version, reason="the file has no rollout: it took over at once")
    return RolloutState(
        policy=policy,
        stable=state.stable,
        candidate=version,
        salt=rules.salt,
        percent=rules.steps[0],
        effective_at=now + switch_s,
        since=now + switch_s,
        status="running",
        reason=f"step 1 of {len(rules.steps)}: {rules.steps[0]:g} %",
    )


def judged(
    state: RolloutState,
    rules: RolloutRules,
    readings: Sequence[Reading],
    *,
    now: float,
    exposed: int,
    switch_s: float = SWITCH_S,
) -> RolloutState:
    """Return the state after its guards were read; the same object where nothing follows.

    A failed guard rolls back or pauses at once. A step is left when it has lasted long enough and every guard has seen
    enough and shows an estimate within its margin; a guard that shows more, unproven, holds the step. At 100 % nobody
    is left to compare with: time alone ends that step. `exposed` are the interactions under the candidate so far.
    """
    if state.status not in ("running", "paused"):
        return state
    for guard, reading in zip(rules.guards, readings, strict=True):
        if reading.verdict == "failed" and guard.action == "rollback":
            why = f"rolled back: {explain(guard, reading)}"
            return _next(state, now + switch_s, percent=0.0, status="rolled_back", reason=why, harmed=exposed)
        if reading.verdict == "failed" and state.status == "running":
            return msgspec.structs.replace(state, status="paused", reason=f"paused: {explain(guard, reading)}")
    if state.status == "paused" or now < state.since + rules.hold_s or now < state.effective_at:
        return state
    # With everybody under the candidate there is nobody left to compare it with.
    for guard, reading in zip(rules.guards, readings, strict=True) if state.percent < 100 else ():
        if reading.verdict != "within":
            word = "too few interactions yet" if reading.verdict == "too few" else "inconclusive"
            why = f"held at {state.percent:g} %: {word}: {explain(guard, reading)}"
            return state if state.reason == why else msgspec.structs.replace(state, reason=why)
    step = state.step + 1
    if step >= len(rules.steps):
        return msgspec.structs.replace(
            settled(state.policy, state.candidate, reason=f"rolled out: {state.candidate} passed every step"), harmed=0
        )
    why = f"step {step + 1} of {len(rules.steps)}: {rules.steps[step]:g} %"
    return _next(state, now + switch_s, percent=rules.steps[step], status="running", reason=why, step=step)


def alpha_of(rules: RolloutRules) -> float:
    """Return each guard's share of the chance of a false alarm, in each step."""
    return ALPHA / max(1, len(rules.guards) * len(rules.steps))


def explain(guard: GuardRules, reading: Reading) -> str:
    """Say what a guard shows in one line."""
    margin = f"{guard.worse_by_rel:.0%}" if guard.worse_by_rel is not None else f"{guard.worse_by_abs:g}"
    return (
        f"{reading.metric} {reading.new:.4g} (n={reading.new_n}) against {reading.old:.4g} (n={reading.old_n}),"
        f" allowed: {margin} worse"
    )


def _next(
    state: RolloutState,
    effective_at: float,
    *,
    percent: float,
    status: Status,
    reason: str,
    candidate: str | None = None,
    step: int | None = None,
    harmed: int = 0,
) -> RolloutState:
    return msgspec.structs.replace(
        state,
        percent_before=state.percent,
        percent=percent,
        effective_at=effective_at,
        since=effective_at,
        status=status,
        reason=reason,
        candidate=state.candidate if candidate is None else candidate,
        step=state.step if step is None else step,
        harmed=harmed,
    )
