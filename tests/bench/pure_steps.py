"""The pytest-benchmark suite of `make bench-micro`; by its name pytest does not collect it for `make pytest`."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.bench.steps import STEPS


@pytest.mark.parametrize("name", STEPS)
def test_step(benchmark: BenchmarkFixture, name: str) -> None:
    assert benchmark(STEPS[name]()) is not NotImplemented
