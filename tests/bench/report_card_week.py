"""The part of the composed bot week that `make report-card` replays: its requests, and the posts that a bot announces.

Reads the data beside the project; must not change what it says, nor know the gateway.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import random
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal

import msgspec
from rich.console import Console

from tests.bench.cache_data import DATA, SECTIONS

WEEK = DATA / "botweek/botweek.jsonl.gz"
TRACE = DATA / "traces/AzureLLMInferenceTrace_conv.csv"
NEEDED = (WEEK, SECTIONS, TRACE)
Kind = Literal["pipeline", "ask", "chat"]
MODEL = "gpt-5"
"""What the bot asks for, always: where a cheaper model answers, a policy has said so."""
BOT = "You are the bot of a debating club. Answer briefly and to the point."
ANNOUNCED = 0.35
"""Share of the first posts of a transcript that the bot sees coming: a link is posted before it is asked about.

More than the warmer's four at once can make in time would only show the compression (see report_card_about.py)."""
IDLE_ANNOUNCED = 0.3
"""Share of all announcements whose transcript nobody asks about after all."""


class _Line(msgspec.Struct, frozen=True):
    t_s: float
    kind: Kind
    note: str
    transcript: tuple[str, ...] = ()
    text: str = ""
    class_id: int = -1


class _Section(msgspec.Struct, frozen=True):
    id: str
    text: str


class Interaction(msgspec.Struct, frozen=True, kw_only=True):
    """What one user asked, `at_s` of the week; equal requests share `identity`."""

    at_s: float
    kind: Kind
    note: str
    identity: str
    question: str = ""
    transcript: str = ""
    class_id: int = -1

    def body(self, *, steps: Sequence[str] | None = None) -> dict[str, object]:
        """Return what the bot sends; `steps` of the pipeline, all of them unless named."""
        if self.kind == "pipeline":
            return {"transcript": self.transcript, "model": MODEL, **({"steps": list(steps)} if steps else {})}
        asked = f"Transcript:\n{self.transcript}\n\nQuestion: {self.question}" if self.transcript else self.question
        messages = [{"role": "system", "content": BOT}, {"role": "user", "content": asked}]
        return {"model": MODEL, "messages": messages, "temperature": 0}


class Week(msgspec.Struct, frozen=True, kw_only=True):
    """What is played: history, what is measured, and what the tries of a rate take; in order, without a gap."""

    before: tuple[Interaction, ...]
    measured: tuple[Interaction, ...]
    after: tuple[Interaction, ...]


class Announced(msgspec.Struct, frozen=True, kw_only=True):
    """A transcript that the bot says will be wanted at `at_s`; `is_wanted`: it will, though the bot cannot know."""

    at_s: float
    transcript: str
    is_wanted: bool


def is_skipped(console: Console) -> bool:
    """Return whether nothing can be played, and say which files are not there."""
    absent = [str(path) for path in NEEDED if not path.exists()]
    if absent:
        console.print(f"skipped: the data beside the project is needed (FOREWORD_DATA): {', '.join(absent)}")
    return bool(absent)


@cache
def sections() -> Mapping[str, tuple[str, ...]]:
    """Return the words of every section of the debates, by its id."""
    decoder = msgspec.json.Decoder(_Section)
    with gzip.open(SECTIONS, "rb") as lines:
        found = [decoder.decode(line) for line in lines]
    return {section.id: (section.text, *section.text.split()) for section in found}


def text_of(piece: str) -> str:
    """Return the text of a section id, or of `id#a-b`: its words a to b - 1."""
    name, _, span = piece.partition("#")
    whole, *words = sections()[name]
    if not span:
        return whole
    first, _, end = span.partition("-")
    return " ".join(words[int(first) : int(end)])


@cache
def _lines() -> tuple[_Line, ...]:
    decoder = msgspec.json.Decoder(_Line)
    with gzip.open(WEEK, "rb") as lines:
        return tuple(decoder.decode(line) for line in lines)


def classes() -> Mapping[str, int]:
    """Return the class id of every question of the week that has one: what the simulated provider answers by."""
    return {line.text: line.class_id for line in _lines() if line.class_id >= 0}


@cache
def answer_lengths() -> tuple[int, ...]:
    """Return the output tokens of real chat answers: a production trace's."""
    with TRACE.open(newline="") as file:
        return tuple(int(row["GeneratedTokens"]) for row in csv.DictReader(file))


def slice_of(begin_s: float, end_s: float) -> tuple[Interaction, ...]:
    """Return the requests of the week from `begin_s` until before `end_s`, in order."""
    return tuple(_interaction(line) for line in _lines() if begin_s <= line.t_s < end_s)


def _interaction(line: _Line) -> Interaction:
    marks = "\n".join((line.kind, *line.transcript, "", line.text))
    return Interaction(
        at_s=line.t_s,
        kind=line.kind,
        note=line.note,
        identity=hashlib.sha256(marks.encode()).hexdigest()[:16],
        question=line.text,
        transcript="\n\n".join(map(text_of, line.transcript)),
        class_id=line.class_id,
    )


def announcements(week: Sequence[Interaction], *, before: Sequence[Interaction], seed: int) -> tuple[Announced, ...]:
    """Return what the bot announces in `week`: of first posts a share, and transcripts that nobody will ask about."""
    rng = random.Random(seed)
    posted = {one.identity for one in before}
    found: list[Announced] = []
    for one in week:
        is_first = one.kind == "pipeline" and one.identity not in posted
        posted.add(one.identity)
        if is_first and rng.random() < ANNOUNCED:
            found.append(Announced(at_s=one.at_s, transcript=one.transcript, is_wanted=True))
    idle = round(len(found) * IDLE_ANNOUNCED / (1 - IDLE_ANNOUNCED))
    names = sorted(name for name, (_, *words) in sections().items() if len(words) >= 1000)
    for _ in range(idle):
        name, size, first = rng.choice(names), rng.randint(200, 900), rng.randint(0, 100)
        piece = f"{name}#{first}-{first + size}"
        at_s = rng.uniform(week[0].at_s, week[-1].at_s)
        found.append(Announced(at_s=at_s, transcript=text_of(piece), is_wanted=False))
    return tuple(sorted(found, key=lambda one: one.at_s))
