"""What the guards read is kept for a while, and never another text's."""

from __future__ import annotations

from gateway.cache.semantic.guards import features_of
from gateway.cache.semantic.readings import Readings


def test_a_text_is_read_once_while_it_is_asked_for_and_memory_is_bounded() -> None:
    readings = Readings(most=4)
    kept = readings.of("Who beat Sparta?")
    for number in range(50):
        text = f"How do I run {number} km?"
        assert readings.of(text) == features_of(text)
        assert readings.of("Who beat Sparta?") is kept
        assert len(readings) <= 8
    assert readings.of("How do I run 3 km?") == features_of("How do I run 3 km?")
