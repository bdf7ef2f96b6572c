"""What a policy says beyond which models may answer: quality, cascades, tiers, budgets, rollout, shadow, warming, hits.

Frozen values of the YAML keys of the same names; no I/O, no decision. Money is in nano-dollars, durations in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BudgetScope = Literal["tenant", "key", "session", "route", "policy"]
"""Whose spend a budget bounds: each tenant, each gateway key, each session, one route, or everybody under the file."""

BudgetWindow = Literal["minute", "hour", "day", "week", "month"]
"""Calendar windows in the budget's time zone; weeks begin on Monday."""

OnExceed = Literal["downgrade_to_floor", "refuse"]
GuardMetric = Literal["error_rate", "p95_total_ms", "p95_first_token_ms", "cost_usd", "quality"]
GuardAction = Literal["rollback", "pause"]
AcceptSchema = Literal["analysis_v1", "fallacy_v1", "verdict_v1"]
"""The schemas of the shipped pipelines' steps (gateway.acceptance has them; a test compares)."""
PriceTier = Literal["standard", "flex"]
Sticky = Literal["none", "session", "transcript"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRules:
    """A floor under predicted quality: `floor` x the reference model's, held by the one-sided `confidence` bound."""

    floor: float
    confidence: float = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRules:
    """What a candidate's recent figures may be at most, where there are enough of them."""

    p95_first_token_ms: float | None = None
    p95_total_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnnRules:
    """How `quality_floor` predicts: `k` nearest labelled questions of at least `min_similarity`, else the task's mean.

    `control` is the share of requests routed by a cost-matched shuffle, so that the uplift can be stated.
    """

    k: int = 100
    min_similarity: float = 0.55
    control: float = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptRules:
    """What a held first answer must pass: a JSON schema by name, no refusal, every quote found in the request."""

    json_schema: AcceptSchema | None = None
    no_refusal: bool = False
    quotes_present: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeRules:
    """Ask `first`; where its answer fails `accept`, ask `then`. Answers are held, never streamed before accepted."""

    first: str
    then: str
    accept: AcceptRules


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRules:
    """A cheaper service tier where the caller can wait: `prefer` applies when the deadline exceeds `deadline_gt_s`."""

    prefer: PriceTier
    deadline_gt_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeRules:
    """When a second call may race a first one that is late, and how often.

    `after` is the share of recent times to first token that must have passed (0.95: p95), `max` the hedges of one
    request, `budget_ratio` the most of the route's requests, and of its spend, that hedges may be.
    """

    after: float = 0.95
    max: int = 1
    budget_ratio: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRules:
    """At most `limit_nanousd` in each window. `route` is the route of scope `route`.

    `is_hard`: without Redis, or where a request's cost has no upper bound, refuse; a soft one keeps a local slice.
    """

    scope: BudgetScope
    limit_nanousd: int
    window: BudgetWindow
    route: str | None = None
    tz: str = "UTC"
    on_exceed: tuple[OnExceed, ...] = ("refuse",)
    is_hard: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRules:
    """Requests and tokens per calendar minute, of each key or each tenant; None is unlimited."""

    scope: Literal["key", "tenant"]
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRules:
    """A comparison of the new version with the old one in the same window, by an always-valid sequential test."""

    metric: GuardMetric
    worse_by_abs: float | None = None
    worse_by_rel: float | None = None
    min_n: int = 400
    action: GuardAction = "rollback"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRules:
    """How a new version of the file takes over: `steps` in per cent of sessions, each held `hold_s` seconds.

    `salt` seeds the buckets: a session that is in 5 % stays in 25 %.
    """

    steps: tuple[float, ...]
    salt: str
    hold_s: float
    guards: tuple[GuardRules, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowRules:
    """A copy of a share of requests goes to other models; nobody waits for it or sees its answer."""

    sample: float
    models: tuple[str, ...]
    max_concurrency: int
    limit_nanousd_day: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRules:
    """A model that marks a share of the answers, so that their quality is known; nobody waits for it."""

    model: str
    sample: float
    max_concurrency: int
    limit_nanousd_day: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowRules:
    """Where a request's text may go, fallbacks, hedges and copies included; None: anywhere.

    A model group may be asked only where every deployment of it is at one of the `providers` and in one of the
    `regions`, so that no choice within the group leads elsewhere.
    """

    providers: frozenset[str] | None = None
    regions: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmingRules:
    """What the warmer may spend: the smaller of a sum a day and a share of the last 24 h of spend.

    `wait_value_nanousd`: what a saved second of waiting is worth; 0 warms only where it saves money. `max_in_flight`:
    calls to a model, users' too, at which no further warm begins; None: half of what its deployments take.
    """

    limit_nanousd_day: int
    max_share_of_spend: float = 0.05
    tier: PriceTier = "flex"
    wait_value_nanousd: int = 0
    holdout: float = 0.05
    max_in_flight: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRules:
    """Who is asked whether one answer serves two questions, where the gate doubts it.

    `model` is an alias of `Policy.models` or a group of models.yaml. A request waits `timeout_s` for it at most;
    `budget_nanousd_day` is the most that asking costs in a day (UTC) and class.
    """

    model: str
    timeout_s: float = 0.8
    budget_nanousd_day: int = 500_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticRules:
    """How many answers to another question's wording may be wrong, and what finding that out may cost.

    `wrong_per_hit` and `wrong_per_request` are shares, kept with 95 % confidence; `sample` is the least share of hits
    that is asked again, `label_budget_nanousd_day` the most that asking again costs in a day (UTC) and class. `verify`
    None asks nobody about a pair.
    """

    wrong_per_hit: float = 0.02
    wrong_per_request: float = 0.005
    sample: float = 0.02
    label_budget_nanousd_day: int = 1_000_000_000
    verify: VerifyRules | None = None
