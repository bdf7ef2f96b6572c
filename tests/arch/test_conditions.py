"""The conditions that tests/conftest.py promises do hold."""

from __future__ import annotations

import time
import warnings

import pytest
from blockbuster import BlockingError
from hypothesis import settings


async def test_blocking_the_event_loop_fails() -> None:
    with pytest.raises(BlockingError):
        time.sleep(0)  # noqa: ASYNC251 - the very call that must not pass


def test_a_warning_is_an_error() -> None:
    with pytest.raises(UserWarning, match="of any kind"):
        warnings.warn("of any kind", stacklevel=1)


def test_hypothesis_repeats_itself_unless_told_to_explore() -> None:
    chosen = settings()
    assert chosen.derandomize or chosen.max_examples > 50
