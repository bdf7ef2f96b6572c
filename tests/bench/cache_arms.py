"""The arms of `make bench-cache` and what each one needs: which stream, which bound, which noise, which fold.

Runs them on all cores; each run is its own process's work. Must not print.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from gateway.cache.semantic.eligibility import EntryRules, Ineligible, question_of
from gateway.cache.semantic.guards import features_of
from gateway.cache.semantic.state import ClassState
from policies.rules import SemanticRules, VerifyRules
from router.types import ChatRequest
from tests.bench.cache_data import Adjudicated, Stream, adjudicated, banking, quora
from tests.bench.cache_run import NEAR, Run, Setting, run_gate, run_threshold
from tests.bench.cache_truth import FOLDS, Noise, Pairs, Truth, Verifier, by_class, by_reading, readings_of

SEED = 20_261_122
StreamName = Literal["quora", "quora shuffled", "banking77"]
FRESH, LASTING = Noise(lasting=0.0), Noise(lasting=1.0)
VERIFIER = Verifier(false_yes=0.02, false_no=0.03)
SENSITIVITY = tuple(Verifier(false_yes=yes, false_no=no) for no in (0.03, 0.1) for yes in (0.005, 0.02, 0.05, 0.1))
BLIND = Verifier(false_yes=0.02, false_no=0.03, blind=5.0)
_NO_LIMIT = 10**15


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A row of the table. `threshold` serves from a fixed cosine; else the whole system runs with `rules`."""

    name: str
    stream: StreamName
    threshold: float | None = None
    guarded: bool = False
    rules: SemanticRules | None = None
    noise: Noise = LASTING
    admits_all: bool = True
    verifier: Verifier | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class World:
    """A stream, what the product reads from its pairs, and who may enter."""

    pairs: Pairs
    eligible: npt.NDArray[np.bool_]
    read: Sequence[Adjudicated]


_worlds: dict[StreamName, World] = {}
"""Filled before the workers are forked, so that they share it."""


def thresholds(stream: StreamName) -> list[Arm]:
    """Return the arms without a gate."""
    fixed = [Arm(name=f"cosine >= {cut:.2f}", stream=stream, threshold=cut) for cut in (0.9, 0.93, 0.95, 0.97, 0.99)]
    guarded = [
        Arm(name=f"guards, cosine >= {cut:.2f}", stream=stream, threshold=cut, guarded=True) for cut in (0.8, 0.9, 0.93)
    ]
    return fixed + guarded


def systems(stream: StreamName, noise: Noise, *, admits_all: bool = True) -> list[Arm]:
    """Return the whole system at its bounds. In the last one it is 0.5 % of requests that binds, from 8 % hits on."""
    return [
        Arm(name=name, stream=stream, rules=rules, noise=noise, admits_all=admits_all)
        for name, rules in (
            ("bound 1 % of hits", rules_of(0.01, 0.005)),
            ("bound 2 % of hits", rules_of(0.02, 0.005)),
            ("bound 5 % of hits", rules_of(0.05, 0.005)),
            ("bound 6 % of hits, 0.5 % of requests", rules_of(0.06, 0.005)),
        )
    ]


def verified(stream: StreamName, noise: Noise, verifier: Verifier, bounds: Sequence[float]) -> list[Arm]:
    """Return the whole system with a verifier that errs so, at these bounds on hits (0.5 % of requests as ever)."""
    return [
        Arm(
            name=f"bound {100 * bound:g} % of hits, verified",
            stream=stream,
            rules=rules_of(bound, 0.005, verified=True),
            noise=noise,
            verifier=verifier,
        )
        for bound in bounds
    ]


def rules_of(wrong_per_hit: float, wrong_per_request: float, *, verified: bool = False) -> SemanticRules:
    """Return rules with these bounds, the shipped 2 % of hits asked again, and no limit on what labels cost."""
    return SemanticRules(
        wrong_per_hit=wrong_per_hit,
        wrong_per_request=wrong_per_request,
        label_budget_nanousd_day=_NO_LIMIT,
        verify=VerifyRules(model="small", budget_nanousd_day=_NO_LIMIT) if verified else None,
    )


def prepare(name: StreamName, *, limit: int | None) -> World:
    """Read a stream and keep it for the workers that `run_all` forks."""
    shuffled = SEED if name == "quora shuffled" else None
    stream = banking(seed=SEED, limit=limit) if name == "banking77" else quora(seed=shuffled, limit=limit)
    pairs = Pairs(stream=stream, questions=[features_of(text) for text in stream.texts])
    for row in np.flatnonzero(stream.similarity[:, 0] >= NEAR):
        pairs.read(int(row), int(stream.near[row, 0]))
    world = World(pairs=pairs, eligible=_eligible(stream), read=[] if name == "banking77" else adjudicated())
    _worlds[name] = world
    return world


def run_all(arms: Sequence[Arm], *, folds: int) -> Iterator[tuple[Arm, list[Run], ClassState | None]]:
    """Run every arm, the whole system on the Quora stream once a fold; yields in the order of `arms`.

    The state is the last fold's at the end of the stream, None without a gate.
    """
    jobs = [(arm, fold) for arm in arms for fold in range(_folds_of(arm, folds))]
    context = multiprocessing.get_context("fork")
    with context.Pool(min(len(jobs), os.cpu_count() or 1)) as pool:
        done = pool.imap(_run, jobs)
        for arm in arms:
            results = [next(done) for _ in range(_folds_of(arm, folds))]
            yield arm, [run for run, _ in results], results[-1][1]


def _folds_of(arm: Arm, folds: int) -> int:
    return folds if arm.rules is not None and arm.stream == "quora" else 1


def _run(job: tuple[Arm, int]) -> tuple[Run, ClassState | None]:
    arm, fold = job
    world = _worlds[arm.stream]
    truth = _truth(arm, world, fold)
    if arm.rules is None:
        assert arm.threshold is not None
        return run_threshold(world.pairs, truth, arm.threshold, guarded=arm.guarded), None
    eligible = np.ones_like(world.eligible) if arm.admits_all else world.eligible
    met = Setting(
        pairs=world.pairs,
        truth=truth,
        noise=arm.noise,
        eligible=eligible,
        verifier=arm.verifier,
        readings=readings_of(world.pairs.stream, world.read),
    )
    return run_gate(met, arm.rules, seed=SEED + fold)


def _truth(arm: Arm, world: World, fold: int) -> Truth:
    if arm.stream == "banking77":
        return by_class(world.pairs.stream)
    # A fixed threshold learns nothing: no pair need be held out.
    return by_reading(world.pairs, world.read, held_out=None if arm.rules is None else fold % FOLDS, seed=SEED)


def _eligible(stream: Stream) -> npt.NDArray[np.bool_]:
    rules = EntryRules()
    found = (question_of(_request(text), rules) for text in stream.texts)
    return np.array([not isinstance(question, Ineligible) for question in found])


def _request(text: str) -> ChatRequest:
    document = {"model": "m", "messages": [{"role": "user", "content": text}]}
    return ChatRequest(
        dialect="chat", body=b"", document=document, requested_model="m", stream=False, include_usage=False
    )
