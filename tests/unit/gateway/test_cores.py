"""How many workers there are by default."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cores import available_cores


@pytest.mark.parametrize("text", ["100000 100000\n", "50000 100000\n"])
def test_a_quota_of_one_processor_or_less_means_one_worker(tmp_path: Path, text: str) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(text)
    assert available_cores(quota) == 1


@pytest.mark.parametrize("text", ["max 100000\n", "", "nonsense\n", "1 0\n"])
def test_no_readable_quota_leaves_all_processors(tmp_path: Path, text: str) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(text)
    assert available_cores(quota) == available_cores(tmp_path / "absent")
