from __future__ import annotations

import re

import pytest

from policies.durations import PATTERN, duration_text, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("90s", 90.0), ("15m", 900.0), ("1h", 3600.0), ("30d", 2_592_000.0), ("1.5h", 5400.0), (0, 0.0)],
)
def test_a_duration_is_read_in_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "value", [30, 1.5, "30", "30 s", "-1s", "1w", "", "s", "1e3s", "١s", None, True, False, [], "0"]
)
def test_what_has_no_unit_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="with its unit, such as 500ms, 90s, 15m, 1h or 30d"):
        parse_duration(value)


@pytest.mark.parametrize("value", ["3651d", "999999999999d"])
def test_a_duration_beyond_ten_years_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="at most 3650d"):
        parse_duration(value)


@pytest.mark.parametrize("text", ["500ms", "90s", "15m", "1h", "30d", "45s"])
def test_a_duration_is_written_as_it_was_read_and_fits_the_editors_pattern(text: str) -> None:
    assert duration_text(parse_duration(text)) == text
    assert re.search(PATTERN, text)


def test_no_time_at_all_is_written_as_nought() -> None:
    assert duration_text(0.0) == "0"
