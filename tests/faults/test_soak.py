"""The soak for a moment; `make soak` runs it for minutes."""

from __future__ import annotations

from pathlib import Path

from tests.faults.soak import show, soak
from tests.faults.stores import own_redis


async def test_after_20_s_of_random_faults_nothing_is_left_and_everything_adds_up(tmp_path: Path) -> None:
    with own_redis() as server:
        soaked = await soak(server, tmp_path / "files", seconds=20.0, seed=0)
    show(soaked)
    assert soaked.problems() == []
    assert soaked.restarts >= 2
