"""The shape of a policy file, as pydantic models; the JSON Schema for editors is made from them.

Must not know which models exist, which names are right, or what a policy does: load.py checks that.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticCustomError

from policies.model import Dialect, OnCut
from policies.normalisers import Normaliser
from policies.rule_schema import (
    AllowSpec,
    BudgetSpec,
    CascadeSpec,
    JudgeSpec,
    LatencySpec,
    QualitySpec,
    RateLimitSpec,
    RolloutSpec,
    SelectorSpec,
    SemanticSpec,
    ShadowSpec,
    TierSpec,
    WarmingSpec,
)
from policies.rules import Sticky
from policies.shapes import Duration, Glob, ModelName, Name, Spec, Tokens


def _one(value: object) -> object:
    """Tell 1 from true and 1.0, which equal it."""
    if type(value) is not int or value != 1:
        raise PydanticCustomError("version", "must be 1")
    return value


def _branch(value: object) -> str | None:
    """Tell the branches of our unions apart, so that an error speaks of one of them only."""
    if isinstance(value, dict):
        return "mapping"
    if isinstance(value, list):
        return "list"
    return "text" if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else None


def _fixed_or_mapping(value: object) -> str | None:
    return "mapping" if isinstance(value, dict) else "fixed" if value == "fixed" else None


class TokenRangeSpec(Spec):
    """Bounds that some number satisfies."""

    lt: Tokens | None = Field(default=None, description="fewer estimated input tokens than this")
    lte: Tokens | None = Field(default=None, description="at most this many estimated input tokens")
    gt: Tokens | None = Field(default=None, description="more estimated input tokens than this")
    gte: Tokens | None = Field(default=None, description="at least this many estimated input tokens")

    @model_validator(mode="after")
    def _some_number_fits(self) -> Self:
        lowest = max(0 if self.gt is None else self.gt + 1, self.gte or 0)
        highest = [bound for bound in (self.lte, None if self.lt is None else self.lt - 1) if bound is not None]
        if highest and min(highest) < lowest:
            raise PydanticCustomError("range", "no number of tokens satisfies these bounds")
        if not self.model_fields_set:
            raise PydanticCustomError("range", "give at least one of lt, lte, gt, gte")
        return self


class MatchSpec(Spec):
    """A condition: everything given must hold."""

    all: list[MatchSpec] | None = Field(default=None, min_length=1, description="every one of these must hold")
    any: (
        Annotated[
            Annotated[Literal[True], Tag("true")] | Annotated[list[MatchSpec], Field(min_length=1), Tag("list")],
            Discriminator(_branch, custom_error_type="any", custom_error_message="must be true or a list"),
        ]
        | None
    ) = Field(default=None, description="true: every request; a list: at least one of these must hold")
    none: list[MatchSpec] | None = Field(default=None, min_length=1, description="not one of these may hold")
    model: Glob | None = Field(default=None, description="pattern for the requested model, such as gpt-4*")
    tag: Annotated[str, Field(pattern=r"^[^=\s*]+=(\*|[^*\s]+)$", max_length=128)] | None = Field(
        default=None, description="key=value of x-foreword-tags; key=* is any value"
    )
    tenant: Glob | None = Field(default=None, description="pattern for the key's tenant")
    dialect: Dialect | None = Field(default=None, description="which kind of request")
    input_tokens: TokenRangeSpec | None = Field(default=None, description="bounds on estimated input tokens")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        given = self.model_fields_set
        if not any(getattr(self, name) is not None for name in given):
            raise PydanticCustomError("empty", "say what to match; {any: true} matches every request")
        if self.any is True and len(given) > 1:
            raise PydanticCustomError("any", "`any: true` matches everything: it must stand alone")
        return self


class CacheSpec(Spec):
    """What the cache may do."""

    exact_ttl: Duration = Field(default=3600.0, description="how long an answer may be given again; 0 is off")
    max_temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=0.3, description="answers sampled above this are not stored; null stores all"
    )
    partition_by_user: bool = Field(default=False, description="whether each `user` has answers of its own")
    normalise: list[Normaliser] = Field(default=[], description="volatile parts that the exact key ignores")
    stale_if_error: Duration = Field(
        default=0.0, description="how long beyond exact_ttl an answer may stand in where no provider answers"
    )
    refresh_after: Annotated[Duration, Field(gt=0)] | None = Field(
        default=None, description="age from which a told answer is asked for again in the background"
    )
    retain_text: bool = Field(
        default=True, description="whether requests are kept beside their answers, for the warmer to ask again"
    )
    semantic: Annotated[
        Annotated[Literal[False], Tag("false")] | Annotated[SemanticSpec, Tag("mapping")],
        Discriminator(_branch, custom_error_type="semantic", custom_error_message="must be off or a mapping"),
    ] = Field(default=False, description="whether another wording may get the same answer, and how often wrongly")

    @model_validator(mode="after")
    def _refreshes_before_the_end(self) -> Self:
        if self.refresh_after is not None and self.refresh_after >= self.exact_ttl:
            raise PydanticCustomError("refresh_after", "refresh_after must be shorter than exact_ttl")
        if self.stale_if_error and not self.exact_ttl:
            raise PydanticCustomError("stale_if_error", "stale_if_error needs an exact_ttl: nothing is stored")
        return self


class HedgeSpec(Spec):
    """When a second call may race one that is late."""

    after: Literal["p90", "p95", "p99"] = Field(
        default="p95", description="of the model's recent times to first token: how long to wait before hedging"
    )
    max: Annotated[int, Field(ge=1, le=3)] = Field(default=1, description="hedges of one request, one at a time")
    budget_ratio: Annotated[float, Field(gt=0, le=0.1)] = Field(
        default=0.02, description="most of the route's requests, and of its spend, that hedges may be"
    )


class ObjectiveSpec(Spec):
    """An order other than the one given, and what a model must reach to be in it."""

    minimise: Literal["cost"] = Field(description="what to order the candidates by")
    quality: QualitySpec | None = Field(default=None, description="the floor under a model's predicted quality")
    latency: LatencySpec | None = Field(default=None, description="what a model's recent figures may be at most")


class FallbackSpec(Spec):
    """The long form of a fallback."""

    model: ModelName = Field(description="an alias, a group of the models file, or requested")
    below_floor: bool = Field(
        default=False, description="whether it may serve although its quality is unknown or under the route's floor"
    )


class ModelSpec(Spec):
    """What a short name stands for."""

    group: ModelName = Field(description="a model_name of the models file")
    quality_prior: dict[Name, Annotated[float, Field(ge=0, le=1)]] = Field(
        default={}, description="quality from 0 to 1 by task, from an evaluation of your own; `any` is every other task"
    )
    reference: bool = Field(default=False, description="whether quality floors are relative to this model; one of them")


class DefaultsSpec(Spec):
    """Values for routes that do not give their own."""

    on_no_candidate: Literal["refuse"] = Field(
        default="refuse", description="what to do when no model may serve a request; never any model"
    )
    sticky: Sticky = Field(
        default="none",
        description="whether a session, or a transcript, stays with the model that its prefix is warm at",
    )
    deadline_s: Annotated[float, Field(gt=0, le=86400)] = Field(
        default=300.0, description="seconds a request may take, for routes without a deadline"
    )
    max_output_tokens: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="cap on an answer's tokens, for routes without one"
    )
    allow: AllowSpec | None = Field(
        default=None, description="where the text of requests may go, for routes that do not say"
    )


class RouteSpec(Spec):
    """One rule."""

    name: Name = Field(description="unique in the file; shown in headers and metrics")
    match: MatchSpec = Field(description="which requests; the first route that matches is taken")
    candidates: list[ModelName] = Field(min_length=1, description="aliases, groups, or requested")
    allow: AllowSpec | None = Field(
        default=None, description="where the text of its requests may go; defaults.allow if absent"
    )
    objective: Annotated[
        Annotated[Literal["fixed"], Tag("fixed")] | Annotated[ObjectiveSpec, Tag("mapping")],
        Discriminator(
            _fixed_or_mapping, custom_error_type="objective", custom_error_message="must be fixed or {minimise: cost}"
        ),
    ] = Field(default="fixed", description="fixed: in the order given; {minimise: cost}: cheapest first")
    selector: SelectorSpec | None = Field(
        default=None, description="how `objective.quality` is predicted; needed where a quality floor is given"
    )
    cascade: CascadeSpec | None = Field(default=None, description="a cheap first answer, checked, then a better one")
    tier: TierSpec | None = Field(default=None, description="a cheaper service tier for those who can wait")
    fallbacks: list[
        Annotated[
            Annotated[ModelName, Tag("text")] | Annotated[FallbackSpec, Tag("mapping")],
            Discriminator(
                _branch, custom_error_type="fallback", custom_error_message="must be a name or {model: name}"
            ),
        ]
    ] = Field(default=[], description="tried in order after the candidates")
    deadline: Annotated[Duration, Field(gt=0, le=86400)] | None = Field(
        default=None, description="default for, and most of, what a client may ask; defaults.deadline_s if absent"
    )
    max_output_tokens: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="cap on an answer's tokens; defaults.max_output_tokens if absent"
    )
    cache: CacheSpec = Field(default=CacheSpec(), description="what may be given again, and for how long")
    assemble: bool = Field(default=False, description="send only complete answers, streams included")
    on_cut: OnCut = Field(default="resume", description="what a stream that breaks off gets: see README.md")
    hedge: HedgeSpec | None = Field(default=None, description="whether a late first token is raced: see README.md")
    epoch: Annotated[int, Field(ge=0)] = Field(default=0, description="raise it to forget all stored answers")


class PolicySpec(Spec):
    """A policy file."""

    version: Annotated[Literal[1], BeforeValidator(_one)] = Field(description="the version of this format")
    policy: Name = Field(description="unique among the files; shown in headers and metrics")
    tenants: list[Glob] = Field(default=["*"], description="patterns of the tenants it applies to; [] is nobody")
    defaults: DefaultsSpec = Field(default=DefaultsSpec(), description="for routes that do not say")
    models: dict[Name, ModelSpec] = Field(default={}, description="short names for groups of the models file")
    routes: list[RouteSpec] = Field(min_length=1, description="in order; the last must match {any: true}")
    budgets: list[BudgetSpec] = Field(default=[], description="what may be spent, by whom, in which window")
    rate_limits: list[RateLimitSpec] = Field(default=[], description="requests and tokens per minute")
    warming: Annotated[
        Annotated[Literal[False], Tag("false")] | Annotated[WarmingSpec, Tag("mapping")],
        Discriminator(_branch, custom_error_type="warming", custom_error_message="must be off or a mapping"),
    ] = Field(default=False, description="what the warmer may spend; off stops it at once")
    rollout: RolloutSpec | None = Field(default=None, description="how a new version of this file takes over")
    shadow: ShadowSpec | None = Field(default=None, description="a copy of some requests to other models")
    judge: JudgeSpec | None = Field(default=None, description="a model that marks a share of the answers")


def json_schema_text() -> str:
    """Return policy.schema.json: what editors check and complete policy files with."""
    schema = PolicySpec.model_json_schema()
    schema["$schema"] = GenerateJsonSchema.schema_dialect
    schema["title"] = "Foreword policy"
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"
