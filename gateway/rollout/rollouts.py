"""Which version of a policy serves a session, on every replica alike; and the state that moves while it is watched.

The state, the texts of both versions and the arms' figures are in Redis; a worker polls, adds what it has seen, and
whichever reads a verdict first writes the next state, by compare-and-set. The file is never changed. Must not make a
request wait: what was read last decides. Without Redis the last state holds, and a new file takes over at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from gateway.budgets.books import Runner
from gateway.outcome import Outcome
from gateway.ports import Clock, StoreUnavailable
from gateway.redis_replies import integer, mapping, optional
from gateway.rollout.buckets import bucket_of
from gateway.rollout.figures import Figures, read_figures
from gateway.rollout.guards import read_guard
from gateway.rollout.state import SWITCH_S, RolloutState, alpha_of, judged, seen
from gateway.waiting import Command
from policies.document import DocumentError
from policies.load import load_policy
from policies.model import Policy

POLL_S: Final = 0.5
Arm = Literal["new", "old"]

_SWAP: Final = (
    "if (redis.call('GET', KEYS[1]) or '') == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) return 1 end return 0"
)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(RolloutState)


class Rollouts:
    """Owner of this worker's view of all rollouts. `groups` are the models that a policy may name."""

    def __init__(
        self,
        store: Runner,
        clock: Clock,
        *,
        groups: Collection[str],
        on_change: Callable[[RolloutState], None],
        switch_s: float = SWITCH_S,
    ) -> None:
        self._switch_s = switch_s
        self._store = store
        self._clock = clock
        self._groups = frozenset(groups)
        self._on_change = on_change
        self._files: dict[str, tuple[Policy, str]] = {}
        self._raw: dict[str, bytes] = {}
        self._states: dict[str, RolloutState] = {}
        self._compiled: dict[tuple[str, str], Policy] = {}
        self._figures: defaultdict[tuple[str, Arm], Figures] = defaultdict(Figures)

    @property
    def states(self) -> tuple[RolloutState, ...]:
        """Every policy's state as last read."""
        return tuple(self._states.values())

    def version_for(self, policy: Policy, session: str) -> tuple[Policy, str]:
        """Return the version that serves a session, and the arm's name for the cache key ("" outside a rollout)."""
        state = self._states.get(policy.name)
        if state is None or not state.candidate:
            return policy, ""
        percent = state.percent_at(self._clock.now())
        is_new = percent > 0 and bucket_of(state.salt, policy.name, session) < percent
        wanted = state.candidate if is_new else state.stable
        chosen = policy if policy.version == wanted else self._compiled.get((policy.name, wanted))
        # A version whose text cannot be had is served by the file in hand, under its own name.
        return (policy, "") if chosen is None else (chosen, state.candidate if is_new else "")

    def record(self, outcome: Outcome) -> None:
        """Count one interaction in its arm. No I/O."""
        state = self._states.get(outcome.policy)
        if state is None or state.status not in ("running", "paused") or outcome.origin != "user":
            return
        if outcome.policy_version == state.candidate:
            self._figures[outcome.policy, "new"].add(outcome)
        elif outcome.policy_version == state.stable and self._clock.now() >= state.since:
            self._figures[outcome.policy, "old"].add(outcome)

    def wants_quality(self, policy: str) -> bool:
        """Whether a rollout runs whose guards compare quality."""
        state = self._states.get(policy)
        if state is None or state.status not in ("running", "paused"):
            return False
        candidate = self._compiled.get((policy, state.candidate))
        rules = None if candidate is None else candidate.rollout
        return rules is not None and any(guard.metric == "quality" for guard in rules.guards)

    def record_quality(self, policy: str, version: str, quality: float) -> None:
        """Count one judged answer, from 0 to 1, in its arm."""
        state = self._states.get(policy)
        if state is None or state.status not in ("running", "paused"):
            return
        if version not in (state.candidate, state.stable):
            return
        arm: Arm = "new" if version == state.candidate else "old"
        self._figures[policy, arm].put("q", quality * 1e6)

    async def loaded(self, policies: Sequence[tuple[Policy, str]], *, is_change: bool) -> None:
        """Take note of the files' versions (policy, text); begins a rollout where one has changed. May be offline."""
        self._files = {policy.name: (policy, text) for policy, text in policies}
        for policy, text in policies:
            self._compiled[policy.name, policy.version] = policy
            try:
                await self._read(policy.name)
                await self._note(policy, text, is_change=is_change)
            except StoreUnavailable:
                self._states.setdefault(
                    policy.name,
                    seen(None, policy=policy.name, version=policy.version, rules=None, is_change=False, now=0.0),
                )

    async def poll(self) -> None:
        """Tell Redis what was counted, read every state, judge what runs. Raises StoreUnavailable."""
        away: StoreUnavailable | None = None
        for name, (policy, text) in tuple(self._files.items()):
            try:
                await self._poll(name, policy, text)
            except StoreUnavailable as error:
                away = error  # in a Cluster the others may be on another server
        if away is not None:
            raise away

    async def _poll(self, name: str, policy: Policy, text: str) -> None:
        await self._tell(name)
        await self._read(name)
        state = self._states.get(name)
        if state is None:
            await self._note(policy, text, is_change=False)
        elif state.status in ("running", "paused"):
            await self._judge(state)

    async def figures(self, state: RolloutState) -> tuple[Figures, Figures]:
        """Return what is known of the new and the old version in the step that runs. Raises StoreUnavailable."""
        new, old = await self._store.run(
            ("HGETALL", _figures_key(state, "new")), ("HGETALL", _figures_key(state, "old"))
        )
        return read_figures(_texts(new)), read_figures(_texts(old))

    async def _note(self, policy: Policy, text: str, *, is_change: bool) -> None:
        state = self._states.get(policy.name)
        after = seen(
            state,
            policy=policy.name,
            version=policy.version,
            rules=policy.rollout,
            is_change=is_change,
            now=self._clock.now(),
            switch_s=self._switch_s,
        )
        if after is not state:
            # The text first: whoever reads the new state must find it.
            await self._store.run(("HSET", _texts_key(policy.name), policy.version, text))
            if after.status == "running":
                await self._store.run(
                    ("UNLINK", *(_figures_key(after, arm, step) for arm in _ARMS for step in range(20)))
                )
            await self._write(policy.name, after)

    async def _judge(self, state: RolloutState) -> None:
        candidate = self._compiled.get((state.policy, state.candidate))
        if candidate is None or candidate.rollout is None:
            return
        new, old = await self.figures(state)
        alpha = alpha_of(candidate.rollout)
        readings = [read_guard(guard, new, old, alpha=alpha) for guard in candidate.rollout.guards]
        now = self._clock.now()
        after = judged(state, candidate.rollout, readings, now=now, exposed=new.n, switch_s=self._switch_s)
        if after is not state:
            await self._write(state.policy, after)

    async def _read(self, name: str) -> None:
        raw = optional((await self._store.run(("GET", _state_key(name))))[0])
        if raw is None or raw == self._raw.get(name):
            return
        state = _decoder.decode(raw)
        for version in (state.stable, state.candidate):
            if version and (name, version) not in self._compiled:
                await self._compile(name, version)
        self._raw[name] = raw
        before, self._states[name] = self._states.get(name), state
        if before is not None and before.percent != state.percent:
            self._figures.pop((name, "new"), None)
            self._figures.pop((name, "old"), None)
        self._on_change(state)

    async def _compile(self, name: str, version: str) -> None:
        text = optional((await self._store.run(("HGET", _texts_key(name), version)))[0])
        if text is None:
            return
        source = str(Path("redis") / name / f"{version}.yaml")
        try:
            self._compiled[name, version] = load_policy(text.decode(), source=source, groups=self._groups)
        except DocumentError:
            return  # written by a release whose format this one does not know

    async def _write(self, name: str, state: RolloutState) -> None:
        """Put the next state in force unless another worker has moved on meanwhile; either way read what is."""
        raw = _encoder.encode(state)
        (won,) = await self._store.run(("EVAL", _SWAP, 1, _state_key(name), self._raw.get(name, b""), raw))
        if integer(won) == 1:
            stale = [version for (policy, version) in self._compiled if policy == name]
            dropped = [version for version in stale if version not in (state.stable, state.candidate)]
            if dropped:
                await self._store.run(("HDEL", _texts_key(name), *dropped))
        await self._read(name)

    async def _tell(self, name: str) -> None:
        state = self._states.get(name)
        if state is None:
            return
        waiting = {arm: self._figures.pop((name, arm)) for arm in _ARMS if (name, arm) in self._figures}
        commands: list[Command] = [
            ("HINCRBY", _figures_key(state, arm), field, count)
            for arm, figures in waiting.items()
            for field, count in figures.counts.items()
        ]
        try:
            if commands:
                await self._store.run(*commands)
        except StoreUnavailable:
            for arm, figures in waiting.items():
                self._figures[name, arm].counts.update(figures.counts)
            raise


async def read_states(store: Runner, names: Sequence[str]) -> tuple[RolloutState, ...]:
    """Return the state of each policy as Redis has it, leaving out those that no gateway has served yet.

    For commands beside a gateway. Raises StoreUnavailable."""
    found = [optional((await store.run(("GET", _state_key(name))))[0]) for name in names]
    return tuple(_decoder.decode(raw) for raw in found if raw is not None)


_ARMS: Final[tuple[Arm, ...]] = ("new", "old")


def _state_key(name: str) -> str:
    return f"foreword:rollout:{{r:{name}}}:state"


def _texts_key(name: str) -> str:
    return f"foreword:rollout:{{r:{name}}}:texts"


def _figures_key(state: RolloutState, arm: Arm, step: int | None = None) -> str:
    at = state.step if step is None else step
    return f"foreword:rollout:{{r:{state.policy}}}:figures:{state.candidate}:{state.salt}:{at}:{arm}"


def _texts(reply: object) -> dict[str, bytes]:
    return {name.decode(): value for name, value in mapping(reply).items()}
