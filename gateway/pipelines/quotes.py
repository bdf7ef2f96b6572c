"""Checks quotes against the caller's own text: what is not there is dropped, spans and speakers come from the text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.pipelines.transcript import Transcript, squeezed

_SINGLE = "'’‘‛`´ʼ′"
_DOUBLE = '"“”„‟«»″'
_MAX_PLACES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """An answer whose quotes all stand in the text, how many did not, and how many named another speaker."""

    result: Mapping[str, object]
    dropped_quotes: int
    corrected_speakers: int


def check_quotes(
    result: Mapping[str, object], *, fields: Sequence[str], transcript: Transcript, start: int, end: int
) -> Checked:
    """Check the `quote` of every item of the lists `fields` against `transcript.text[start:end]`.

    A kept item has `quote` = the text's own characters, `span` = {start, end} in code points of the whole text, and the
    `speaker` of the turn that the quote stands in. White space and the shape of quote marks may differ, nothing else.
    """
    checked = dict(result)
    dropped = corrected = 0
    for field in fields:
        kept: list[object] = []
        items = result.get(field)
        for item in items if isinstance(items, list) else ():
            placed = _placed(item, transcript, start, end) if isinstance(item, Mapping) else None
            if placed is None:
                dropped += 1
                continue
            kept.append(placed)
            corrected += not _same_speaker(placed.get("speaker"), item.get("speaker"))
        checked[field] = kept
    return Checked(result=checked, dropped_quotes=dropped, corrected_speakers=corrected)


def find_quote(text: str, quote: str, *, start: int, end: int) -> list[tuple[int, int]]:
    """Return the spans of `quote` within `text[start:end]`, at most 64; whole words only."""
    spans = _find(text, quote.strip(), start, end)
    bare = quote.strip().strip(_SINGLE + _DOUBLE + " ")
    # Models like to put the quote in quote marks.
    return spans or (_find(text, bare, start, end) if bare != quote.strip() else [])


def _find(text: str, quote: str, start: int, end: int) -> list[tuple[int, int]]:
    words = quote.split()
    if not words or sum(map(len, words)) > end - start:
        return []
    pattern = r"\s+".join("".join(map(_character, word)) for word in words)
    before = r"(?<!\w)" if words[0][0].isalnum() else ""
    after = r"(?!\w)" if words[-1][-1].isalnum() else ""
    spans: list[tuple[int, int]] = []
    for found in re.compile(before + pattern + after).finditer(text, start, end):
        spans.append(found.span())
        if len(spans) == _MAX_PLACES:
            break
    return spans


def _character(character: str) -> str:
    for marks in (_SINGLE, _DOUBLE):
        if character in marks:
            return f"[{re.escape(marks)}]"
    return re.escape(character)


def _placed(item: Mapping[object, object], transcript: Transcript, start: int, end: int) -> dict[str, object] | None:
    quote, claimed = item.get("quote"), item.get("speaker")
    spans = find_quote(transcript.text, quote, start=start, end=end) if isinstance(quote, str) else []
    if not spans:
        return None
    speakers = [transcript.speaker_at(first) for first, _ in spans]
    # Of several places, the one where the named speaker talks.
    at = next((at for at, speaker in enumerate(speakers) if _same_speaker(speaker, claimed)), 0)
    first, last = spans[at]
    placed = {str(key): value for key, value in item.items()}
    placed |= {"quote": transcript.text[first:last], "span": {"start": first, "end": last}}
    if speakers[at]:
        placed["speaker"] = speakers[at]
    return placed


def _same_speaker(one: object, other: object) -> bool:
    if not isinstance(one, str) or not isinstance(other, str):
        return one is other
    return squeezed(one).casefold() == squeezed(other).casefold()
