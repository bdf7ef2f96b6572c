"""When a breaker opens, how it comes back, and what processes tell each other."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from router.breaker import BreakerRules, Breakers
from router.ports import BreakerHint


class Hints:
    """A BreakerHints in memory: what was published here, and what others are made to have said."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bool]] = []
        self.heard: list[BreakerHint] = []

    def publish(self, deployment_id: str, *, is_open: bool) -> None:
        self.published.append((deployment_id, is_open))

    def observe(self) -> Sequence[BreakerHint]:
        heard, self.heard = self.heard, []
        return heard


def opened(hints: Hints | None = None) -> Breakers:
    breakers = Breakers(BreakerRules(), hints=hints)
    for _ in range(5):
        breakers.failed("d", 100.0, "server_error")
    return breakers


def test_failures_in_a_row_open_it_and_a_success_in_between_does_not() -> None:
    breakers = Breakers(BreakerRules())
    for _ in range(4):
        breakers.failed("d", 100.0, "server_error")
    breakers.succeeded("d", 100.0)
    for _ in range(4):
        breakers.failed("d", 100.0, "server_error")
    assert (breakers.state("d"), breakers.would_admit("d", 100.0)) == ("closed", True)
    breakers.failed("d", 100.0, "server_error")
    assert (breakers.state("d"), breakers.would_admit("d", 100.0), breakers.admit("d", 101.9)) == ("open", False, False)


def test_a_failure_rate_opens_it_without_a_row() -> None:
    breakers = Breakers(BreakerRules())
    for _ in range(11):
        breakers.failed("d", 100.0, "server_error")
        if breakers.state("d") == "closed":
            breakers.succeeded("d", 100.0)
    assert breakers.state("d") == "open"
    calm = Breakers(BreakerRules())
    for _ in range(50):
        calm.failed("d", 100.0, "server_error")
        calm.succeeded("d", 100.0)
        calm.succeeded("d", 100.0)
    assert calm.state("d") == "closed"


def test_one_probe_at_a_time_and_its_success_closes_it() -> None:
    breakers = opened()
    assert breakers.admit("d", 102.0)
    assert (breakers.state("d"), breakers.admit("d", 102.0), breakers.would_admit("d", 102.0)) == (
        "half_open",
        False,
        False,
    )
    breakers.succeeded("d", 102.5)
    assert [breakers.admit("d", 102.5) for _ in range(3)] == [True] * 3
    assert [(change.before, change.after) for change in breakers.take_changes()] == [
        ("closed", "open"),
        ("open", "half_open"),
        ("half_open", "closed"),
    ]
    assert breakers.take_changes() == ()


def test_a_probe_that_was_cancelled_lets_another_one_go() -> None:
    breakers = opened()
    assert breakers.admit("d", 102.0)
    breakers.abandoned("d")
    assert breakers.admit("d", 102.0)


@given(st.integers(min_value=0, max_value=12))
def test_however_long_it_was_down_it_is_probed_again_within_fifteen_seconds(failed_probes: int) -> None:
    breakers, now_s = opened(), 100.0
    for _ in range(failed_probes + 1):
        asked_s = now_s
        while not breakers.admit("d", now_s):
            now_s += 0.25
        assert now_s - asked_s <= 15.0
        breakers.failed("d", now_s, "timeout")
    assert breakers.state("d") == "open"


def test_what_is_open_elsewhere_is_probed_here_by_one_call() -> None:
    hints = Hints()
    breakers = Breakers(BreakerRules(), hints=hints)
    hints.heard = [BreakerHint(deployment_id="d", is_open=True)]
    assert breakers.would_admit("d", 100.0)
    assert [breakers.admit("d", 100.0), breakers.admit("d", 100.0)] == [True, False]
    breakers.succeeded("d", 100.0)
    assert (breakers.state("d"), hints.published) == ("closed", [("d", False)])


def test_what_is_well_elsewhere_is_probed_at_once() -> None:
    hints = Hints()
    breakers = opened(hints)
    assert hints.published == [("d", True)]
    assert not breakers.would_admit("d", 100.5)
    hints.heard = [BreakerHint(deployment_id="d", is_open=False)]
    assert breakers.would_admit("d", 100.5)


OPS = st.lists(st.sampled_from(["admit", "succeeded", "failed", "abandoned", "wait"]), max_size=80)


@given(OPS)
def test_while_half_open_never_two_calls_are_under_way(steps: list[str]) -> None:
    breakers, now_s, probes = opened(), 100.0, 0
    for step in steps:
        now_s += 1.0 if step == "wait" else 0.0
        if step == "admit" and breakers.admit("d", now_s):
            probes += breakers.state("d") == "half_open"
        elif step in ("succeeded", "failed", "abandoned") and probes:
            probes = 0
            if step == "abandoned":
                breakers.abandoned("d")
            elif step == "succeeded":
                breakers.succeeded("d", now_s)
            else:
                breakers.failed("d", now_s, "server_error")
        assert probes <= 1
