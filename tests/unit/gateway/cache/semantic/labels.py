"""A made-up class for the gate's tests: pairs whose rightness depends on how near they are, asked one after another."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from gateway.cache.semantic import cuts
from gateway.cache.semantic.events import AskedTwice, Counted, Event, Labelled
from gateway.cache.semantic.features import PRIOR, features_of_pair
from gateway.cache.semantic.gate import Decision, Pair, Serve, Withhold, decide
from gateway.cache.semantic.guards import PAIR_FEATURES
from gateway.cache.semantic.state import ClassState, begin, fold
from policies.rules import SemanticRules

ALIKE = tuple(1.0 if name.endswith(("jaccard", "ratio", "ends")) or name.startswith("same") else 0.0
              for name in PAIR_FEATURES)  # fmt: skip
COST = 1_000_000


def pair(similarity: float, *, answer: str = "a", question: str = "q") -> Pair:
    features = features_of_pair(similarity=similarity, margin=0.1, age_s=0.0, aliases=0, differences=ALIKE, failed=())
    return Pair(answer_id=answer, question=question, features=features)


@dataclass(slots=True, kw_only=True)
class Traffic:
    """Asks pairs of a class and folds what follows. `wrong_near` is how often a pair above .95 is wrong."""

    rules: SemanticRules = field(default_factory=SemanticRules)
    wrong_near: float = 0.0
    noise: float = 0.0
    draw: random.Random = field(default_factory=lambda: random.Random(5))
    state: ClassState = field(default_factory=lambda: begin(PRIOR))
    events: list[Event] = field(default_factory=list)
    asked: int = 0
    hits: int = 0
    wrong_hits: int = 0

    def ask(self, times: int) -> None:
        for _ in range(times):
            self._ask_one()

    def tell(self, event: Event) -> None:
        self.events.append(event)
        self.state = fold(self.state, event, self.rules)

    def _ask_one(self) -> None:
        is_near = self.draw.random() < 0.5
        similarity = self.draw.uniform(0.95, 1.0) if is_near else self.draw.uniform(0.75, 0.9)
        is_wrong = self.draw.random() < (self.wrong_near if is_near else 0.9)
        asked = pair(similarity, answer=f"a{self.draw.randrange(200)}", question=f"q{self.asked}")
        at_s = self.asked * 10.0
        self.asked += 1
        decision = decide(self.state, asked, self.rules, at_s=at_s, draw=self.draw.random())
        hits = [0] * len(cuts.CUTS)
        if isinstance(decision, Serve):
            hits[cuts.bin_of(decision.log_odds)] = 1
            self.hits += 1
            self.wrong_hits += is_wrong
        self.tell(Counted(1, tuple(hits), COST * sum(hits), at_s))
        self._label(asked, decision, is_wrong, at_s)

    def _label(self, asked: Pair, decision: Decision, is_wrong: bool, at_s: float) -> None:
        if isinstance(decision, Withhold) or (isinstance(decision, Serve) and decision.is_sampled):
            is_hit = isinstance(decision, Serve)
            called = float(is_wrong or self.draw.random() < self.noise)
            self.tell(
                Labelled(
                    asked.answer_id, asked.question, asked.features, decision.log_odds, called, is_hit, at_s,
                    COST * is_hit,
                )
            )  # fmt: skip
        if isinstance(decision, Withhold) and decision.ask_twice:
            self.tell(AskedTwice(float(self.draw.random() < self.noise), at_s, COST))
