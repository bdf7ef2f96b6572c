"""A worker's end of the embedder that the settings name. Starts no process: `serve` did.

The provider's embedder goes through the flow, so whoever has one makes it (gateway.embedder.provider).
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.embedder.client import EmbedderClient
from gateway.embedder.home import EmbedderHome, expected_greeting
from gateway.embedder.job import precision_of
from gateway.embedder.weights import WeightsUnusable
from gateway.lane import Transition
from gateway.ports import Clock
from gateway.setting_types import LITELLM_EMBEDDER
from gateway.settings import Settings
from gateway.supervisor import Supervisor


def local_embedder(
    settings: Settings, *, supervisor: Supervisor, clock: Clock, on_transition: Callable[[Transition], None]
) -> EmbedderClient | None:
    """Return a client of the host's process, to be started in the loop; None where it is off or a provider's.

    Reads two small files (blocking). `on_transition` hears each change once.
    """
    if settings.embedder == "off" or settings.embedder.startswith(LITELLM_EMBEDDER):
        return None
    precision = precision_of(settings)
    try:
        greeting = expected_greeting(precision)
    except WeightsUnusable:
        return None  # `serve` has said so
    return EmbedderClient(
        EmbedderHome.of(settings.data_dir, precision).socket,
        expected=greeting,
        supervisor=supervisor,
        clock=clock,
        timeout_s=settings.embedder_timeout_s,
        on_transition=on_transition,
    )
