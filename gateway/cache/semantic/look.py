"""What one look into the semantic tier is made of: who asked, where the question stands, what became of it.

Values only.
"""

from __future__ import annotations

import msgspec

from gateway.cache.exact import Hit
from gateway.cache.semantic.classes import OpenClass
from gateway.cache.semantic.eligibility import Question
from gateway.cache.semantic.gate import Decision, Pair
from gateway.cache.semantic.types import Entry, Vector
from gateway.keys import Caller
from policies.model import RouteClass
from policies.rules import SemanticRules
from router.types import ChatRequest


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request that the exact tier had nothing for. `key` is its exact key, `arm` its rollout's, '' outside of one."""

    request: ChatRequest
    route_class: RouteClass
    rules: SemanticRules
    key: str
    caller: Caller
    arm: str = ""
    namespace: str = ""
    max_age_s: float | None = None
    opted_in: bool = False


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a question stands: what is needed to enter it, or to compare it with another."""

    asked: Asked
    question: Question
    question_id: str
    scope: str
    vector: Vector
    open_class: OpenClass


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A neighbour that no final guard refused, and what the gate said of it; Doubt: a verifier is still to be asked."""

    entry: Entry
    pair: Pair
    decision: Decision


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one look: a hit, or why there is none (`refused`) and how near the nearest entry was.

    `place` is None where the question has no business in the tier; `nearest` is the nearest entry's answer.
    """

    refused: str = ""
    similarity: float = 0.0
    nearest: str = ""
    hit: Hit | None = None
    place: Place | None = None
    judged: Judged | None = None
