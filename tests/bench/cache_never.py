"""What must never be a hit: trap pairs, and one question asked about different debate sections.

Decided by the product's guards and gate with a state that has learned a whole stream and serves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from gateway.cache.semantic.eligibility import EntryRules, Question, question_of
from gateway.cache.semantic.features import features_of_pair, is_refused
from gateway.cache.semantic.gate import Pair, Serve, decide
from gateway.cache.semantic.guards import failed, features_of, pair_features
from gateway.cache.semantic.scope import Partition, scope_of
from gateway.cache.semantic.state import ClassState
from policies.model import Match, RequestFacts, Route, RouteClass
from policies.rules import SemanticRules
from router.types import ChatRequest
from tests.bench.cache_data import vectors_of
from tests.bench.traps import traps

QUESTIONS = ("Which fallacies does the second speaker commit?", "Who won this exchange and by what argument?")
_ANY_CUT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Never:
    """`tried` by kind, `near` of them at a cosine of .9 or more, `let_through` by the guards, and `served`: wrong."""

    tried: dict[str, int]
    near: int
    let_through: int
    served: int


def try_traps(questions: Sequence[str], state: ClassState, rules: SemanticRules, *, seed: int) -> Never:
    """Store the original of each trap and ask the edited one. A class that observes is made to serve from .8 up."""
    state = replace(state, cut=_ANY_CUT) if state.cut is None else state
    made = list(traps(questions, seed=seed))
    vectors = vectors_of([text for trap in made for text in (trap.original, trap.edited)])
    near = let_through = served = 0
    for at, trap in enumerate(made):
        similarity = float(np.dot(vectors[2 * at], vectors[2 * at + 1]))
        near += similarity >= 0.9
        asked, stored = features_of(trap.edited), features_of(trap.original)
        refused = failed(asked, stored)
        if is_refused(refused):
            continue
        let_through += 1
        features = features_of_pair(
            similarity=similarity,
            margin=0.2,
            age_s=0.0,
            aliases=0,
            differences=pair_features(asked, stored),
            failed=refused,
        )
        pair = Pair(answer_id=trap.original, question=trap.edited, features=features)
        served += isinstance(decide(state, pair, rules, at_s=0.0, draw=0.5), Serve)
    return Never(tried=dict(Counter(trap.kind for trap in made)), near=near, let_through=let_through, served=served)


def crossings(sections: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """Return how many pairs of sections were asked the same question, and how many of them share a scope."""
    tried = shared = 0
    for question in QUESTIONS:
        scopes = [_scope(f"<transcript>\n{text}\n</transcript>\n\n{question}") for _, text in sections]
        for one, other in combinations(scopes, 2):
            tried += 1
            shared += one == other and one != ""
    return tried, shared


def _scope(content: str) -> str:
    document = {"model": "m", "messages": [{"role": "user", "content": content}]}
    request = ChatRequest(
        dialect="chat", body=b"", document=document, requested_model="m", stream=False, include_usage=False
    )
    found = question_of(request, EntryRules())
    return (
        scope_of(document, _ROUTE, question=found, partition=Partition(embedder_id="minilm"))
        if isinstance(found, Question)
        else ""
    )


_ROUTE = RouteClass(
    policy="bench",
    policy_version="1",
    route=Route(
        name="chat",
        match=Match(),
        candidates=("m",),
        selector="fixed",
        fallbacks=(),
        deadline_s=60.0,
        max_output_tokens=None,
        cache=EntryRules().cache,
    ),
    facts=RequestFacts(
        dialect="chat",
        requested_model="m",
        tenant="bench",
        session="",
        tags=frozenset(),
        input_tokens=1,
        max_output_tokens=None,
        needs=frozenset(),
        allowed_models=None,
    ),
    aliases={},
)
