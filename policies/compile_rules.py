"""Turn the shapes of rule_schema.py into the frozen values of rules.py.

Units change here (USD to nano-dollars, minutes to seconds) and nowhere else; must not check anything.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import Literal

from policies.rule_schema import (
    AllowSpec,
    BudgetSpec,
    CascadeSpec,
    GuardSpec,
    JudgeSpec,
    LatencySpec,
    QualitySpec,
    RateLimitSpec,
    RolloutSpec,
    SelectorSpec,
    SemanticSpec,
    ShadowSpec,
    TierSpec,
    VerifySpec,
    WarmingSpec,
)
from policies.rules import (
    AcceptRules,
    AllowRules,
    BudgetRules,
    CascadeRules,
    GuardRules,
    JudgeRules,
    KnnRules,
    LatencyRules,
    QualityRules,
    RateRules,
    RolloutRules,
    SemanticRules,
    ShadowRules,
    TierRules,
    VerifyRules,
    WarmingRules,
)


def nanousd(usd: float) -> int:
    """Return USD in whole nano-dollars, rounded down: a limit must not grow. By way of str, as people write it."""
    return int((Decimal(str(usd)) * 1_000_000_000).to_integral_value(rounding=ROUND_FLOOR))


def quality_rules(spec: QualitySpec) -> QualityRules:
    """Compile `objective.quality`."""
    return QualityRules(floor=spec.floor, confidence=spec.confidence)


def latency_rules(spec: LatencySpec) -> LatencyRules:
    """Compile `objective.latency`."""
    return LatencyRules(p95_first_token_ms=spec.p95_first_token_ms, p95_total_ms=spec.p95_total_ms)


def knn_rules(spec: SelectorSpec | None) -> KnnRules:
    """Compile `selector`; its defaults where a route has a floor and no selector."""
    if spec is None:
        return KnnRules()
    return KnnRules(k=spec.k, min_similarity=spec.min_similarity, control=spec.control)


def cascade_rules(spec: CascadeSpec) -> CascadeRules:
    """Compile `cascade`."""
    accept = AcceptRules(
        json_schema=spec.accept.json_schema,
        no_refusal=spec.accept.no_refusal,
        quotes_present=spec.accept.quotes_present,
    )
    return CascadeRules(first=spec.first, then=spec.then, accept=accept)


def tier_rules(spec: TierSpec) -> TierRules:
    """Compile `tier`."""
    return TierRules(prefer=spec.prefer, deadline_gt_s=spec.when.deadline_s.gt if spec.when else 0.0)


def budget_rules(spec: BudgetSpec) -> BudgetRules:
    """Compile a row of `budgets`."""
    return BudgetRules(
        scope=spec.scope,
        route=spec.key,
        limit_nanousd=nanousd(spec.limit_usd),
        window=spec.window,
        tz=spec.tz,
        on_exceed=tuple(spec.on_exceed),
        is_hard=spec.hard,
    )


def rate_rules(spec: RateLimitSpec) -> RateRules:
    """Compile a row of `rate_limits`."""
    return RateRules(
        scope=spec.scope,
        requests_per_minute=spec.requests_per_minute,
        tokens_per_minute=spec.tokens_per_minute,
    )


def rollout_rules(spec: RolloutSpec) -> RolloutRules:
    """Compile `rollout`: the steps from `percent` on."""
    begin = spec.steps.index(spec.percent) if spec.percent is not None else 0
    return RolloutRules(
        steps=tuple(spec.steps[begin:]),
        salt=spec.salt,
        hold_s=spec.hold_min * 60.0,
        guards=tuple(_guard(guard) for guard in spec.guard),
    )


def judge_rules(spec: JudgeSpec) -> JudgeRules:
    """Compile `judge`."""
    return JudgeRules(
        model=spec.model,
        sample=spec.sample,
        max_concurrency=spec.max_concurrency,
        limit_nanousd_day=nanousd(spec.limit_usd_day),
    )


def allow_rules(spec: AllowSpec) -> AllowRules:
    """Compile `allow`."""
    return AllowRules(
        providers=None if spec.providers is None else frozenset(spec.providers),
        regions=None if spec.regions is None else frozenset(spec.regions),
    )


def shadow_rules(spec: ShadowSpec) -> ShadowRules:
    """Compile `shadow`."""
    return ShadowRules(
        sample=spec.sample,
        models=tuple(spec.models),
        max_concurrency=spec.max_concurrency,
        limit_nanousd_day=nanousd(spec.limit_usd_day),
    )


def warming_rules(spec: WarmingSpec | Literal[False]) -> WarmingRules | None:
    """Compile `warming`; None is off."""
    if spec is False:
        return None
    return WarmingRules(
        limit_nanousd_day=nanousd(spec.limit_usd_day),
        max_share_of_spend=spec.max_share_of_spend,
        tier=spec.tier,
        wait_value_nanousd=nanousd(spec.wait_value_usd),
        holdout=spec.holdout,
        max_in_flight=spec.max_in_flight,
    )


def semantic_rules(spec: SemanticSpec | Literal[False]) -> SemanticRules | None:
    """Compile `cache.semantic`; None is off."""
    if spec is False:
        return None
    return SemanticRules(
        wrong_per_hit=spec.wrong_per_hit,
        wrong_per_request=spec.wrong_per_request,
        sample=spec.sample,
        label_budget_nanousd_day=nanousd(spec.label_budget_usd_day),
        verify=None if spec.verify is None else _verify(spec.verify),
    )


def _verify(spec: VerifySpec) -> VerifyRules:
    return VerifyRules(model=spec.model, timeout_s=spec.timeout, budget_nanousd_day=nanousd(spec.budget_usd_day))


def _guard(spec: GuardSpec) -> GuardRules:
    return GuardRules(
        metric=spec.metric,
        worse_by_abs=spec.worse_by_abs,
        worse_by_rel=spec.worse_by_rel,
        min_n=spec.min_n,
        action=spec.action,
    )
