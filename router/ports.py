"""What the router needs from the outside: deployments to call, a way to call them, and the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from policies.model import Catalogue
from router.errors import ProviderError
from router.types import Call, ChatRequest, Deployment, Streamed, Whole


class Backend(Protocol):
    """Sends one call to one deployment, once: no retry, no fallback, no redirect."""

    async def send(self, call: Call) -> Whole | Streamed:
        """Send and return once the answer's headers are there (`Streamed`) or its whole body is (`Whole`).

        Raises ProviderError. A provider may answer a streamed call with a whole body. Cancelling drops the connection.
        """
        ...

    async def close(self) -> None:
        """Release connections; idempotent."""
        ...


class Deployments(Protocol):
    """Knows the deployments of every model group and which of them are in service."""

    def catalogue(self) -> Catalogue:
        """Return what policy may know of each usable group; the same object until a reload."""
        ...

    async def pick(self, group: str, request: ChatRequest, *, exclude: frozenset[str] = frozenset()) -> Deployment:
        """Return a deployment of `group` that is in service and not in `exclude` (ids). Raises NoDeployment."""
        ...

    def succeeded(self, deployment: Deployment) -> None:
        """Record a good answer; without it the cooldown sees 100 % failures."""
        ...

    def failed(self, deployment: Deployment, error: ProviderError) -> None:
        """Record a failure; may put the deployment into cooldown."""
        ...


class Clock(Protocol):
    """Time as the router may know it; tests give a fake one."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Return `delay_s` seconds later; cancel returns at once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerHint:
    """Another process found that a deployment fails (`is_open`) or is well again."""

    deployment_id: str
    is_open: bool


class BreakerHints(Protocol):
    """What processes tell each other about breakers: hints only, which may be lost, late or repeated."""

    def publish(self, deployment_id: str, *, is_open: bool) -> None:
        """Tell the others, some time; returns at once, never waits and never fails."""
        ...

    def observe(self) -> Sequence[BreakerHint]:
        """Return what others have told since the last call, from memory: called for every request."""
        ...


class Prefixes(Protocol):
    """The beginnings of prompts that simulated models have read lately, as blocks (simulation/prefix.py).

    `scope` is who read them: a provider and its model.
    """

    async def known(self, scope: str, blocks: Sequence[str]) -> int:
        """Return how many of the first blocks are remembered without a gap; 0 where that cannot be found out."""
        ...

    async def remember(self, scope: str, blocks: Sequence[str]) -> None:
        """Keep them as read now; lost where they cannot be kept."""
        ...
