"""What the fault suites share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.stores.embedded import EmbeddedRedis
from tests.faults.stores import own_redis


@pytest.fixture
def redis() -> Iterator[EmbeddedRedis]:
    """A Redis that a test may stop, fill and kill."""
    with own_redis() as server:
        yield server
