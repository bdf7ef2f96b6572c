"""Cuts a transcript at turns into content-defined segments, so that a new turn changes one segment, not all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.pipelines.transcript import Transcript, Turn, normalised

_SENTENCE = re.compile(r".+?(?:[.!?…][\"'”’)\]]*\s+|\Z)", re.DOTALL)
_SPACE = re.compile(r"\s")
_HASH_RANGE = 1 << 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bounds of a segment in code points: min < target < max; the last segment may be below `min`."""

    min: int
    target: int
    max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """`text[start:end]` of the transcript. `key_text` is its normalised form, empty for nothing but white space.

    `continues` names the speaker whose turn began in an earlier segment, None at a turn's beginning.
    """

    start: int
    end: int
    key_text: str
    continues: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unit:
    start: int
    end: int
    speaker: str
    key_text: str
    is_turn_start: bool


def whole(transcript: Transcript) -> Segment:
    """Return the transcript as one segment."""
    units = [_turn_unit(transcript, turn) for turn in transcript.turns]
    return _segment(units) if units else Segment(start=0, end=0, key_text="", continues=None)


def cut(transcript: Transcript, sizes: Sizes) -> tuple[Segment, ...]:
    """Return segments that tile the text, none longer than `sizes.max`.

    A cut falls after a unit (a turn, or a sentence of a turn longer than `max`) whose hash is below its share of the
    wanted size, once `min` is reached: the chance does not depend on how long turns are, and decisions go from left
    to right, so an append changes the last segment only and an insertion heals at the next cut that both share.
    """
    segments: list[Segment] = []
    open_units: list[_Unit] = []
    size = 0
    for unit in _units(transcript, sizes.max):
        if open_units and unit.end - open_units[0].start > sizes.max:
            segments.append(_segment(open_units))
            open_units, size = [], 0
        open_units.append(unit)
        size += len(unit.key_text)
        if size >= sizes.min and _is_cut(unit, sizes):
            segments.append(_segment(open_units))
            open_units, size = [], 0
    if open_units:
        segments.append(_segment(open_units))
    return tuple(segments)


def _is_cut(unit: _Unit, sizes: Sizes) -> bool:
    digest = hashlib.blake2b(unit.key_text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    share = len(unit.key_text) / max(1, sizes.target - sizes.min)
    return int.from_bytes(digest, "big") < share * _HASH_RANGE


def _segment(units: list[_Unit]) -> Segment:
    first = units[0]
    has_words = any(unit.key_text.strip() for unit in units)
    key_text = "\n".join(unit.key_text for unit in units) if has_words else ""
    continues = None if first.is_turn_start else first.speaker
    return Segment(start=first.start, end=units[-1].end, key_text=key_text, continues=continues)


def _units(transcript: Transcript, longest: int) -> Iterator[_Unit]:
    for turn in transcript.turns:
        if turn.end - turn.start <= longest:
            yield _turn_unit(transcript, turn)
            continue
        for start, end in _pieces(transcript.text, turn, longest):
            is_turn_start = start == turn.start
            words = transcript.text[turn.words_at if is_turn_start else start : end]
            key_text = normalised(turn.speaker, words)
            yield _Unit(start=start, end=end, speaker=turn.speaker, key_text=key_text, is_turn_start=is_turn_start)


def _turn_unit(transcript: Transcript, turn: Turn) -> _Unit:
    words = transcript.text[turn.words_at : turn.end]
    key_text = normalised(turn.speaker, words) if turn.speaker or words.strip() else ""
    return _Unit(start=turn.start, end=turn.end, speaker=turn.speaker, key_text=key_text, is_turn_start=True)


def _pieces(text: str, turn: Turn, longest: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the sentences of a long turn; a sentence above `longest` is cut at white space or hard."""
    for found in _SENTENCE.finditer(text, turn.start, turn.end):
        start, end = found.span()
        while end - start > longest:
            blanks = [blank.end() for blank in _SPACE.finditer(text, start + longest // 2, start + longest)]
            middle = blanks[-1] if blanks else start + longest
            yield start, middle
            start = middle
        yield start, end
