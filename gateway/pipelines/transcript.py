"""Finds the turns of a transcript with their offsets in the caller's own text; changes no character of it."""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass

_TIME = r"[\[(]?\d[\d/.:,\-]*(?:[ \t,]+\d[\d/.:,\-]*)*(?:[ \t]?[AaPp]\.?[Mm]\.?)?[\])]?"
_NAME = r"[@\"“]?[^\W\d_][\w.'’\-]*(?:[ \t](?:[^\W\d_]|\d)[\w.'’\-]*){0,4}[\"”]?(?:[ \t]?\([\w ,.'’\-]{1,30}\))?"
_SAYS = re.compile(
    rf"[ \t]*(?:{_TIME}[ \t]*[-–—]?[ \t]*)?"
    rf"(?:<(?P<handle>[^<>\n]{{1,40}})>|\*{{0,2}}(?P<name>{_NAME})[ \t]*(?:{_TIME})?:\*{{0,2}}(?=\s|$))"
)
# What Discord puts above a message when it is copied: `Name — today at 10:01`.
_HEADLINE = re.compile(
    r"[ \t]*(?P<name>\S.{0,38}?)[ \t]*[—–-][ \t]*"
    r"(?:(?:today|yesterday)(?:[ \t]+at)?|\d{1,4}[/.\-]\d{1,2}[/.\-]\d{1,4},?)[ \t]+\d{1,2}[:.]\d{2}"
    r"(?:[ \t]?[AP]M)?[ \t]*\r?",
    re.IGNORECASE,
)
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_BLANK = re.compile(r"\s+")
# Words that open a sentence with a colon far more often than they name somebody.
_OPENERS = (
    "note look listen first second third finally however warning ps edit update source example remember fact http "
    "https question answer also but and so"
)
_NO_NAMES = frozenset(_OPENERS.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One speaker's turn: `text[start:end]` with its label; the words begin at `words_at`. Code points.

    Turns tile the text. `speaker` is empty where nobody is named.
    """

    start: int
    words_at: int
    end: int
    speaker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """The caller's own text and its turns."""

    text: str
    turns: tuple[Turn, ...]

    def speaker_at(self, offset: int) -> str:
        """Return who speaks at `offset`, an empty string where nobody is named."""
        after = bisect.bisect_right(self.turns, offset, key=lambda turn: turn.start)
        return self.turns[after - 1].speaker if after else ""


def parse_transcript(text: str) -> Transcript:
    """Find turns written `NAME: text`, `[12:34] Name: text`, `<name> text` or below a Discord-like headline.

    Whether a line begins a turn depends on that line alone, so that appended turns never change earlier ones.
    """
    starts: list[tuple[int, int, str]] = []
    for line in _LINE.finditer(text):
        label = _label(line.group())
        if label is not None:
            speaker, length = label
            starts.append((line.start(), line.start() + length, speaker))
    if text and (not starts or starts[0][0] > 0):
        starts.insert(0, (0, 0, ""))
    ends = [*(start for start, _, _ in starts[1:]), len(text)] if starts else []
    turns = tuple(
        Turn(start=start, words_at=words_at, end=end, speaker=speaker)
        for (start, words_at, speaker), end in zip(starts, ends, strict=True)
    )
    return Transcript(text=text, turns=turns)


def _label(line: str) -> tuple[str, int] | None:
    """Return (speaker, length of the label) of a line that begins a turn."""
    headline = _HEADLINE.fullmatch(line.rstrip("\n"))
    if headline:
        return headline.group("name").strip(), len(line)
    says = _SAYS.match(line)
    if not says:
        return None
    speaker = (says.group("handle") or says.group("name")).strip()
    return None if speaker.casefold() in _NO_NAMES else (speaker, says.end())


def squeezed(text: str) -> str:
    """Return `text` with every run of white space as one blank, none at the ends."""
    return _BLANK.sub(" ", text).strip()


def normalised(speaker: str, words: str) -> str:
    """Return a turn as cache keys see it: label case, timestamps and white space gone; never sent to a model.

    The tab cannot occur in either part, so two different turns never look alike.
    """
    return f"{squeezed(speaker).casefold()}\t{squeezed(words)}"
