"""The shape of what a policy says beyond which models may answer (see rules.py), as pydantic models.

Must not know which models or routes exist: names.py checks that.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from policies.rules import AcceptSchema, BudgetScope, BudgetWindow, GuardAction, GuardMetric, OnExceed, PriceTier
from policies.shapes import Duration, ModelName, Name, Spec
from policies.zones import zone

MOST_USD = 9_000_000.0
"""Lua's numbers in Redis are exact up to 2**53, which is 9 million dollars in nano-dollars."""


def _zone(value: object) -> object:
    if isinstance(value, str):
        try:
            zone(value)
        except (KeyError, ValueError, OSError) as error:
            raise PydanticCustomError("zone", "must be a time zone of the IANA database, such as UTC") from error
    return value


Usd = Annotated[float, Field(ge=0, le=MOST_USD)]
Share = Annotated[float, Field(ge=0, le=1)]
TimeZone = Annotated[str, BeforeValidator(_zone), WithJsonSchema({"type": "string"})]


class QualitySpec(Spec):
    """A floor under predicted quality."""

    floor: Annotated[float, Field(gt=0, le=1)] = Field(description="share of the reference model's quality")
    of: Literal["reference"] = Field(default="reference", description="what the floor is a share of")
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = Field(
        default=0.9, description="how sure the lower bound of a model's quality must be"
    )


class LatencySpec(Spec):
    """What a model's recent figures may be at most; a model with too few of them is not judged."""

    p95_first_token_ms: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="95th percentile of the time to first token"
    )
    p95_total_ms: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="95th percentile of the whole answer's time"
    )


class SelectorSpec(Spec):
    """How quality is predicted."""

    type: Literal["quality_floor"] = Field(description="cheapest model whose predicted quality reaches the floor")
    k: Annotated[int, Field(ge=1, le=1000)] = Field(default=100, description="most similar labelled questions asked")
    min_similarity: Annotated[float, Field(ge=-1, le=1)] = Field(
        default=0.55, description="cosine below which a labelled question says nothing"
    )
    below: Literal["reference"] = Field(default="reference", description="who answers when nobody is sure")
    control: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.03, description="share of requests routed by a cost-matched shuffle, to measure the uplift"
    )


class AcceptSpec(Spec):
    """What a first answer must pass."""

    json_schema: AcceptSchema | None = Field(
        default=None, description="a schema of the shipped pipelines, such as fallacy_v1"
    )
    no_refusal: bool = Field(default=False, description="whether a refusal sends the request on")
    quotes_present: bool = Field(default=False, description="whether every quote must be in the request's text")

    @model_validator(mode="after")
    def _checks_something(self) -> Self:
        if not (self.json_schema or self.no_refusal or self.quotes_present):
            raise PydanticCustomError("accept", "give at least one of json_schema, no_refusal, quotes_present")
        return self


class CascadeSpec(Spec):
    """A cheap first answer, then a better one."""

    first: ModelName = Field(description="alias or group asked first")
    accept: AcceptSpec = Field(description="what its answer must pass")
    then: ModelName = Field(description="alias or group asked where it does not")
    max_steps: Literal[2] = Field(default=2, description="answers asked for at most; there is no other choice")


class AllowSpec(Spec):
    """Where the text of requests may go."""

    providers: list[Name] | None = Field(
        default=None, min_length=1, description="providers that may be asked, fallbacks, hedges and copies included"
    )
    regions: list[Name] | None = Field(
        default=None, min_length=1, description="regions that may be asked, as models.yaml says of its deployments"
    )

    @model_validator(mode="after")
    def _allows_something(self) -> Self:
        if self.providers is None and self.regions is None:
            raise PydanticCustomError("allow", "give providers, regions or both")
        return self


class DeadlineRangeSpec(Spec):
    """A bound on the deadline."""

    gt: Annotated[float, Field(ge=0, le=86400)] = Field(description="seconds that the request's deadline must exceed")


class TierWhenSpec(Spec):
    """When the tier is asked for."""

    deadline_s: DeadlineRangeSpec = Field(description="bounds on the request's deadline")


class TierSpec(Spec):
    """A cheaper service tier."""

    prefer: PriceTier = Field(description="the provider's service tier")
    when: TierWhenSpec | None = Field(default=None, description="only for these requests; every one if absent")


class BudgetSpec(Spec):
    """What may be spent."""

    scope: BudgetScope = Field(description="each tenant, key or session; one route; or everybody under this file")
    key: Name | None = Field(default=None, description="the route's name, for scope route")
    limit_usd: Usd = Field(description="most that may be spent in one window")
    window: BudgetWindow = Field(description="calendar window; weeks begin on Monday")
    tz: TimeZone = Field(default="UTC", description="time zone of the window's edges")
    on_exceed: list[OnExceed] = Field(
        default=["refuse"], min_length=1, description="in order: cheaper models above the floor, then refusal"
    )
    hard: bool = Field(default=True, description="refuse what cannot be bounded, and everything while Redis is away")

    @model_validator(mode="after")
    def _key_fits_scope(self) -> Self:
        if (self.scope == "route") != (self.key is not None):
            raise PydanticCustomError("budget", "`key` is the route's name: needed for scope route, and only there")
        if "refuse" in self.on_exceed[:-1]:
            raise PydanticCustomError("budget", "nothing can follow refuse in on_exceed")
        return self


class RateLimitSpec(Spec):
    """Requests and tokens per minute."""

    scope: Literal["key", "tenant"] = Field(description="each gateway key, or each tenant")
    requests_per_minute: Annotated[int, Field(ge=1)] | None = Field(default=None, description="most requests")
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="most tokens, input and output together"
    )

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.requests_per_minute is None and self.tokens_per_minute is None:
            raise PydanticCustomError("rate", "give requests_per_minute, tokens_per_minute or both")
        return self


class GuardSpec(Spec):
    """What must not get worse while a new version takes over."""

    metric: GuardMetric = Field(description="what is compared, new version against old, in the same window")
    worse_by_abs: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="most it may rise (quality: fall)"
    )
    worse_by_rel: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="most it may rise as a share of the old version's figure"
    )
    min_n: Annotated[int, Field(ge=1)] = Field(
        default=400, description="interactions of the new version before a verdict"
    )
    action: GuardAction = Field(default="rollback", description="what a failed guard does")

    @model_validator(mode="after")
    def _one_margin(self) -> Self:
        if (self.worse_by_abs is None) == (self.worse_by_rel is None):
            raise PydanticCustomError("guard", "give worse_by_abs or worse_by_rel, one of them")
        return self


Percent = Annotated[float, Field(gt=0, le=100)]


class RolloutSpec(Spec):
    """How a new version of this file takes over from the one in force."""

    percent: Percent | None = Field(default=None, description="the step to begin with; the first of `steps` if absent")
    salt: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        description="seed of the buckets; new for each rollout"
    )
    steps: list[Percent] = Field(default=[5.0, 25.0, 50.0, 100.0], min_length=1, description="rising, in per cent")
    hold_min: Annotated[float, Field(ge=0)] = Field(default=30.0, description="minutes that each step lasts at least")
    guard: list[GuardSpec] = Field(default=[], description="what must not get worse")

    @model_validator(mode="after")
    def _steps_rise(self) -> Self:
        if any(later <= earlier for earlier, later in zip(self.steps, self.steps[1:], strict=False)):
            raise PydanticCustomError("steps", "`steps` must rise, such as [5, 25, 50, 100]")
        if self.percent is not None and self.percent not in self.steps:
            raise PydanticCustomError("steps", "`percent` must be one of `steps`")
        return self


class ShadowSpec(Spec):
    """A copy of some requests to other models."""

    sample: Share = Field(description="share of requests that are copied")
    models: list[ModelName] = Field(min_length=1, description="aliases or groups that get the copies")
    max_concurrency: Annotated[int, Field(ge=1)] = Field(default=2, description="copies under way at once, per worker")
    limit_usd_day: Usd = Field(description="most that copies may cost a day")


class JudgeSpec(Spec):
    """A model that marks a share of the answers."""

    model: ModelName = Field(description="alias or group that reads request and answer and gives a mark")
    sample: Share = Field(description="share of answers that are judged, of those that teach anything")
    max_concurrency: Annotated[int, Field(ge=1)] = Field(default=2, description="judgements at once, per worker")
    limit_usd_day: Usd = Field(description="most that judging may cost a day")


class WarmingSpec(Spec):
    """What the warmer may spend."""

    limit_usd_day: Usd = Field(description="most that warming may cost a day")
    max_share_of_spend: Share = Field(default=0.05, description="most of the last 24 hours' spend")
    tier: PriceTier = Field(default="flex", description="service tier that warming calls ask for, where there is one")
    wait_value_usd: Usd = Field(
        default=0.0, description="what a saved second of waiting is worth; 0: only what saves money"
    )
    holdout: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.05, description="share of keys never warmed, against which the gain is measured"
    )
    max_in_flight: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="calls in flight to a model, users' in all processes too, at which no further warm begins: half of"
        " what its provider takes at once, where you know that; null: half of what 429s have taught, or of 256",
    )


class VerifySpec(Spec):
    """Who says whether one answer serves two questions that the gate is unsure of."""

    model: ModelName = Field(description="the model asked: an alias or a group of the models file, a cheap one")
    timeout: Annotated[Duration, Field(gt=0, le=10)] = Field(
        default=0.8, description="how long a request waits for it at most; then it is a miss"
    )
    budget_usd_day: Usd = Field(default=0.5, description="most that asking it may cost a day, per class")


class SemanticSpec(Spec):
    """How many hits on another wording may be wrong."""

    wrong_per_hit: Annotated[float, Field(gt=0, le=0.2)] = Field(
        default=0.02, description="most of the hits that may get a wrong answer, at 95 % confidence"
    )
    wrong_per_request: Annotated[float, Field(gt=0, le=0.2)] = Field(
        default=0.005, description="most of the route's requests that may get a wrong answer"
    )
    sample: Annotated[float, Field(ge=0.001, le=1)] = Field(
        default=0.02, description="least share of hits that is asked again, to find the wrong ones"
    )
    label_budget_usd_day: Usd = Field(default=1.0, description="most that asking again may cost a day, per class")
    verify: VerifySpec | None = Field(
        default=None, description="who is asked about pairs that the gate is unsure of; nobody without it"
    )
