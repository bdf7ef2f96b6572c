"""Vectors made small: a byte a number to keep them, and the 64 directions that tell labelled questions apart to search.

Principal directions lose nothing on MMLU (area under the curve 0.681 against 0.679 of all 384 numbers), a random
projection to 64 does (0.641): tests/bench/README.md. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.cache.semantic.types import Vector

DIM: Final = 64
LEAST_TO_FIT: Final = 10 * DIM
"""Directions of fewer questions would be those questions themselves, and any other one would look like some of them."""
_SAMPLE: Final = 4000
_TOP: Final = 127.0

Numbers = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """How vectors are compared: by `directions`, float32[dim, 64], or whole where there are too few to fit some."""

    directions: Numbers | None = None

    def reduce(self, vectors: Numbers) -> Numbers:
        """Return float32[n, 64] (or [n, dim]) with rows of unit norm: dot products are the cosines that count."""
        reduced = vectors if self.directions is None else vectors @ self.directions
        sizes = np.linalg.norm(reduced, axis=1, keepdims=True)
        scaled: Numbers = (reduced / np.maximum(sizes, 1e-9)).astype(np.float32)
        return scaled


def fit(vectors: Numbers) -> Basis:
    """Return the basis of the strongest directions of `vectors`: those of their second moments, about the origin.

    About 0.1 s: at most 4,000 of them, evenly spaced, are looked at. The same vectors give the same basis.
    """
    if len(vectors) < LEAST_TO_FIT or vectors.shape[1] <= DIM:
        return Basis()
    chosen = vectors[:: -(-len(vectors) // _SAMPLE)]
    _, directions = np.linalg.eigh((chosen.T @ chosen).astype(np.float64))
    return Basis(directions=np.ascontiguousarray(directions[:, : -DIM - 1 : -1], dtype=np.float32))


def pack(vector: Vector) -> bytes:
    """Return one signed byte a number, scaled by the largest: cosines stay within 0.01."""
    largest = float(np.abs(vector).max()) or 1.0
    return np.round(vector * np.float32(_TOP / largest)).astype(np.int8).tobytes()


def unpack(packed: list[bytes], dim: int) -> Numbers:
    """Return float32[n, dim] with rows of unit norm."""
    rows = np.frombuffer(b"".join(packed), np.int8).reshape(-1, dim).astype(np.float32)
    return Basis().reduce(rows)
