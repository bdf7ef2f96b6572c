"""The streams of `make bench-cache`: questions in order with their vectors and nearest earlier neighbours.

Vectors are kept outside the project, by the SHA-256 of the texts. They are float32 MiniLM's, of whose nearest
neighbours pairs were read; the shipped int8 finds the same nearest in 98.9 % (deploy/adr/0007). Must not judge a pair.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.cache.semantic.types import Embedded
from gateway.embedder.minilm import MiniLM

DATA = Path(os.environ.get("FOREWORD_DATA", "../shared/data"))  # noqa: TID251 - a benchmark has no settings
KEPT = Path(os.environ.get("FOREWORD_BENCH_CACHE", f"{tempfile.gettempdir()}/foreword-bench"))  # noqa: TID251
QUORA, ADJUDICATED = DATA / "queries/qqp_stream_60k.jsonl.gz", DATA / "queries/qqp_adjudicated.tsv"
BANKING = (DATA / "queries/banking77_train.csv", DATA / "queries/banking77_test.csv")
SECTIONS = DATA / "debates/sections.jsonl.gz"
NEIGHBOURS = 24
"""Kept per question: when its nearest is no entry (it was a hit), the next one is; nobody needs the 25th."""
_BATCH = 256
_ROWS = 500

Matrix = npt.NDArray[np.float32]
Indexes = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stream:
    """Questions in order. `classes` are ids of equal meaning; row i of `near` are earlier rows, -1 where there are
    none.

    `origin[i]` is the row's number in the order of the file.
    """

    name: str
    texts: tuple[str, ...]
    classes: tuple[int, ...]
    origin: tuple[int, ...]
    near: Indexes
    similarity: Matrix

    def __len__(self) -> int:
        return len(self.texts)


class _Question(msgspec.Struct):
    text: str
    class_id: int


class _Section(msgspec.Struct):
    id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjudicated:
    """A pair that was read: would one good answer to `neighbour` serve `request`? `weight` requests are like it."""

    request: int
    neighbour: int
    is_right: bool
    weight: float


def quora(*, seed: int | None, limit: int | None) -> Stream:
    """Return the Quora stream, shuffled by `seed` (None: as it came), cut to `limit` questions."""
    with gzip.open(QUORA) as file:
        rows = [msgspec.json.decode(line, type=_Question) for line in file]
    return _stream("quora", [row.text for row in rows], [row.class_id for row in rows], seed=seed, limit=limit)


def banking(*, seed: int, limit: int | None) -> Stream:
    """Return BANKING77 (Casanueva et al. 2020, CC BY 4.0) shuffled, intents as classes: its files are sorted by
    them."""
    rows = [row for path in BANKING for row in csv.DictReader(path.open(encoding="utf-8"))]
    intents = sorted({row["category"] for row in rows})
    classes = [intents.index(row["category"]) for row in rows]
    return _stream("banking77", [row["text"] for row in rows], classes, seed=seed, limit=limit)


def sections() -> Sequence[tuple[str, str]]:
    """Return the debates' sections: id and transcript."""
    with gzip.open(SECTIONS) as file:
        rows = [msgspec.json.decode(line, type=_Section) for line in file]
    return [(row.id, row.text) for row in rows]


def adjudicated() -> Sequence[Adjudicated]:
    """Return the pairs that were read and decided (four were not)."""
    with ADJUDICATED.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [
        Adjudicated(
            request=int(row["request"]),
            neighbour=int(row["neighbour"]),
            is_right=row["label"] == "y",
            weight=float(row["weight"]),
        )
        for row in rows
        if row["label"] in {"y", "n"}
    ]


def vectors_of(texts: Sequence[str]) -> Matrix:
    """Return float32[texts, dim], unit norm, from the product's encoder or from the last time; a too long text is 0."""
    name = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    file = KEPT / f"vectors-{name}.npy"
    if file.exists():
        kept: Matrix = np.load(file)
        return kept
    encoder = MiniLM.load(KEPT)
    made = np.zeros((len(texts), encoder.dim), np.float32)
    for start in range(0, len(texts), _BATCH):
        for offset, answer in enumerate(encoder.encode(texts[start : start + _BATCH])):
            if isinstance(answer, Embedded):
                made[start + offset] = answer.vector
    np.save(file, made)
    return made


def _stream(name: str, texts: Sequence[str], classes: Sequence[int], *, seed: int | None, limit: int | None) -> Stream:
    vectors = vectors_of(texts)
    order = np.arange(len(texts)) if seed is None else np.random.default_rng(seed).permutation(len(texts))
    order = order[:limit]
    near, similarity = _nearest(vectors[order], f"{name}-{seed}-{len(order)}")
    return Stream(
        name=name,
        texts=tuple(texts[at] for at in order),
        classes=tuple(classes[at] for at in order),
        origin=tuple(int(at) for at in order),
        near=near,
        similarity=similarity,
    )


def _nearest(vectors: Matrix, name: str) -> tuple[Indexes, Matrix]:
    """Return for each row its nearest earlier rows and their cosines: what the exact index would find, all at once."""
    digest = hashlib.sha256(vectors.tobytes()).hexdigest()[:16]
    file = KEPT / f"near-{name}-{digest}.npz"
    if file.exists():
        kept = np.load(file)
        return kept["near"], kept["similarity"]
    near = np.full((len(vectors), NEIGHBOURS), -1, np.int32)
    similarity = np.zeros((len(vectors), NEIGHBOURS), np.float32)
    for start in range(0, len(vectors), _ROWS):
        end = min(len(vectors), start + _ROWS)
        scores = vectors[start:end] @ vectors[:end].T
        for row in range(start, end):
            scores[row - start, row:] = -1.0
        kept_columns = min(NEIGHBOURS, end)
        best = np.argpartition(-scores, kept_columns - 1, axis=1)[:, :kept_columns]
        found = np.take_along_axis(scores, best, axis=1)
        order = np.argsort(-found, axis=1, kind="stable")
        near[start:end, :kept_columns] = np.take_along_axis(best, order, axis=1)
        similarity[start:end, :kept_columns] = np.take_along_axis(found, order, axis=1)
    near[similarity <= 0] = -1
    np.savez(file, near=near, similarity=similarity)
    return near, similarity
