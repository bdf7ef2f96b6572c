"""The table of backends, by name. Importing it imports none of them: LiteLLM alone takes seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router.deployments import LiteLLMDeployments
    from router.ports import Backend, Clock, Prefixes


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """What an operator may set. `simulated_latency_scale` multiplies the simulated waits, 0 is none.

    `simulated_prefixes` is where simulated models remember what they read; None: each process for itself.
    """

    connect_s: float = 5.0
    max_answer_bytes: int = 8 * 1024 * 1024
    simulated_seed: int = 0
    simulated_latency_scale: float = 1.0
    simulated_prefixes: Prefixes | None = None


Make = Callable[["BackendSettings", "Clock", "LiteLLMDeployments"], "Backend"]


def _openai_wire(settings: BackendSettings, _clock: Clock, _deployments: LiteLLMDeployments) -> Backend:
    from router.backends.openai_wire import OpenAIWire

    return OpenAIWire(connect_s=settings.connect_s, max_answer_bytes=settings.max_answer_bytes)


def _litellm(settings: BackendSettings, _clock: Clock, deployments: LiteLLMDeployments) -> Backend:
    from router.backends.litellm import LiteLLMBackend

    return LiteLLMBackend(deployments.router, connect_s=settings.connect_s, max_answer_bytes=settings.max_answer_bytes)


def _simulated(settings: BackendSettings, clock: Clock, _deployments: LiteLLMDeployments) -> Backend:
    from router.backends.simulated import SimulatedBackend

    return SimulatedBackend(
        clock=clock,
        seed=settings.simulated_seed,
        scale=settings.simulated_latency_scale,
        prefixes=settings.simulated_prefixes,
    )


BACKENDS: Mapping[str, Make] = {
    "openai_wire": _openai_wire,
    "litellm": _litellm,
    "simulated": _simulated,
}


def make_backends(settings: BackendSettings, *, clock: Clock, deployments: LiteLLMDeployments) -> dict[str, Backend]:
    """Return the backends that `deployments` use, by name. Opens no connection; close each when done."""
    return {name: BACKENDS[name](settings, clock, deployments) for name in sorted(deployments.backends)}
