"""What a class shows of itself, for metrics and `foreword cache stats`.

A function of its state alone. Must not count anything itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.cache.semantic import cuts
from gateway.cache.semantic.gate import detection_delay_hits
from gateway.cache.semantic.state import ClassState, Mode, floor_rate, is_frozen, promise_of
from policies.rules import SemanticRules


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFigures:
    """One class now. Rates are shares, money nano-dollars.

    `wrong_per_hit` is a best guess and `wrong_per_hit_upper` its one-sided 95 % upper bound, both above the
    comparators' noise, at the cut that is served or, while observing, at the one with the lowest upper bound. `cut` is
    the P(right) from which pairs are served, None while observing. `is_frozen`: today's budget for labels is spent.
    `affirmed`, `refuted` and `unverified` are what the verifier said of pairs (the last: nothing, or too late for its
    own deadline). `net_saved_nanousd` is what hits saved less what labels and verifying cost.
    """

    mode: Mode
    is_frozen: bool
    requests: int
    hits: int
    labels: int
    hit_labels: int
    floor_checks: int
    alarms: int
    cut: float | None
    wrong_per_hit: float
    wrong_per_hit_upper: float
    wrong_per_request_upper: float
    noise_floor: float
    detection_delay_hits: float
    net_saved_nanousd: int
    label_cost_nanousd: int
    affirmed: int
    refuted: int
    unverified: int
    verify_cost_nanousd: int


def figures_of(state: ClassState, rules: SemanticRules, *, at_s: float) -> ClassFigures:
    """Return the class's figures at `at_s` (Unix seconds); takes up to 50 ms of CPU while observing, 4 ms serving."""
    window, promise, floor = state.windows.current, promise_of(rules), state.floor.current
    looked_at = range(len(cuts.CUTS)) if state.cut is None else (state.cut,)
    kept = cuts.lowest_kept(window, promise, served_from=state.cut, floor=floor)
    level = kept.level if kept is not None and kept.cut == state.cut else None
    bounds = {cut: cuts.upper_bound_above(window, cut, promise, floor=floor, level=level) for cut in looked_at}
    cut = min(bounds, key=lambda at: bounds[at][1])
    guess, upper = bounds[cut]
    hit_share = float(window.pairs[cut:].sum()) / max(window.requests, 1)
    totals = state.totals
    return ClassFigures(
        mode=state.mode,
        is_frozen=is_frozen(state, rules, at_s=at_s),
        requests=totals.requests,
        hits=totals.hits,
        labels=totals.labels,
        hit_labels=totals.hit_labels,
        floor_checks=totals.floor_checks,
        alarms=totals.alarms,
        cut=None if state.cut is None else 1 - cuts.WRONG_AT_CUT[state.cut],
        wrong_per_hit=guess,
        wrong_per_hit_upper=upper,
        wrong_per_request_upper=min(1.0, upper * hit_share),
        noise_floor=floor_rate(state),
        detection_delay_hits=detection_delay_hits(state, rules),
        net_saved_nanousd=totals.saved_nanousd - totals.label_cost_nanousd - totals.verify_cost_nanousd,
        label_cost_nanousd=totals.label_cost_nanousd,
        affirmed=totals.affirmed,
        refuted=totals.refuted,
        unverified=totals.unverified,
        verify_cost_nanousd=totals.verify_cost_nanousd,
    )
