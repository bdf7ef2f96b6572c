"""What is true of a pair of questions in the bench, and what comparators would say of it: the world, not the system.

The truth of the Quora stream. 874 pairs were read; the class ids of all others are too often wrong to be the truth (of
close pairs that they call different four in five are right). So the hidden truth of an unread pair is drawn once, with
the probability that a logistic model fitted to *read* pairs gives it; the class id is one of its inputs. To score a
read pair fairly its own reading must not have reached the system, not even by way of that model: the read pairs are
dealt into folds, the whole stream is run once per fold, and in the run of a fold its pairs are neither fitted to nor
labelled by their reading (they get a drawn truth like any unread pair). Every read pair is scored once, with its
reading, in the run that knew nothing of it.

Must not import the gate: nothing here depends on what the system does.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gateway.cache.semantic.features import features_of_pair
from gateway.cache.semantic.guards import Features, failed, pair_features
from tests.bench.cache_data import Adjudicated, Stream

FOLDS = 3
_RIDGE = 0.3
"""Of 0.3 to 10, what predicts read pairs that were left out as well as any and is not too timid about the surest ones:
the surest twelfth is wrong as often as it says (4 %)."""
_NEWTON_STEPS = 40
_HARD = 0.95
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How comparators err: shares of right pairs called different and of wrong ones called the same.

    Of the first, the share `lasting` comes back however often both questions are asked again; the rest is drawn anew.
    """

    false_different: float = 0.03
    false_same: float = 0.003
    lasting: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """How a verifier errs: shares of wrong pairs that it affirms and of right ones that it refutes, and comes too late.

    It says the same of a pair every time. Its errors fall on pairs at random, while a real one's fall on hard pairs:
    of wrong pairs with a cosine of .95 or more it affirms `blind` times as many.
    """

    false_yes: float
    false_no: float
    late: float = 0.01
    blind: float = 1.0

    def says(self, asked: int, stored: int, *, is_same: bool, similarity: float) -> bool:
        """Return its verdict on the pair of these rows."""
        # Not crc32, as the truth's: two checksums of alike texts are not independent of each other.
        digest = hashlib.blake2b(f"{asked}:{stored}".encode(), digest_size=4).digest()
        draw = int.from_bytes(digest, "big") / 2**32
        false_yes = self.false_yes * (self.blind if similarity >= _HARD else 1.0)
        return draw >= self.false_no if is_same else draw < false_yes


@dataclass(slots=True, kw_only=True)
class Pairs:
    """What the product reads from pairs of a stream's questions, computed once."""

    stream: Stream
    questions: Sequence[Features]
    known: dict[tuple[int, int], tuple[tuple[float, ...], tuple[str, ...]]] = field(default_factory=dict)

    def read(self, asked: int, stored: int) -> tuple[tuple[float, ...], tuple[str, ...]]:
        """Return pair_features and the failed guards."""
        found = self.known.get((asked, stored))
        if found is None:
            one, other = self.questions[asked], self.questions[stored]
            found = self.known[asked, stored] = (pair_features(one, other), failed(one, other))
        return found


Truth = Callable[[int, int, float], bool]
"""Would one good answer to the second row's question serve the first's? The third is their cosine."""


def by_class(stream: Stream) -> Truth:
    """Return the truth where classes are complete: the same intent."""
    return lambda asked, stored, similarity: stream.classes[asked] == stream.classes[stored]


def by_reading(pairs: Pairs, read: Sequence[Adjudicated], *, held_out: int | None, seed: int) -> Truth:
    """Return the Quora stream's truth with fold `held_out` of the read pairs unknown (None: all are known)."""
    known = [pair for at, pair in enumerate(read) if fold_of(at) != held_out]
    rows = {origin: row for row, origin in enumerate(pairs.stream.origin)}
    known = [pair for pair in known if pair.request in rows and pair.neighbour in rows]
    cosines = _cosines(pairs.stream)
    readings: Mapping[tuple[int, int], bool] = {_key(pair.request, pair.neighbour): pair.is_right for pair in known}
    fitted = [(rows[pair.request], rows[pair.neighbour], pair) for pair in known]
    fitted = [item for item in fitted if item[:2] in cosines]
    design = np.array([_inputs(pairs, a, b, cosines[a, b]) for a, b, _ in fitted])
    right = np.array([float(pair.is_right) for _, _, pair in fitted])
    weights = _fit(design, right, np.array([pair.weight for _, _, pair in fitted]))

    def truth(asked: int, stored: int, similarity: float) -> bool:
        """Look the pair up, or draw it: the same pair the same way every time."""
        key = _key(pairs.stream.origin[asked], pairs.stream.origin[stored])
        if key in readings:
            return readings[key]
        chance = float(1 / (1 + np.exp(-float(_inputs(pairs, asked, stored, similarity) @ weights))))
        return zlib.crc32(f"{seed}:{key[0]}:{key[1]}".encode()) / 2**32 < chance

    return truth


def readings_of(stream: Stream, read: Sequence[Adjudicated]) -> Mapping[tuple[int, int], bool]:
    """Return what was read of pairs of rows, in both directions."""
    rows = {origin: row for row, origin in enumerate(stream.origin)}
    pairs = [(rows.get(pair.request), rows.get(pair.neighbour), pair.is_right) for pair in read]
    return {
        order: is_right
        for one, other, is_right in pairs
        if one is not None and other is not None
        for order in ((one, other), (other, one))
    }


def fold_of(number: int) -> int:
    """Return the fold of the read pair of this number: in the file's order neighbours in time are in different ones."""
    return number % FOLDS


def _key(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)


def _cosines(stream: Stream) -> Mapping[tuple[int, int], float]:
    """Return the cosines of every question and its nearest, in both directions."""
    found: dict[tuple[int, int], float] = {}
    for row in range(len(stream)):
        for other, similarity in zip(stream.near[row, :8], stream.similarity[row, :8], strict=True):
            found[row, int(other)] = found[int(other), row] = float(similarity)
    return found


def _inputs(pairs: Pairs, asked: int, stored: int, similarity: float) -> Floats:
    differences, refused = pairs.read(asked, stored)
    product = features_of_pair(
        similarity=similarity, margin=0.0, age_s=0.0, aliases=0, differences=differences, failed=refused
    )
    is_same_class = float(pairs.stream.classes[asked] == pairs.stream.classes[stored])
    near = (similarity - 0.9) * 10
    return np.array([*product, is_same_class, is_same_class * near, is_same_class * len(refused)])


def _fit(design: Floats, right: Floats, weight: Floats) -> Floats:
    """Return ridge logistic regression's weights, by Newton's method."""
    fitted = np.zeros(design.shape[1])
    weight = weight / weight.mean()
    for _ in range(_NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-design @ fitted))
        curvature = design.T @ (design * (weight * chance * (1 - chance))[:, None]) + _RIDGE * np.eye(fitted.size)
        fitted = fitted + np.linalg.solve(curvature, design.T @ (weight * (right - chance)) - _RIDGE * fitted)
    return fitted
