"""What the rows of `make report-card` were worth: figures with intervals, in uncompressed seconds. Prints nothing."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import inf

import msgspec
import numpy as np
import numpy.typing as npt

from tests.bench.cache_data import ADJUDICATED, QUORA
from tests.bench.report_card_bot import Told
from tests.bench.report_card_measure import Measured, Setup
from tests.bench.report_card_week import Interaction, Week

RESAMPLES = 2000
Floats = npt.NDArray[np.float64]
Verdict = str
"""Of a pair of questions: `right`, `wrong` (both by reading), `same class`, `other class` (noisy), `unknown`."""


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A figure and its 95 % bootstrap interval over interactions."""

    value: float
    low: float
    high: float


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """Hits of whole interactions that were compared with the answer that was stored, and how many differed from it.

    `unseen` are hits whose stored answer nobody was told before (it was made beside the users' requests).
    """

    compared: int = 0
    differed: int = 0
    unseen: int = 0


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One row's figures. `hit_share`: of all asks, those that needed no provider call. Costs in USD per interaction.

    `flex_calls` are those of warms at the flex tier, in the replay; `flex_full`: see `_flex_full`.
    """

    row: str
    is_built: bool
    interactions: int = 0
    failed: int = 0
    latency: dict[str, Interval] = {}
    change: dict[str, Interval] = {}
    cost: Interval = Interval(value=0.0, low=0.0, high=0.0)
    beside: dict[str, float] = {}
    hit_share: float = 0.0
    tiers: dict[str, float] = {}
    untouched: float = 0.0
    rate: float = 0.0
    rate_step: float = 0.0
    checked: Checked = Checked()
    semantic: dict[str, int] = {}
    models: dict[str, int] = {}
    labels: float = 0.0
    refusals: dict[str, float] = {}
    hedges: dict[str, float] = {}
    warms: dict[str, float] = {}
    flex_calls: int = 0
    flex_full: float = 0.0
    late_s: float = 0.0
    most_at_once: int = 0
    counted: float = 0.0


def card(measured: Measured, base: Measured, *, week: Week, setup: Setup) -> Card:
    """Return the figures of a row; `change` is against the row `base`, interaction by interaction."""
    if not measured.is_built:
        return Card(row=measured.row, is_built=False)
    took_s, base_s = _took_s(measured, setup), _took_s(base, setup)
    costs, base_costs = _costs(measured), _costs(base)
    rng = np.random.default_rng(setup.seed)
    picks = rng.integers(0, len(took_s), (RESAMPLES, len(took_s)))
    asks = max(1.0, measured.asks)
    told = [(week.before[one.index], one.told) for one in measured.earlier]
    told += [(week.measured[one.index], one.told) for one in measured.done]
    return Card(
        row=measured.row,
        is_built=True,
        interactions=len(measured.done),
        failed=sum(not one.is_ok for one in measured.done),
        latency={name: _interval(_quantile(share), picks, took_s) for name, share in SHARES.items()},
        change={
            "p95": _interval(_ratio_of(_quantile(0.95)), picks, took_s, base_s),
            "cost": _interval(_ratio_of(np.mean), picks, costs, base_costs),
        },
        cost=_interval(np.mean, picks, costs),
        beside={origin: usd for origin, usd in measured.cost_usd.items() if origin not in ("user", "pipeline")},
        hit_share=sum(measured.tiers.values()) / asks,
        tiers={tier: count / asks for tier, count in measured.tiers.items()},
        untouched=sum(one.is_ok and not one.told.calls for one in measured.done) / len(measured.done),
        rate=best_rate(measured, setup),
        rate_step=_rate_step(measured, setup),
        checked=checked(told, since=len(measured.earlier)),
        semantic=judged(told, since=len(measured.earlier)),
        models=measured.models,
        labels=measured.labels,
        refusals=measured.refusals,
        hedges=measured.hedges,
        warms=measured.warms,
        flex_calls=measured.provider.flex_calls,
        flex_full=_flex_full(measured),
        late_s=float(np.quantile([one.late_s for one in measured.done], 0.99)) * setup.latencies,
        most_at_once=measured.provider.most_at_once,
        counted=measured.interactions,
    )


def _flex_full(measured: Measured) -> float:
    """Return the share of the provider's places that warms held in the tries of a rate while calls waited in line."""
    full_s = sum(trial.full_s for trial in measured.trials)
    return sum(trial.flex_full_s for trial in measured.trials) / full_s if full_s else 0.0


SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_Figure = Callable[[Floats], "np.floating | float"]


def _costs(measured: Measured) -> Floats:
    own = np.array([one.told.cost_usd for one in measured.done])
    # What was spent beside the users' own calls belongs to nobody, so it is spread over all.
    return own + max(0.0, sum(measured.cost_usd.values()) - float(own.sum())) / len(own)


def _took_s(measured: Measured, setup: Setup) -> Floats:
    # A failure is no fast answer: it counts as one that never came.
    return np.array([one.took_s * setup.latencies if one.is_ok else inf for one in measured.done])


def _quantile(share: float) -> Callable[[Floats], float]:
    return lambda values: float(np.quantile(values, share, method="higher"))


def _ratio_of(figure: Callable[[Floats], float]) -> Callable[[Floats, Floats], float]:
    def ratio(ours: Floats, theirs: Floats) -> float:
        return float(figure(ours)) / max(float(figure(theirs)), 1e-12) - 1.0

    return ratio


def _interval(figure: Callable[..., float], picks: npt.NDArray[np.int64], *columns: Floats) -> Interval:
    drawn = sorted(float(figure(*(column[pick] for column in columns))) for pick in picks)
    value = float(figure(*columns))
    return Interval(value=value, low=drawn[int(0.025 * len(drawn))], high=drawn[int(0.975 * len(drawn))])


def best_rate(measured: Measured, setup: Setup) -> float:
    """Return the highest rate tried that was sustained and below which none failed, 0 without one."""
    failing = _failing_rate(measured, setup)
    return max((trial.rate for trial in measured.trials if trial.rate < failing), default=0.0)


def _failing_rate(measured: Measured, setup: Setup) -> float:
    return min((trial.rate for trial in measured.trials if not trial.is_within(setup.slo_s)), default=inf)


def _rate_step(measured: Measured, setup: Setup) -> float:
    """Return how far above the best rate the lowest failing one lies: the search's resolution; inf: none failed."""
    best = best_rate(measured, setup)
    return _failing_rate(measured, setup) / best - 1.0 if best else 0.0


def checked(told: Sequence[tuple[Interaction, Told]], *, since: int) -> Checked:
    """Compare every exact hit from `since` on with what was told when its answer was made."""
    made: dict[str, set[str]] = {}
    for asked, one in told:
        if one.cache not in ("hit", "semantic-hit") and not one.problem:
            made.setdefault(asked.identity, set()).add(one.digest)
    compared = differed = unseen = 0
    for asked, one in told[since:]:
        known = made.get(asked.identity) if one.cache == "hit" else None
        unseen += one.cache == "hit" and known is None
        compared += known is not None
        differed += known is not None and one.digest not in known
    return Checked(compared=compared, differed=differed, unseen=unseen)


def judged(told: Sequence[tuple[Interaction, Told]], *, since: int) -> dict[str, int]:
    """Count the semantic hits by what is known of them: whose question the answer was made for, and how that reads."""
    makers = {one.answer: asked for asked, one in told if one.cache == "miss" and one.answer}
    counts: dict[str, int] = {}
    for asked, one in told[since:]:
        if one.cache == "semantic-hit":
            verdict = _verdict(asked, makers.get(one.answer))
            counts[verdict] = counts.get(verdict, 0) + 1
    return counts


def _verdict(asked: Interaction, maker: Interaction | None) -> Verdict:
    if maker is None or asked.kind != "chat":
        return "unknown"
    read = _read_pairs().get((asked.question, maker.question))
    if read is not None:
        return {"y": "right", "n": "wrong"}.get(read, "unknown")
    return "same class" if asked.class_id == maker.class_id else "other class"


@cache
def _read_pairs() -> Mapping[tuple[str, str], str]:
    if not (ADJUDICATED.exists() and QUORA.exists()):
        return {}
    with gzip.open(QUORA, "rb") as lines:
        texts = [msgspec.json.decode(line, type=_Question).text for line in lines]
    with ADJUDICATED.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {(texts[int(row["request"])], texts[int(row["neighbour"])]): row["label"] for row in rows}


class _Question(msgspec.Struct, frozen=True):
    text: str
