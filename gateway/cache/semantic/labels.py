"""Do a stored and a fresh answer say the same? Texts, and where it takes them, their vectors.

Asks no model but through the judge it is given, and keeps nothing; what a label teaches is the class's business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.cache.codec import StoredAnswer, body_of
from gateway.cache.semantic.comparators import Different, Judge, Unsure, compare, judged, label
from gateway.cache.semantic.free_text import Band
from gateway.cache.semantic.refusals import storable_text
from gateway.cache.semantic.types import Embedded, Embedder, EmbedderUnavailable, TooLong, Vector

_PIECE: Final = 700
"""Characters, about 170 tokens: an answer is longer than an embedder's window more often than not."""
_MOST_PIECES: Final = 12
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """`different` from 0 (same) to 1; `similarity` of the answers and the fresh one's vector, where they were made."""

    different: float
    similarity: float | None = None
    vector: Vector | None = None


def text_of(answer: StoredAnswer) -> str | None:
    """Return an answer's text where it may serve another wording of its question, else None."""
    return storable_text(body_of(answer))


async def compared(
    stored: str, fresh: str, *, band: Band, embedder: Embedder, question: str = "", judge: Judge | None = None
) -> Compared | None:
    """Compare two answers to `question`; None where that takes vectors and there are none now.

    `judge` is asked where neither their words nor their vectors say.
    """
    verdict = compare(stored, fresh, band=band)
    if not isinstance(verdict, Unsure) and not (isinstance(verdict, Different) and verdict.by == "short_text"):
        return Compared(different=label(verdict))
    try:
        ours, theirs = await answer_vector(stored, embedder), await answer_vector(fresh, embedder)
    except EmbedderUnavailable:
        return None
    if ours is None or theirs is None:
        return None
    similarity = max(-1.0, min(1.0, float(ours @ theirs)))
    verdict = compare(stored, fresh, band=band, similarity=similarity)
    return Compared(
        different=label(await judged(verdict, judge, question=question, stored=stored, fresh=fresh)),
        similarity=similarity,
        vector=theirs,
    )


async def answer_vector(text: str, embedder: Embedder) -> Vector | None:
    """Return the mean of the vectors of an answer's pieces, unit norm; None for one that is too long, or all tokens.

    Raises EmbedderUnavailable.
    """
    pieces = _pieces(text)
    if len(pieces) > _MOST_PIECES:
        return None
    total: Vector | None = None
    for piece in pieces:
        found: Embedded | TooLong = await embedder.embed(piece)
        if isinstance(found, TooLong):
            return None
        total = found.vector if total is None else total + found.vector
    size = 0.0 if total is None else float(np.linalg.norm(total))
    return None if total is None or size == 0 else total / np.float32(size)


def _pieces(text: str) -> list[str]:
    pieces: list[str] = []
    for sentence in _SENTENCE.split(text):
        if not sentence.strip():
            continue
        if pieces and len(pieces[-1]) + len(sentence) < _PIECE:
            pieces[-1] += " " + sentence
        else:
            pieces.append(sentence)
    return pieces
