"""The gateway's own decision over the data: real snapshot, real `choose`, its timings, what its control arm says.

Labels of the other folds become the snapshot, both models' answers to a question labelled; as one task, or as the
true ones.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gateway.knowledge.basis import pack
from gateway.knowledge.labels import Label
from gateway.knowledge.snapshot import Snapshot, build
from gateway.knowledge.uplift import Arms, Sums
from policies.arms import arm_of
from policies.decide import choose, match
from policies.evidence import NOTHING, Evidence
from policies.load import load_policy
from policies.model import Catalogue, ModelCard, Plan, Policy, RequestFacts, RouteClass, View
from policies.prices import Price, Rates
from policies.rules import KnnRules
from tests.bench.routing_data import Floats, Prompts, Vectors
from tests.bench.routing_scores import Rows

Choices = npt.NDArray[np.bool_]

POLICY = """
version: 1
policy: bench
models:
  weak: {{group: weak}}
  strong: {{group: strong, reference: true}}
routes:
  - name: floor
    match: {{any: true}}
    candidates: [weak, strong]
    objective: {{minimise: cost, quality: {{floor: {floor}, confidence: {confidence}}}}}
"""
MOST_LABELS = 20_000
TASK = "all"
"""The one task of requests that do not say theirs."""
NOW = 1_750_000_000.0
FIXED_DRAW, LEARNED_DRAW = 0.99, 0.045
"""Draws that fall on the fixed and, while nothing is proven, on the learned arm at `control` 0.03."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which prompts a rule sent to the strong model, and what that came to against always asking it."""

    rule: str
    floor: float
    strong_calls: float
    saved: float
    quality: float
    kept: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the control arm says: the true gain over a shuffle, and how often the interval lies above zero."""

    floor: float
    control: float
    gain: float
    half_width: float
    stays_on: float
    needed: float


def facts(tokens: int = 120) -> RequestFacts:
    """Return a request of the one task."""
    return RequestFacts(
        dialect="chat",
        requested_model="auto",
        tenant="bench",
        session="",
        tags=frozenset({f"task={TASK}"}),
        input_tokens=tokens,
        max_output_tokens=64,
        needs=frozenset(),
        allowed_models=None,
    )


def catalogue() -> Catalogue:
    """Return both models at the prices of the data."""
    return {group: _card(group, *usd) for group, usd in {"weak": (0.24, 0.24), "strong": (10.0, 30.0)}.items()}


def _card(group: str, input_usd: float, output_usd: float) -> ModelCard:
    into, out = int(input_usd * 1e6), int(output_usd * 1e6)
    return ModelCard(
        group=group,
        providers=("bench",),
        mode="chat",
        price=Price(base=Rates(input=into, cached_input=into, cache_write=into, output=out, reasoning=out)),
        context_window=32_000,
        max_output_tokens=4096,
        capabilities=frozenset(),
        is_simulated=False,
    )


def policy(floor: float, confidence: float = 0.9) -> Policy:
    """Return a policy of one route with a floor."""
    text = POLICY.format(floor=floor, confidence=confidence)
    return load_policy(text, source=str(Path("bench.yaml")), groups=("weak", "strong"))


def snapshot_of(prompts: Prompts, vectors: Vectors, rows: Rows, *, by_task: bool = False) -> Snapshot:
    """Return what is known after both models' answers to the questions `rows` were judged, 20,000 labels at most."""
    labels = [
        Label(NOW, quality, "judge", f"{row}/{group}", "bench", task, group, "fixed", "e", packed)
        for row in rows[: MOST_LABELS // 2]
        for task in (prompts.tasks[row] if by_task else TASK,)
        for packed in (b"" if np.isnan(vectors[row, 0]) else pack(vectors[row]),)
        for group, quality in (("weak", float(prompts.weak[row])), ("strong", float(prompts.strong[row])))
    ]
    return build(labels, last_id="1-1", now=NOW, space="e")


def evidence_of(prompts: Prompts, vectors: Vectors, fold: Rows, *, seed: int, by_task: bool) -> list[Evidence]:
    """Return for each prompt what the snapshot of the other folds knows of it; `by_task`: true tasks, else one."""
    found = [NOTHING] * len(prompts.texts)
    route = policy(0.95).routes[0]
    assert route.knn is not None
    for number in range(int(np.max(fold)) + 1):
        known = np.random.default_rng(seed).permutation(np.flatnonzero(fold != number))
        snapshot = snapshot_of(prompts, vectors, known, by_task=by_task)
        for row in np.flatnonzero(fold == number):
            vector = None if np.isnan(vectors[row, 0]) else vectors[row]
            task = prompts.tasks[row] if by_task else TASK
            found[row] = snapshot.evidence("bench", task, vector, route.knn)
    return found


def decide_all(found: list[Evidence], floor: float, draw: float) -> Choices:
    """Return whom `choose` sends to the strong model."""
    route_class, cards = match(policy(floor), facts()), catalogue()
    return np.array([_first(route_class, cards, evidence, draw) == "strong" for evidence in found])


def _first(route_class: RouteClass, cards: Catalogue, evidence: Evidence, draw: float) -> str:
    plan = choose(route_class, View(catalogue=cards, evidence=evidence, draw=draw))
    assert isinstance(plan, Plan)
    return plan.candidates[0]


def chosen(rule: str, floor: float, prompts: Prompts, is_strong: Choices) -> Chosen:
    """Add up what a choice came to."""
    quality = np.where(is_strong, prompts.strong, prompts.weak)
    cost = np.where(is_strong, prompts.strong_usd, prompts.weak_usd).sum()
    return Chosen(
        rule=rule,
        floor=floor,
        strong_calls=float(is_strong.mean()),
        saved=float(1 - cost / prompts.strong_usd.sum()),
        quality=float(quality.mean()),
        kept=float(quality.mean() / prompts.strong.mean()),
    )


def verdict_of(
    prompts: Prompts, is_strong: Choices, *, floor: float, control: float, rounds: int, seed: int
) -> Verdict:
    """Play the arms over the data `rounds` times, drawn with replacement; every answer judged, nothing proven yet."""
    rng, n = np.random.default_rng(seed), len(is_strong)
    stays, widths = 0, []
    for _ in range(rounds):
        arms = _play(prompts, is_strong, rng.integers(0, n, n), rng.random(n), rng.random(n), control)
        found = arms.uplift()
        if found is None:
            continue
        stays += found.low > 0
        widths.append((found.high - found.low) / 2)
    share = is_strong.mean()
    shuffled = share * prompts.strong.mean() + (1 - share) * prompts.weak.mean()
    gain = float(np.where(is_strong, prompts.strong, prompts.weak).mean() - shuffled)
    width = float(np.mean(widths)) if widths else float("inf")
    needed = n * (width / gain) ** 2 if gain > 0 else float("inf")
    return Verdict(floor=floor, control=control, gain=gain, half_width=width, stays_on=stays / rounds, needed=needed)


def _play(prompts: Prompts, is_strong: Choices, rows: Rows, draws: Floats, coins: Floats, control: float) -> Arms:
    """Route `rows` by the arms of an unproven router; the control arm asks both models alike."""
    arms, rules, nothing = Arms(), KnnRules(control=control), Evidence(near={})
    for row, draw, coin in zip(rows, draws, coins, strict=True):
        arm = arm_of(rules, nothing, float(draw))
        if arm == "fixed":
            continue
        strong = bool(is_strong[row]) if arm == "learned" else bool(coin < 0.5)
        quality = float(prompts.strong[row] if strong else prompts.weak[row])
        sums = arms.learned if arm == "learned" else arms.control
        sums.setdefault("strong" if strong else "weak", Sums()).add(quality, 1.0)
    return arms


def timings(prompts: Prompts, vectors: Vectors, *, rounds: int) -> dict[str, float]:
    """Return microseconds of CPU per decision, the best of five runs: fixed rule, floor without and with a vector.

    Over a snapshot of 20,000 labels (10,000 questions, both models); `near` is the search in it alone.
    """
    rows = np.flatnonzero(~np.isnan(vectors[:, 0]))
    snapshot = snapshot_of(prompts, vectors, rows)
    route_class, cards = match(policy(0.95), facts()), catalogue()
    rules = route_class.route.knn
    assert rules is not None

    def without() -> None:
        evidence = snapshot.evidence("bench", TASK, None, rules)
        choose(route_class, View(catalogue=cards, evidence=evidence, draw=FIXED_DRAW))

    def learned(at: list[int] = [0]) -> None:  # noqa: B006 - a counter
        at[0] += 1
        evidence = snapshot.evidence("bench", TASK, vectors[rows[at[0] % len(rows)]], rules)
        choose(route_class, View(catalogue=cards, evidence=evidence, draw=LEARNED_DRAW))

    found = {}
    for name, act in (("without a vector", without), ("with a vector", learned)):
        act()
        times = []
        for _ in range(5):
            began = time.thread_time_ns()
            for _ in range(rounds):
                act()
            times.append((time.thread_time_ns() - began) / rounds / 1000)
        found[name] = min(times)
    return found
