"""What every test runs under: no blocking call on an event loop, bounded repeatable hypothesis, one real Redis.

Must not fake anything: the Redis is a real server, and blockbuster watches the product as it ships.
"""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.redis_cluster import RedisCluster

# What a helper asserts is told with its values, as what a test asserts is.
for helpers in ("faults.playing", "faults.stories", "http.canary", "http.refusals", "http.warming", "e2e.serving"):
    pytest.register_assert_rewrite(f"tests.{helpers}")

# Repeatable everywhere: a failure in CI must fail on a desk too. FOREWORD_HYPOTHESIS=explore looks for new examples.
settings.register_profile("suite", derandomize=True, max_examples=50, deadline=None, database=None)
settings.register_profile("explore", max_examples=2_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("FOREWORD_HYPOTHESIS", "suite"))  # noqa: TID251 - no settings exist yet here


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Raise BlockingError wherever a running event loop is blocked by a file, socket, lock or sleep call."""
    guard = BlockBuster()
    guard.activate()
    yield guard
    guard.deactivate()


@pytest.fixture(scope="module", autouse=True)
def _no_long_collections() -> None:
    """Leave what lives by now out of garbage collections: pytest's and LiteLLM's objects take up to 0.9 s to go by.

    For so long nothing on the test's event loop moves, among it the providers that the gateway process waits for.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Return the URL of a real redis-server of this pytest process; tests share it, so each uses a key prefix."""
    from gateway.stores.embedded import EmbeddedRedis

    # Not pytest's tmp_path: a unix socket's path may have 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="fw-") as directory:
        server = EmbeddedRedis.start(Path(directory))
        yield server.url
        server.stop()


@pytest.fixture(scope="session")
def minilm_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where this pytest process keeps the encoder's ONNX file (90 MB); the first to load it builds it."""
    return tmp_path_factory.mktemp("minilm")


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """Return a real Cluster of three of this pytest process; who kills a server or moves a slot puts it back."""
    from gateway.stores.embedded import EmbeddedRedisUnavailable, find_binary
    from tests.redis_cluster import RedisCluster

    try:
        find_binary()
    except EmbeddedRedisUnavailable as lacking:
        pytest.skip(str(lacking))
    cluster = RedisCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def cluster_url(redis_cluster: RedisCluster) -> str:
    """Return the URL of the real Cluster."""
    return redis_cluster.url
