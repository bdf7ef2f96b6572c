"""The embedder among the processes that `serve` starts: whether it can run here, and the job that runs it.

Imports no model library; the parent has no thread and stays without one.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from gateway.crew import Job
from gateway.embedder.home import CannotEmbed, EmbedderHome
from gateway.embedder.weights import Precision
from gateway.setting_types import LITELLM_EMBEDDER
from gateway.settings import Settings

OFF = "the semantic cache is off"


def with_embedder(settings: Settings) -> tuple[Settings, Sequence[Job]]:
    """Return settings whose embedder can run, and its job if it is a process; warns once where it has to be off."""
    if settings.embedder == "off":
        return settings, ()
    without = settings.model_copy(update={"embedder": "off"})
    if settings.redis_url is None:
        structlog.get_logger().warning(OFF, why="without Redis there is nowhere to keep its entries")
        return without, ()
    if settings.embedder.startswith(LITELLM_EMBEDDER):
        return settings, ()
    home = EmbedderHome.of(settings.data_dir, precision_of(settings))
    try:
        home.prepare()
    except CannotEmbed as lacking:
        structlog.get_logger().warning(OFF, why=str(lacking))
        return without, ()
    return settings, (Job(name="embedder", run=home.become, is_vital=False),)


def precision_of(settings: Settings) -> Precision:
    """Return what the minilm embedder computes in; deploy/adr/0007 says why int8 is the default."""
    return "float32" if settings.embedder == "minilm-float32" else "int8"
