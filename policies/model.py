"""What a policy is and what it decides about, as frozen values.

No I/O, no message text, no clock: these values are the vocabulary of `decide.py`,
of the YAML files in this folder (key = field name) and of the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from policies.evidence import NOTHING, Arm, Evidence, Latency
from policies.prices import Price
from policies.rules import (
    AcceptRules,
    AllowRules,
    BudgetRules,
    CascadeRules,
    HedgeRules,
    JudgeRules,
    KnnRules,
    LatencyRules,
    QualityRules,
    RateRules,
    RolloutRules,
    SemanticRules,
    ShadowRules,
    Sticky,
    TierRules,
    WarmingRules,
)

Dialect = Literal["chat", "embeddings"]
Capability = Literal["tools", "vision", "audio", "json_schema", "logprobs"]

OnCut = Literal["resume", "error", "hold"]
"""What a stream that breaks off gets: somebody else goes on; an error; or nothing is sent before it is complete."""

REQUESTED = "requested"
"""The candidate that stands for whatever model the client asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What policy may know of one model group; over several deployments, the worst of each.

    `price` is None where nobody published one: such a model is refused for cost routing and
    never counted as free. Windows are in tokens, None where unknown. `providers` and `regions` are those of all
    deployments; a region is "" where nobody says. `vector_size` is how many numbers an embedding has, None where
    that is unknown or not the same everywhere.
    """

    group: str
    providers: tuple[str, ...]
    mode: Dialect
    price: Price | None
    context_window: int | None
    max_output_tokens: int | None
    capabilities: frozenset[Capability]
    is_simulated: bool
    regions: tuple[str, ...] = ("",)
    vector_size: int | None = None


Catalogue = Mapping[str, ModelCard]
"""Every model group that has at least one usable deployment, by name."""


class RequestFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Everything a policy may know of a request; never its text.

    `input_tokens` is an estimate (UTF-8 bytes of all text / 4, rounded up); `tags` hold "key=value" strings;
    `allowed_models` is the key's allow list, None where the key may use every model.
    """

    dialect: Dialect
    requested_model: str
    tenant: str
    session: str
    tags: frozenset[str]
    input_tokens: int
    max_output_tokens: int | None
    needs: frozenset[Capability]
    allowed_models: frozenset[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRange:
    """Half-open or closed bounds on estimated input tokens; a None side is open."""

    lt: int | None = None
    lte: int | None = None
    gt: int | None = None
    gte: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A condition on RequestFacts: every field that is set must hold.

    `model` and `tenant` are shell-style patterns (`gpt-4*`); `tag` is "key=value", value may be `*`.
    `all`, `any_of` and `none` nest. A Match with nothing set holds for every request.
    """

    model: str | None = None
    tag: str | None = None
    tenant: str | None = None
    dialect: Dialect | None = None
    input_tokens: TokenRange | None = None
    all: tuple[Match, ...] = ()
    any_of: tuple[Match, ...] = ()
    none: tuple[Match, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRules:
    """What a route allows the cache to do.

    `exact_ttl_s` 0 turns the tier off. Answers sampled above `max_temperature` are not stored (None: all are).
    `normalise` names volatile parts that the exact key ignores (see policies/README.md). `semantic` None turns that
    tier off. For `stale_if_error_s` beyond its time an answer may stand in where no provider answers; one older than
    `refresh_after_s` is asked for again in the background while it is told (None: never). `retain_text`: where warming
    is on, requests are kept beside their answers.
    """

    exact_ttl_s: float = 3600.0
    max_temperature: float | None = 0.3
    partition_by_user: bool = False
    normalise: tuple[str, ...] = ()
    semantic: SemanticRules | None = None
    stale_if_error_s: float = 0.0
    refresh_after_s: float | None = None
    retain_text: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One rule of a policy: which requests, which models, in which order, cached how, by when.

    `selector` is a row of selectors/; `knn` is set with `quality`; `below_floor` are the
    fallbacks that may serve although they do not reach it. `candidates` and `fallbacks` are aliases of
    `Policy.models`, groups of models.yaml or `requested`. `deadline_s` is both the default and the most a client may
    ask for.
    """

    name: str
    match: Match
    candidates: tuple[str, ...]
    selector: str
    fallbacks: tuple[str, ...]
    deadline_s: float
    max_output_tokens: int | None
    cache: CacheRules
    assemble: bool = False
    on_cut: OnCut = "resume"
    epoch: int = 0
    hedge: HedgeRules | None = None
    quality: QualityRules | None = None
    latency: LatencyRules | None = None
    knn: KnnRules | None = None
    below_floor: tuple[str, ...] = ()
    cascade: CascadeRules | None = None
    tier: TierRules | None = None
    allow: AllowRules | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteIndex:
    """Where the routes of a long policy stand by clue, a text that facts must give for the route to hold.

    "" lists the routes that any request may fit. The lengths are those of the beginnings of names that are clues.
    """

    places: Mapping[str, tuple[int, ...]]
    model_lengths: tuple[int, ...]
    tenant_lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy file, compiled. `version` is the first 12 hex digits of the SHA-256 of its text.

    `tenants` are the patterns of the tenants it applies to; none: it applies to nobody. `quality_priors` are by group,
    then task (`any`: every other task), from 0 to 1; `reference` is the group that quality floors are relative to.
    `index` None: the routes are few enough to be tried one after the other. `text` is the file's, whose version it is.
    """

    name: str
    version: str
    source: str
    models: Mapping[str, str]
    routes: tuple[Route, ...]
    tenants: tuple[str, ...] = ("*",)
    quality_priors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    reference: str | None = None
    sticky: Sticky = "none"
    budgets: tuple[BudgetRules, ...] = ()
    rates: tuple[RateRules, ...] = ()
    warming: WarmingRules | None = None
    rollout: RolloutRules | None = None
    shadow: ShadowRules | None = None
    judge: JudgeRules | None = None
    index: RouteIndex | None = None
    text: str = field(default="", repr=False, compare=False)


class RouteClass(msgspec.Struct, frozen=True, kw_only=True):
    """What `match` found: the route, before any look-up. `quality_priors` and `reference` are the policy's."""

    policy: str
    policy_version: str
    route: Route
    facts: RequestFacts
    aliases: Mapping[str, str]
    quality_priors: Mapping[str, Mapping[str, float]] = {}
    reference: str | None = None


class Warm(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where the beginning of a request is probably in a provider's prefix cache: `tokens` of it, at `group`."""

    group: str
    tokens: int


class View(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What `choose` may look at beside the request; recorded, so that a decision can be repeated.

    `unhealthy` are groups with no deployment in service now; `draw` is uniform in [0, 1). `evidence` is what is known
    of quality for this very request, `latency` the recent figures of the groups that have any, `warm` who has answered
    this session or transcript lately, where the policy is sticky.
    """

    catalogue: Catalogue
    unhealthy: frozenset[str] = frozenset()
    draw: float = 0.0
    evidence: Evidence = NOTHING
    latency: Mapping[str, Latency] = {}
    warm: Warm | None = None


Shortcoming = Literal["context_window", "capability", "no_price", "unhealthy", "below_floor", "too_slow"]
RejectionCode = Literal["unknown_model", "not_allowed", "wrong_mode", "not_here", Shortcoming]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why a candidate is not in the plan; `detail` is one sentence fit for the client."""

    candidate: str
    code: RejectionCode
    detail: str


class Cascade(msgspec.Struct, frozen=True, kw_only=True):
    """Whose answer is held and checked, and who is asked where it does not pass; groups, both in the plan."""

    first: str
    then: str
    accept: AcceptRules


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Which model groups to try, in order, and within which limits; `max_attempts` None: the engine's own bound.

    `arm` is who decided, on a route with a quality floor; `service_tier` is asked for where a provider has it.
    """

    policy: str
    policy_version: str
    route: str
    candidates: tuple[str, ...]
    deadline_s: float
    max_output_tokens: int | None
    assemble: bool
    cache: CacheRules
    reason: str
    rejected: tuple[Rejection, ...] = ()
    on_cut: OnCut = "resume"
    hedge: HedgeRules | None = None
    max_attempts: int | None = None
    arm: Arm = ""
    service_tier: str = ""
    cascade: Cascade | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoCandidate:
    """No model may serve this request; `rejected` says why, one row a candidate."""

    route: str
    rejected: tuple[Rejection, ...]
