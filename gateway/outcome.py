"""What became of one request, as one value: metrics, the ledger line and the access log are functions of it.

Holds no prompt text, no answer text and no key.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from policies.decision import Decision
from policies.evidence import Arm
from router.types import AttemptRecord, Usage
from warmer.types import PredictorName

Origin = Literal["user", "pipeline", "warmer", "cache", "refresh", "shadow", "judge"]
"""Who wanted it; `cache` is the cache itself: a question's vector; `refresh` too: an answer asked for again; `judge`:
an answer's mark."""
Result = Literal["ok", "error", "cancelled"]
CacheStatus = Literal["hit", "semantic-hit", "joined", "stale", "miss", "bypass"]
CacheTier = Literal["none", "memory", "redis", "inflight", "segment", "semantic"]
Source = Literal["gateway", "provider"]
ANSWERING: Final = frozenset({"chat", "embeddings", "pipeline"})
"""The endpoints that answer a question, by their names in gateway/http/routes.py."""
WarmedBy = PredictorName | Literal[""]
"""Who had the answer made before anybody asked; "" for nobody."""


class Outcome(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One request as it ended. Durations in seconds, money in nano-dollars, `started_at` in Unix seconds.

    `cost_nanousd` is None where the model has no known price; `saved_nanousd` is what a hit or a join did not spend.
    An interaction is one user-origin Outcome of an endpoint that answers; `interaction_cost_nanousd` is what it cost in
    all: its own provider calls, or those of its steps for a pipeline (whose Outcomes carry `cost_nanousd`, so that no
    dollar counts twice).
    `arm` is who decided on a route with a quality floor, and `decision` what is needed to decide again
    (policies/decision.py); None where no policy was asked. `overhead_s` is total time minus the time spent waiting for
    providers and for a slow client. `similarity` and `nearest_key` are of the nearest stored question, `semantic` is
    why it did not answer (ineligible, a guard, the gate). `ttl_s` is how long the answer told is good from when it was
    made, 0 where it was not kept; `warmed_by` is of a hit the predictor that had it made, of a warm the one that asked.
    """

    request_id: str
    origin: Origin
    endpoint: str
    started_at: float
    result: Result
    status: int
    tenant: str = ""
    key_id: str = ""
    session: str = ""
    policy: str = ""
    policy_version: str = ""
    route: str = ""
    reason: str = ""
    tags: tuple[str, ...] = ()
    requested_model: str = ""
    routed_model: str = ""
    response_model: str = ""
    provider: str = ""
    is_simulated: bool = False
    stream: bool = False
    cache: CacheStatus = "bypass"
    cache_tier: CacheTier = "none"
    cache_key: str = ""
    age_s: float = 0.0
    similarity: float = 0.0
    nearest_key: str = ""
    semantic: str = ""
    input_tokens_estimate: int = 0
    usage: Usage = Usage()
    cost_nanousd: int | None = 0
    saved_nanousd: int = 0
    interaction_cost_nanousd: int = 0
    finish_reasons: tuple[str, ...] = ()
    attempts: tuple[AttemptRecord, ...] = ()
    malformed_events: int = 0
    error_code: str = ""
    error_type: str = ""
    error_source: Source | Literal[""] = ""
    total_s: float = 0.0
    first_token_s: float | None = None
    overhead_s: float = 0.0
    parent_request_id: str = ""
    arm: Arm = ""
    decision: Decision | None = None
    ttl_s: float = 0.0
    warmed_by: WarmedBy = ""

    @property
    def is_interaction(self) -> bool:
        """Whether a user wanted an answer; a refused announcement, admin call or unknown path is none."""
        return self.origin == "user" and self.endpoint in ANSWERING
