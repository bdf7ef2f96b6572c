from __future__ import annotations

import pytest

from policies.patterns import matches


@pytest.mark.parametrize(
    ("pattern", "name", "is_match"),
    [
        ("gpt-4*", "gpt-4o-mini", True),
        ("gpt-4*", "my-gpt-4", False),
        ("gpt-4", "gpt-4o", False),
        ("team-?", "team-1", True),
        ("team-?", "team-12", False),
        ("[ab]c", "bc", True),
        ("*", "", True),
        ("*", "two\nlines", True),
        ("gpt", "GPT", False),
        ("a.c", "abc", False),
    ],
)
def test_a_pattern_covers_the_whole_name(pattern: str, name: str, is_match: bool) -> None:
    assert matches(pattern, name) is is_match


def test_a_pattern_of_many_stars_takes_no_exponential_time() -> None:
    assert not matches("a*" * 60 + "b", "a" * 2000)
