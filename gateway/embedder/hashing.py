"""An encoder for tests: n-grams of words counted into hashed places. It finds the same words, not the same meaning.

`serve` refuses it. In this process, without any library.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

from gateway.cache.semantic.types import Embedded, TooLong

_WORD = re.compile(r"\w+|[^\w\s]")
_GRAM = 3


class HashingEncoder:
    """The same in shape as MiniLM, and an Embedder by `embed`. `window` counts words and two special tokens."""

    def __init__(self, *, dim: int = 384, window: int = 256) -> None:
        self.dim = dim
        self.window = window

    @property
    def id(self) -> str:
        """Name what these vectors may be compared with."""
        return f"hashing-{_GRAM}-{self.dim}"

    def tokens_of(self, text: str) -> Sequence[int]:
        """Return a number for each word or sign, special ones included."""
        return [0, *(zlib.crc32(word.encode(errors="replace")) for word in _WORD.findall(text.lower())), 1]

    def encode(self, texts: Sequence[str]) -> Sequence[Embedded | TooLong]:
        """Return for each text its vector, or TooLong."""
        return self.encode_tokens([self.tokens_of(text) for text in texts])

    def encode_tokens(self, read: Sequence[Sequence[int]]) -> Sequence[Embedded | TooLong]:
        """Return for each row of tokens its vector, or TooLong."""
        return [self._vector(tokens) for tokens in read]

    async def embed(self, text: str) -> Embedded | TooLong:
        """Return the text's vector at once."""
        return self._vector(self.tokens_of(text))

    def _vector(self, tokens: Sequence[int]) -> Embedded | TooLong:
        if len(tokens) > self.window:
            return TooLong(tokens=len(tokens), window=self.window)
        counts = np.zeros(self.dim, np.float32)
        for size in range(1, _GRAM + 1):
            for at in range(len(tokens) - size + 1):
                place = zlib.crc32(repr(tokens[at : at + size]).encode())
                counts[place % self.dim] += 1.0 if place & (1 << 31) else -1.0
        # Two special tokens are in every text, so there is always something to count, if it does not cancel out.
        size_of = float(np.linalg.norm(counts))
        if size_of == 0:
            counts[0] = size_of = 1.0
        return Embedded(vector=counts / np.float32(size_of), tokens=len(tokens))
