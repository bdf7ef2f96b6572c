"""Rolling quantiles: fresh samples, few keys, and the right rank."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.quantiles import Quantiles


@given(st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=200), st.floats(min_value=0, max_value=1))
def test_a_quantile_is_the_sample_of_that_rank(samples: list[float], share: float) -> None:
    quantiles = Quantiles(window=500)
    for value in samples:
        quantiles.add("k", value, 1.0)
    found = quantiles.quantile("k", share, 100.0)  # so much later, everything is sorted anew
    assert found == sorted(samples)[min(len(samples) - 1, int(share * len(samples)))]


def test_only_the_newest_samples_count() -> None:
    quantiles = Quantiles(window=10)
    for value in range(100):
        quantiles.add("k", float(value), float(value))
    assert quantiles.quantile("k", 0.0, 100.0) == 90.0


def test_old_samples_are_forgotten() -> None:
    quantiles = Quantiles(max_age_s=60.0)
    for _ in range(50):
        quantiles.add("k", 9.0, 0.0)
    assert quantiles.quantile("k", 0.95, 1.0, at_least=50) == 9.0
    assert quantiles.quantile("k", 0.95, 61.0, at_least=1) is None
    quantiles.add("k", 1.0, 62.0)
    assert quantiles.quantile("k", 0.95, 70.0) == 1.0


def test_too_few_samples_say_nothing() -> None:
    quantiles = Quantiles()
    for _ in range(49):
        quantiles.add("k", 1.0, 0.0)
    assert quantiles.quantile("k", 0.5, 0.0, at_least=50) is None
    quantiles.add("k", 1.0, 0.0)
    assert quantiles.quantile("k", 0.5, 0.0, at_least=50) == 1.0
    assert quantiles.quantile("unknown", 0.5, 0.0) is None


def test_the_key_that_nobody_asks_for_goes_first() -> None:
    quantiles = Quantiles(max_keys=2)
    for key in ("a", "b"):
        quantiles.add(key, 1.0, 0.0)
    quantiles.quantile("a", 0.5, 0.0)
    quantiles.add("c", 1.0, 0.0)
    assert [quantiles.quantile(key, 0.5, 0.0) for key in ("a", "b", "c")] == [1.0, None, 1.0]
