"""What the class's model knows of a pair, as numbers: how near, how alone, how old, and how the words differ.

Pure. Must not weigh anything: the weights are learned, PRIOR is only where they start.
"""

from __future__ import annotations

import math
from typing import Final

from gateway.cache.semantic.events import Verdict
from gateway.cache.semantic.guards import GUARDS, PAIR_FEATURES, Features, fails_any

NAMES: Final = (
    "one",
    "similarity",
    "similarity_above_95",
    "margin",
    "age",
    "aliases",
    *PAIR_FEATURES,
    *(f"failed_{name}" for name, _ in GUARDS),
    "near_and_alike",
    "content_weight",
    "unrefused",
    "near_and_unrefused",
    "affirmed",
    "refuted",
)
"""Names of `features_of_pair`'s values, in order."""
_FIRST: Final = {"one": -1.0, "similarity": 1.5, "unrefused": 1.5, "affirmed": 3.0, "refuted": -3.0}
PRIOR: Final = tuple(_FIRST.get(name, 0.0) for name in NAMES)
"""Mean of the weights before the first label: even odds at a cosine of about .97, or .87 where no guard refuses. A
verifier is taken to err once in twenty."""
FINAL_GUARDS: Final = frozenset(("numbers", "polarity", "names", "persons", "roles", "length"))
"""A pair that fails one of these is never served; failing another one is something the model weighs."""

_DAY_S: Final = 86_400.0


def is_refused(failed: tuple[str, ...]) -> bool:
    """Whether guards (guards.failed) make the pair a miss, whatever the model thinks of it."""
    return not FINAL_GUARDS.isdisjoint(failed)


def is_pair_refused(asked: Features, stored: Features) -> bool:
    """Whether `is_refused` holds of what guards.failed would say of the pair, without asking every guard."""
    return fails_any(asked, stored, FINAL_GUARDS)


def features_of_pair(
    *,
    similarity: float,
    margin: float,
    age_s: float,
    aliases: int,
    differences: tuple[float, ...],
    failed: tuple[str, ...],
) -> tuple[float, ...]:
    """Return the values that NAMES names, each within about -5 to 5.

    `similarity` is the pair's cosine, `margin` how much nearer it is than the best neighbour with another answer,
    `age_s` the answer's age, `aliases` how many questions the answer is known to answer, `differences` what
    guards.pair_features says of the two texts, `failed` the guards that refuse them (guards.failed). No verifier has
    been asked: see `with_verdict`.
    """
    named = dict(zip(PAIR_FEATURES, differences, strict=True))
    near = (similarity - 0.9) * 10
    return (
        1.0,
        near,
        max(0.0, similarity - 0.95) * 20,
        min(margin, 0.2) * 5,
        math.log1p(max(0.0, age_s) / _DAY_S) / 4,
        math.log1p(aliases),
        *differences,
        *(float(name in failed) for name, _ in GUARDS),
        near * named["content_jaccard"],
        math.log1p(named["missing_weight"] + named["extra_weight"]),
        float(not failed),
        near * float(not failed),
        0.0,
        0.0,
    )


def with_verdict(features: tuple[float, ...], verdict: Verdict | None) -> tuple[float, ...]:
    """Return a pair's features with what a verifier said of it in place of what was known before."""
    return (*features[:-2], float(verdict == "same"), float(verdict == "different"))
