"""The retry budget, and the counting of the last seconds that it stands on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.retry_budget import RetryBudget
from router.windows import RecentCount


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 5)), max_size=80))
def test_a_recent_count_is_what_happened_in_the_last_ten_seconds(steps: list[tuple[int, int]]) -> None:
    count, events, now_ms = RecentCount(seconds=10), [], 5_000
    for step_ms, amount in steps:
        now_ms += step_ms
        count.add(now_ms / 1000, amount)
        events.append((now_ms // 1000, amount))
        assert count.total == sum(amount for second, amount in events if second > now_ms // 1000 - 10)


def test_a_quiet_gateway_may_retry_once_a_second() -> None:
    budget = RetryBudget()
    assert [budget.take(100.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert budget.refused == 2
    assert budget.take(111.0)


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 0.5)), max_size=400))
def test_repetitions_never_exceed_a_tenth_of_the_requests_and_one_a_second(steps: list[tuple[bool, float]]) -> None:
    budget, now_s = RetryBudget(), 50.0
    requests, taken = RecentCount(), RecentCount()
    for is_request, step_s in steps:
        now_s += step_s
        if is_request:
            budget.request(now_s)
            requests.add(now_s)
        elif budget.take(now_s):
            taken.add(now_s)
            assert taken.total <= 10 + 0.1 * requests.move(now_s)
