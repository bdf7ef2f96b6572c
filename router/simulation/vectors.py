"""Deterministic embeddings: a unit vector per text that means nothing beyond equality; no similarity in it."""

from __future__ import annotations

import array
import base64
import hashlib
import math
import sys
from collections.abc import Mapping

from router.simulation.asked import sequence

_DIMENSIONS: Mapping[str, int] = {"text-embedding-3-large": 3072, "all-minilm": 384, "embed-english-v3": 1024}
_USUAL_DIMENSIONS = 1536
_MAX_DIMENSIONS = 8192


def inputs_of(document: Mapping[str, object]) -> list[str]:
    """Return the texts of an embeddings request; token arrays become their numbers, joined by blanks."""
    wanted = document.get("input")
    if isinstance(wanted, str):
        return [wanted]
    items = sequence(wanted)
    if items and all(isinstance(item, int) for item in items):
        return [" ".join(map(str, items))]
    return [item if isinstance(item, str) else " ".join(map(str, sequence(item))) for item in items]


def dimensions_of(document: Mapping[str, object], *, model: str) -> int:
    """Return the asked number of dimensions, else the usual one of the model that is stood for."""
    asked = document.get("dimensions")
    if isinstance(asked, int) and not isinstance(asked, bool) and 0 < asked <= _MAX_DIMENSIONS:
        return asked
    return next((size for name, size in _DIMENSIONS.items() if name in model.lower()), _USUAL_DIMENSIONS)


def vector_of(text: str, *, dimensions: int, seed: int) -> array.array[float]:
    """Return float32[dimensions], unit norm, drawn from the text's hash."""
    digest = hashlib.shake_256(f"{seed}\n{text}".encode("utf-8", "surrogatepass")).digest(dimensions * 2)
    raw = array.array("h", digest)
    if sys.byteorder == "big":
        raw.byteswap()
    # Centred on .5 so that no draw of zeroes can give a zero norm.
    centred = [value + 0.5 for value in raw]
    norm = math.sqrt(math.fsum(value * value for value in centred))
    return array.array("f", (value / norm for value in centred))


def encoded(vector: array.array[float]) -> str:
    """Return the vector as base64 of little-endian float32, as `encoding_format: base64` wants it."""
    if sys.byteorder == "big":
        vector = array.array("f", vector)
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode("ascii")
