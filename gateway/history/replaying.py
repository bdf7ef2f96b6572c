"""A policy against the recorded ledger: reads the history, decides every request again, adds it up.

Asks no provider and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.budgets.calendar import window_at
from gateway.history.reading import Texts, read_history, read_versions
from gateway.history.recorded import recorded_of
from gateway.history.roller import RollerStore
from policies.document import DocumentError
from policies.load import load_policy
from policies.model import Policy
from policies.patterns import matches
from policies.replay_report import Replay
from policies.replay_tally import ReplayTally
from policies.rules import BudgetRules

Choose = Callable[[Texts], Policy]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay said, and how many entries it could not use: `other` are under other policies, `unreadable` have
    no decision in them."""

    replay: Replay
    other: int
    unreadable: int


class UnknownVersion(Exception):
    """No text is kept of that version."""


async def replay_history(store: RollerStore | None, data_dir: Path, choose: Choose, *, since_s: float) -> Replayed:
    """Replay what was recorded since `since_s` (Unix seconds) under the policy that `choose` returns.

    In scope is what the policy of that name decided; where there never was one, the tenants it names. Raises
    StoreUnavailable, and what `choose` raises.
    """
    texts = await read_versions(store, data_dir)
    policy = choose(texts)
    is_known = any(kept.name == policy.name for kept in texts.policies.values())
    tally = ReplayTally(policy, window_of=_window, policy_then=_PoliciesThen(texts).find)
    other = unreadable = 0
    async for outcome in read_history(store, data_dir, since_s=since_s):
        entry = recorded_of(outcome, texts)
        if entry is None:
            unreadable += outcome.policy == policy.name
            continue
        if not (entry.policy == policy.name if is_known else _names(policy, entry.facts.tenant)):
            other += 1
            continue
        tally.add(entry)
    return Replayed(replay=tally.result(), other=other, unreadable=unreadable)


def version_of(texts: Texts, version: str) -> Policy:
    """Return a recorded version of a policy. Raises UnknownVersion, and DocumentError where it is bad by now."""
    kept = texts.policies.get(version)
    if kept is None:
        known = ", ".join(sorted(f"{kept.name} {name}" for name, kept in texts.policies.items())) or "none at all"
        raise UnknownVersion(f"--against: {version}: no such version is recorded; there are: {known}")
    return load_policy(kept.text, source=f"{kept.source}@{version}", groups=None)


class _PoliciesThen:
    """The recorded versions, compiled once each."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self._policies: dict[str, Policy | None] = {}

    def find(self, version: str) -> Policy | None:
        if version not in self._policies:
            try:
                self._policies[version] = version_of(self._texts, version)
            except (UnknownVersion, DocumentError):
                self._policies[version] = None
        return self._policies[version]


def _names(policy: Policy, tenant: str) -> bool:
    return any(matches(pattern, tenant) for pattern in policy.tenants)


def _window(rule: BudgetRules, at: float) -> str:
    return window_at(at, rule.window, rule.tz).label
