"""What the warmer says of itself: every series is there at zero, moves with what happened, and follows no stranger."""

from __future__ import annotations

from gateway.metrics import Metrics
from gateway.warming.telling import FOLLOWS, told_of_figures, told_of_step
from gateway.warming_series import WARMING_COUNTERS, WARMING_LEVELS
from tests.unit.gateway.metric_samples import KNOWN, make, samples, value
from warmer.calibration import Calibration
from warmer.figures import Figures, Holdout, PredictorFigures
from warmer.intervals import Interval
from warmer.results import Considered, Stepped
from warmer.types import PREDICTOR_NAMES, Known


def considered(**changes: object) -> Considered:
    fields: dict[str, object] = {
        "tenant": "acme",
        "recipe": Known(key="k"),
        "predictor": "schedule",
        "level": "answer",
        "result": "warmed",
        "probability": 0.9,
        "cost_nanousd": 2_000_000_000,
        **changes,
    }
    return Considered(**fields)  # type: ignore[arg-type]


def some(value: float) -> Interval:
    return Interval(value=value, low=value / 2, high=value * 2)


def figures_of(name: str) -> PredictorFigures:
    return PredictorFigures(
        name=name,
        warms=9,
        resolved=8,
        useful=4,
        precision=Interval(value=0.5, low=0.2, high=0.8),
        held=3,
        precision_held=some(0.5),
        precision_difference=some(0.0),
        precision_watched=some(0.5),
        misses_removed=some(4.0),
        misses_removed_per_warm=some(0.5),
        cost_usd=1.0,
        wasted_usd=0.25,
        saved_usd=some(2.0),
        net_usd=some(1.0),
        wait_saved_s=some(30.0),
        lead_s=some(60.0),
        reliability=Calibration().reliability(),
    )


def test_every_series_is_there_at_zero_for_every_predictor_before_anything_happened() -> None:
    found = samples(make())
    for series in (*WARMING_COUNTERS, *WARMING_LEVELS):
        name = f"{series.name}_total" if series in WARMING_COUNTERS else series.name
        labels = [dict(names) for (one, names) in found if one == name]
        assert labels, name
        assert value(found, name) == 0
        if "predictor" in series.labels:
            assert {one["predictor"] for one in labels} == set(PREDICTOR_NAMES)


def test_a_step_adds_what_it_did() -> None:
    metrics = make()
    stepped = Stepped(
        events=5,
        newest_at_s=90.0,
        is_at_end=False,
        considered=(considered(), considered(result="not_kept", level="prefix"), considered(result="fresh")),
        displaced=(("acme", "k"),),
    )
    metrics.warmer_told(told_of_step(stepped, now_s=100.0, window_events=7))
    found = samples(metrics)
    assert value(found, "foreword_warmer_events_total") == 5
    assert value(found, "foreword_warmer_displaced_total") == 1
    assert value(found, "foreword_warmer_predictions_total", predictor="schedule") == 3
    assert value(found, "foreword_warmer_warms_total", predictor="schedule", level="answer") == 1
    assert value(found, "foreword_warmer_cost_usd_total", predictor="schedule") == 4.0
    assert value(found, "foreword_warmer_lag_seconds") == 10.0
    assert (value(found, "foreword_warmer_leader"), value(found, "foreword_warmer_window_events")) == (1, 7)


def test_the_account_is_told_by_predictor_and_a_follower_says_zero() -> None:
    metrics = Metrics(version="1", known=KNOWN)
    known, stranger = figures_of("follow_up"), figures_of("nobody")
    held = Holdout(
        keys_held=1,
        keys_open=2,
        misses_per_request_held=some(0.5),
        misses_per_request_open=some(0.25),
        misses_removed_per_request=some(0.25),
    )
    account = Figures(
        since_s=0.0,
        at_s=1.0,
        requests=9,
        by_origin={},
        hit_wait_s=0.1,
        miss_wait_s=1.0,
        predictors=(known, stranger),
        total=known,
        holdout=held,
    )
    metrics.warmer_told(told_of_figures(account))
    told = samples(metrics)
    by = {"predictor": "follow_up"}
    assert value(told, "foreword_warmer_useful_warms", **by) == 4
    assert value(told, "foreword_warmer_misses_removed", **by) == 4
    assert value(told, "foreword_warmer_wasted_usd", **by) == 0.25
    assert value(told, "foreword_warmer_net_usd", **by) == 1.0
    assert value(told, "foreword_warmer_precision_low", **by) == 0.2
    assert value(told, "foreword_warmer_held_out", **by) == 3
    assert not any(dict(names).get("predictor") == "nobody" for _, names in told)
    metrics.warmer_told(FOLLOWS)
    follows = samples(metrics)
    assert all(value(follows, level.name) == 0 for level in WARMING_LEVELS)
