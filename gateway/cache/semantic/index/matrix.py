"""Nearest rows of float32 matrices in memory, one by one or by clusters. Knows no entry, no clock, no event loop.

Every row belongs to a slot, a number that its owner gives once and never again. Rows are only appended, so a search in
another thread may go on while rows come; what has gone is left out by its slot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.cache.semantic.types import Vector

Matrix = npt.NDArray[np.float32]
Slots = npt.NDArray[np.int64]
Ends = npt.NDArray[np.float64]
"""Per slot the Unix time until which it counts; 0 for what has been removed."""

FIRST_ROWS: Final = 16
CHUNK_ROWS: Final = 1024
"""A chunk is allocated at once: 1.5 MB, which takes microseconds; growing a larger matrix would copy it."""
PROBES: Final = 12
"""Clusters searched of the square root of all rows; tests/contract/test_indexes.py holds the recall."""
ROUNDS: Final = 6
SAMPLE_PER_CLUSTER: Final = 40
_STEP: Final = 4096
TOGETHER: Final = 4
"""Fewer vectors are faster multiplied one by one."""
Number = TypeVar("Number", np.float32, np.int64)


class Found(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The rows nearest to a vector, nearest first, with copies of their vectors."""

    slots: Slots
    similarities: Matrix
    vectors: Matrix


class Flat:
    """Rows in the order they came, in chunks."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._chunks: list[tuple[Matrix, Slots]] = []
        self._size = 0
        self._room = 0

    def __len__(self) -> int:
        return self._size

    def append(self, vector: Vector, slot: int) -> None:
        """Add a row."""
        if self._size == self._room:
            self._grow()
        rows, slots = self._chunks[-1]
        at = self._size - self._room + len(rows)
        rows[at] = vector
        slots[at] = slot
        self._size += 1

    def extend(self, rows: Matrix, slots: Slots) -> None:
        """Add rows."""
        done = 0
        while done < len(rows):
            if self._size == self._room:
                self._grow()
            to_rows, to_slots = self._chunks[-1]
            at = self._size - self._room + len(to_rows)
            count = min(len(rows) - done, len(to_rows) - at)
            to_rows[at : at + count] = rows[done : done + count]
            to_slots[at : at + count] = slots[done : done + count]
            self._size += count
            done += count

    def parts(self, start: int = 0) -> Sequence[tuple[Matrix, Slots]]:
        """Return views of the rows from `start` on, and their slots."""
        found = []
        first = 0
        for rows, slots in self._chunks:
            last = min(first + len(rows), self._size)
            if last > start:
                here = slice(max(0, start - first), last - first)
                found.append((rows[here], slots[here]))
            first += len(rows)
        return found

    def _grow(self) -> None:
        first = self._chunks[-1] if self._chunks else None
        if first is None or len(first[0]) == CHUNK_ROWS:
            count = CHUNK_ROWS if first is not None else FIRST_ROWS
            self._chunks.append((np.zeros((count, self._dim), np.float32), np.zeros(count, np.int64)))
            self._room += count
            return
        count = 4 * len(first[0])
        grown = (np.zeros((count, self._dim), np.float32), np.zeros(count, np.int64))
        grown[0][: self._size], grown[1][: self._size] = first
        self._chunks[0] = grown
        self._room = count


@dataclass(frozen=True, slots=True, kw_only=True)
class Clustered:
    """Rows sorted by the centroid they lie nearest to; a search looks only where the centroids are near.

    An inverted file (Sivic and Zisserman, ICCV 2003) with exact products inside. `starts` is one longer than they.
    """

    rows: Matrix
    slots: Slots
    centroids: Matrix
    starts: Slots

    def parts(self, vector: Vector) -> Sequence[tuple[Matrix, Slots]]:
        """Return the clusters nearest to `vector`."""
        products = self.centroids @ vector
        probed = np.argpartition(products, -PROBES)[-PROBES:] if len(products) > PROBES else np.arange(len(products))
        spans = [(int(self.starts[one]), int(self.starts[one + 1])) for one in probed]
        return [(self.rows[first:last], self.slots[first:last]) for first, last in spans]


def nearest(parts: Sequence[tuple[Matrix, Slots]], vector: Vector, *, ends: Ends, now: float, k: int) -> Found:
    """Return up to `k` living rows of `parts` (one at least) by their dot product with `vector`."""
    slots = _joined([slots for _, slots in parts])
    products = _joined([rows @ vector for rows, _ in parts])
    products[ends[slots] <= now] = -np.inf
    return _found(parts, products, slots, k=k)


def nearest_all(
    parts: Sequence[tuple[Matrix, Slots]], vectors: Sequence[Vector], *, ends: Ends, now: float, k: int
) -> Sequence[Found]:
    """Return what `nearest` does for each vector, to the last bits of the products: many at once take a fifth each."""
    if len(vectors) < TOGETHER:
        return [nearest(parts, vector, ends=ends, now=now, k=k) for vector in vectors]
    slots, columns = _joined([slots for _, slots in parts]), np.array(vectors, np.float32).T
    products = np.ascontiguousarray(_joined([rows @ columns for rows, _ in parts]).T)
    products[:, ends[slots] <= now] = -np.inf
    return [_found(parts, row, slots, k=k) for row in products]


def _found(parts: Sequence[tuple[Matrix, Slots]], products: Matrix, slots: Slots, *, k: int) -> Found:
    best = _best(products, k=k)
    return Found(slots=slots[best], similarities=products[best], vectors=_rows_at(parts, best))


def _joined(arrays: Sequence[npt.NDArray[Number]]) -> npt.NDArray[Number]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _rows_at(parts: Sequence[tuple[Matrix, Slots]], places: Slots) -> Matrix:
    """Return copies of the rows at these places of all parts' rows in order."""
    if len(parts) == 1:
        return parts[0][0][places]
    found = np.empty((len(places), parts[0][0].shape[1]), np.float32)
    for number, place in enumerate(places.tolist()):
        for rows, _ in parts:
            if place < len(rows):
                found[number] = rows[place]
                break
            place -= len(rows)
    return found


def _best(products: Matrix, *, k: int) -> Slots:
    """Return the places of the `k` highest products above minus infinity, highest first."""
    best = products.argpartition(-k)[-k:] if len(products) > k else np.arange(len(products))
    highest = products[best]
    order = (-highest).argsort()
    best, highest = best[order], highest[order]
    return best if not len(best) or highest[-1] > -np.inf else best[highest > -np.inf]


def cluster(parts: Sequence[tuple[Matrix, Slots]], *, ends: Ends, now: float) -> Clustered | None:
    """Sort the living rows of `parts` into about sqrt(n) clusters by spherical k-means on a sample; None without any.

    Takes 1.5 s of one core for 100,000 rows of 384, nearly all of it without the interpreter's lock.
    """
    slots = np.concatenate([slots for _, slots in parts])
    living = ends[slots] > now
    slots, rows = slots[living], np.concatenate([rows for rows, _ in parts])[living]
    if not len(rows):
        return None
    count = max(1, round(math.sqrt(len(rows))))
    sample = rows[np.random.default_rng(0).permutation(len(rows))[: count * SAMPLE_PER_CLUSTER]]
    centroids = sample[:count].copy()
    for _ in range(ROUNDS):
        centroids = _means(sample, _belongs(sample, centroids), centroids)
    belongs = _belongs(rows, centroids)
    order = np.argsort(belongs, kind="stable")
    starts = np.searchsorted(belongs[order], np.arange(count + 1))
    return Clustered(rows=rows[order], slots=slots[order], centroids=centroids, starts=starts)


def _belongs(rows: Matrix, centroids: Matrix) -> Slots:
    found = [(rows[at : at + _STEP] @ centroids.T).argmax(axis=1) for at in range(0, len(rows), _STEP)]
    return np.concatenate(found)


def _means(sample: Matrix, belongs: Slots, old: Matrix) -> Matrix:
    """Return each cluster's mean direction; one that nobody belongs to stays where it was."""
    members = (belongs == np.arange(len(old))[:, None]).astype(np.float32)
    sums: Matrix = members @ sample
    sizes = np.linalg.norm(sums, axis=1, keepdims=True)
    means: Matrix = np.where(sizes > 0, sums / np.maximum(sizes, np.float32(1e-12)), old).astype(np.float32)
    return means
