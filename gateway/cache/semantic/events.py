"""What happens to a class, as events that every worker appends to one log and folds in the same order.

Values and their bytes only. Must not hold texts: questions are hashes, answers their ids.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Verdict = Literal["same", "different", "none"]
"""What a verifier says of two questions: one answer serves both, or not, or it said nothing that could be used."""


class Labelled(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A stored answer was compared with a fresh one.

    `question` is the asker's text hashed, `features` what the pair looked like, `log_odds` what it was given when it
    was decided (before this label: the bound depends on it). `different` is 0 (same) to 1, `cost_nanousd` what the
    label cost, 0 where the fresh answer was made anyway; `at_s` Unix seconds. `is_apart`: such a pair is not served
    whatever its log odds, so that it says nothing of those that are.
    """

    answer_id: str
    question: str
    features: tuple[float, ...]
    log_odds: float
    different: float
    was_hit: bool
    at_s: float
    cost_nanousd: int = 0
    is_apart: bool = False


class AskedTwice(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """One question was asked twice and the two answers compared as a stored and a fresh one are.

    `similarity` is the cosine of the two answers where they are free text, `stranger` that of one of them and the
    answer to an unrelated question: what the comparators' own cut is learned from.
    """

    different: float
    at_s: float
    cost_nanousd: int = 0
    similarity: float | None = None
    stranger: float | None = None


class Counted(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """How many requests a worker looked up since it last said so, and its hits by bin (cuts.bin_of)."""

    requests: int
    hits: tuple[int, ...]
    saved_nanousd: int
    at_s: float


class Reopened(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The class starts anew: its epoch, its guards, its embedder or its bounds changed, or an operator said so."""

    at_s: float


class Verified(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """A model was asked whether the answer serves the question too (hashed, as in Labelled)."""

    answer_id: str
    question: str
    verdict: Verdict
    at_s: float
    cost_nanousd: int = 0


Event = Labelled | AskedTwice | Counted | Reopened | Verified

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Event)


class EventUnreadable(Exception):
    """Bytes in the log that are none of ours, or of another version; whoever reads the log skips them."""


def encode_event(event: Event) -> bytes:
    """Return the event's bytes (MessagePack, about 200)."""
    return _ENCODER.encode(event)


def decode_event(data: bytes) -> Event:
    """Return the event of `encode_event`'s bytes. Raises EventUnreadable."""
    try:
        event: Event = _DECODER.decode(data)
    except msgspec.DecodeError as error:
        raise EventUnreadable(str(error)) from error
    return event
