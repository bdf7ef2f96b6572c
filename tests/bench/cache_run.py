"""One stream through the semantic tier's own gate, question by question, in simulated time; and through fixed
thresholds.

The product's eligibility, guards, features, model, gate, state and bound decide; only vectors are made ahead and the
nearest neighbours found all at once (cache_data). Must not score: what a hit was worth is cache_score's.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gateway.cache.semantic import cuts, state
from gateway.cache.semantic.answers import NOTHING_KNOWN
from gateway.cache.semantic.events import AskedTwice, Counted, Labelled, Verdict, Verified
from gateway.cache.semantic.features import PRIOR, features_of_pair, is_refused
from gateway.cache.semantic.figures import ClassFigures, figures_of
from gateway.cache.semantic.gate import Doubt, Pair, Serve, Withhold, decide, settle, wants_second_look
from gateway.cache.semantic.state import ClassState, fold
from gateway.cache.semantic.verifying import verify_document
from policies.rules import SemanticRules
from tests.bench.cache_truth import Noise, Pairs, Truth, Verifier

NEAR = 0.75
"""Cosine from which a neighbour is worth comparing answers with."""
REQUESTS_PER_DAY = 4000
CALL_NANOUSD = 200_000
"""What an answer costs, about 300 tokens of the same model; saved by a hit, paid for a label nobody waited for."""
ASKED_INPUT_NANOUSD, ASKED_OUTPUT_NANOUSD = 150, 600
"""What the verifier takes for a token: gpt-4o-mini's list price (0.15 and 0.60 USD a million)."""
_BYTES_PER_TOKEN = 4
LOOK_EVERY = 2000
COUNT_EVERY = 25
"""Requests between two counts, as a worker says them once in a while."""
_DAY_S = 86_400.0


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """What happened. Per request: the entry that answered (-1: none) and whether that was wrong, by the hidden truth.

    `chain[i]`: entry i's answer is right for its own question. `looks` are (requests so far, figures then). `waited`
    are requests that a verifier kept waiting, `delayed` those of them that were misses all the same.
    """

    entry: npt.NDArray[np.int32]
    is_wrong: npt.NDArray[np.bool_]
    chain: npt.NDArray[np.bool_]
    looks: list[tuple[int, ClassFigures]] = field(default_factory=list)
    second_looks: int = 0
    verified: int = 0
    waited: int = 0
    delayed: int = 0
    late: int = 0
    ineligible: int = 0

    @property
    def hits(self) -> int:
        """Return how many requests were answered from the cache."""
        return int((self.entry >= 0).sum())


def begun(requests: int) -> Run:
    """Return a run in which nothing has happened yet."""
    return Run(
        entry=np.full(requests, -1, np.int32), is_wrong=np.zeros(requests, np.bool_), chain=np.ones(requests, np.bool_)
    )


def verify_nanousd(stored: str, asked: str) -> int:
    """Return what asking a verifier about two questions costs: the product's own prompt at four bytes a token."""
    messages = verify_document("m", stored, asked)["messages"]
    return len(str(messages)) // _BYTES_PER_TOKEN * ASKED_INPUT_NANOUSD + 2 * ASKED_OUTPUT_NANOUSD


def run_threshold(pairs: Pairs, truth: Truth, threshold: float, *, guarded: bool) -> Run:
    """Serve the nearest earlier question's answer from `threshold` up; everything is inserted."""
    run = begun(len(pairs.stream))
    for row in range(len(pairs.stream)):
        stored, similarity = int(pairs.stream.near[row, 0]), float(pairs.stream.similarity[row, 0])
        if stored < 0 or similarity < threshold or (guarded and pairs.read(row, stored)[1]):
            continue
        run.entry[row] = stored
        run.is_wrong[row] = not truth(row, stored, similarity)
    return run


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the system meets: the stream, what is true of it, how comparators and the verifier err, who may enter.

    `readings` of rows are what the verifier's word on a read pair is drawn from, as scores are: `truth`, which labels
    come from, does not know those that were held out.
    """

    pairs: Pairs
    truth: Truth
    noise: Noise
    eligible: npt.NDArray[np.bool_]
    verifier: Verifier | None = None
    readings: Mapping[tuple[int, int], bool] = field(default_factory=dict)


def run_gate(met: Setting, rules: SemanticRules, *, seed: int) -> tuple[Run, ClassState]:
    """Run the whole system over the stream. Misses and verified hits are entries; other hits are not."""
    walk, pairs = _Walk(met, rules, seed), met.pairs
    for row in range(len(pairs.stream)):
        walk.ask(row)
    return walk.run, walk.state


class _Walk:
    """The stream so far."""

    def __init__(self, met: Setting, rules: SemanticRules, seed: int) -> None:
        self.pairs, self.truth, self.rules, self.noise = met.pairs, met.truth, rules, met.noise
        self.eligible, self.verifier, self.readings = met.eligible, met.verifier, met.readings
        self.run = begun(len(met.pairs.stream))
        self.state = state.begin(PRIOR)
        self.draw = random.Random(seed)
        self.hits = [0] * len(cuts.CUTS)
        self.answer_of = np.full(len(met.pairs.stream), -1, np.int32)  # -1: is no entry

    def ask(self, row: int) -> None:
        """Answer one request, from the cache or not, and learn what there is to learn."""
        at_s = row * _DAY_S / REQUESTS_PER_DAY
        near = self._nearest(row) if self.eligible[row] else None
        self.run.ineligible += not self.eligible[row]
        if near is None:
            self.answer_of[row] = row if self.eligible[row] else -1
        else:
            self._decide(row, *near, at_s=at_s)
        if row % COUNT_EVERY == COUNT_EVERY - 1:
            self._fold(Counted(COUNT_EVERY, tuple(self.hits), CALL_NANOUSD * sum(self.hits), at_s))
            self.hits = [0] * len(cuts.CUTS)
        if row % LOOK_EVERY == LOOK_EVERY - 1:
            self.run.looks.append((row + 1, figures_of(self.state, self.rules, at_s=at_s)))

    def _decide(self, row: int, stored: int, similarity: float, margin: float, *, at_s: float) -> None:
        answer = int(self.answer_of[stored])
        differences, refused = self.pairs.read(row, stored)
        answer_id = str(answer)
        features = features_of_pair(
            similarity=similarity,
            margin=margin,
            age_s=0.0,
            aliases=len(self.state.answers.get(answer_id, NOTHING_KNOWN).aliases),
            differences=differences,
            failed=refused,
        )
        pair = Pair(answer_id=answer_id, question=str(row), features=features, worth_nanousd=CALL_NANOUSD)
        decision = decide(self.state, pair, self.rules, at_s=at_s, draw=self.draw.random())
        is_right = self.truth(row, stored, similarity) and bool(self.run.chain[stored])
        if isinstance(decision, Doubt):
            pair, decision = self._verified(row, stored, similarity, pair, at_s=at_s)
        is_hit = isinstance(decision, Serve)
        different: float | None = None
        if not is_hit or (isinstance(decision, Serve) and decision.is_sampled):
            different, paid = self._compare(is_right, decision.log_odds, calls=int(is_hit))
            self._fold(
                Labelled(
                    *(answer_id, str(row), pair.features, decision.log_odds, different, is_hit, at_s),
                    cost_nanousd=paid * CALL_NANOUSD,
                    is_apart=isinstance(decision, Withhold) and decision.is_apart,
                )
            )
        if isinstance(decision, Serve):
            self.run.entry[row], self.run.is_wrong[row] = stored, not is_right
            self.hits[cuts.bin_of(decision.log_odds)] += 1
        elif decision.ask_twice:
            floor, paid = self._compare(True, decision.log_odds, calls=1)
            self._fold(AskedTwice(floor, at_s, paid * CALL_NANOUSD))
        self._insert(row, answer, is_hit=is_hit, different=different, is_right=is_right)

    def _verified(
        self, row: int, stored: int, similarity: float, pair: Pair, *, at_s: float
    ) -> tuple[Pair, Serve | Withhold]:
        """Ask the verifier, who says the same of the same two questions every time; while observing, afterwards."""
        assert self.verifier is not None
        is_serving = self.state.cut is not None
        is_same = self.readings.get((row, stored))
        is_same = self.truth(row, stored, similarity) if is_same is None else is_same
        is_same = self.verifier.says(row, stored, is_same=is_same, similarity=similarity)
        verdict: Verdict = "same" if is_same else "different"
        cost = verify_nanousd(self.pairs.stream.texts[stored], self.pairs.stream.texts[row])
        self._fold(Verified(pair.answer_id, pair.question, verdict, at_s, cost))
        self.run.verified += 1
        self.run.waited += is_serving
        is_late = is_serving and self.draw.random() < self.verifier.late
        pair = pair.judged(verdict)
        decision = settle(self.state, pair, self.rules, at_s=at_s, draw=self.draw.random())
        self.run.delayed += is_serving and (is_late or not isinstance(decision, Serve))
        if is_late and isinstance(decision, Serve):
            self.run.late += 1
            # Its verdict still comes, and counts: a pair above the cut that was not served.
            return pair, Withhold(log_odds=decision.log_odds, reason="late", ask_twice=False)
        return pair, decision

    def _insert(self, row: int, answer: int, *, is_hit: bool, different: float | None, is_right: bool) -> None:
        if different == 0.0:
            self.answer_of[row], self.run.chain[row] = answer, is_right  # a verified paraphrase: an alias
        elif not is_hit:
            self.answer_of[row] = row

    def _compare(self, is_right: bool, log_odds: float, *, calls: int) -> tuple[float, int]:
        """Return what comparators say (0 same, 1 different) after a second look where it is wanted, and the calls."""
        lasting = self.noise.false_different * self.noise.lasting
        is_stuck = self.draw.random() < lasting
        first = self._verdict(is_right, is_stuck)
        if not first or not wants_second_look(log_odds):
            return float(first), calls
        self.run.second_looks += 1
        return float(self._verdict(is_right, is_stuck)), calls + 2

    def _verdict(self, is_right: bool, is_stuck: bool) -> bool:
        if not is_right:
            return self.draw.random() >= self.noise.false_same
        fresh = self.noise.false_different * (1 - self.noise.lasting)
        return is_stuck or self.draw.random() < fresh

    def _nearest(self, row: int) -> tuple[int, float, float] | None:
        """Return the nearest entry, its cosine, and its lead over the nearest one with another answer."""
        found: tuple[int, float] | None = None
        for stored, similarity in zip(self.pairs.stream.near[row], self.pairs.stream.similarity[row], strict=True):
            if stored < 0 or similarity < NEAR or self.answer_of[stored] < 0:
                continue
            if found is None:
                if is_refused(self.pairs.read(row, int(stored))[1]):
                    continue
                found = int(stored), float(similarity)
            elif self.answer_of[stored] != self.answer_of[found[0]]:
                return found[0], found[1], found[1] - float(similarity)
        return None if found is None else (*found, max(0.0, found[1] - NEAR))

    def _fold(self, event: Labelled | AskedTwice | Counted | Verified) -> None:
        self.state = fold(self.state, event, self.rules)
