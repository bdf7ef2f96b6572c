"""Trap pairs: real questions with one edit that changes the answer, so that any hit between the two is wrong.

The places and names here are the generator's own; the guards know none of them. Prints nothing, reads no file.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["number", "unit", "date", "version", "place", "name", "role", "negation", "opposite"]

_PLACES: Final = (
    *("France", "Brazil", "Kenya", "Turkey", "Chad", "Vietnam", "Iran", "Iraq", "Austria", "Australia", "Niger"),
    *("Nigeria", "New Delhi", "New York", "Lyon", "Osaka", "Texas", "Ohio", "Jordan", "Georgia", "South Korea"),
    *("North Korea", "Kent", "Cork", "India", "China", "Canada", "London", "Mumbai", "Bangalore"),
)
_NAMES: Final = (
    *("Tolstoy", "Darwin", "Marie Curie", "Mark", "Bill", "Rose", "Lenovo", "Canon", "Nikon", "Toyota", "Ford"),
    *("Google", "Facebook", "Trump", "Clinton", "Modi", "Obama", "Python", "Java", "Will Smith", "Adele", "Bach"),
)
_MONTHS: Final = ("January", "February", "March", "April", "May", "June", "July", "August", "October", "December")
_UNITS: Final = (
    ("km", "miles"),
    ("kg", "pounds"),
    ("minutes", "hours"),
    ("days", "weeks"),
    ("dollars", "euros"),
    ("GB", "MB"),
)
_OPPOSITES: Final = (
    ("before", "after"),
    ("with", "without"),
    ("increase", "decrease"),
    ("buy", "sell"),
    ("best", "worst"),
)
_NUMBER: Final = re.compile(r"(?<![\w.,])\d+(?:\.\d+)?(?![\w.,]*\d)")
_NEGATABLE: Final = re.compile(r"^(Why|When|Where) (do|does|did|is|are|was|were|should|would|could) ", re.IGNORECASE)
_HOW: Final = re.compile(r"^(How (?:do|can|should|could) (?:I|you|we|one)) ", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """Two questions that embed alike and must never share an answer."""

    original: str
    edited: str
    kind: Kind


Edit = Callable[[str, random.Random], tuple[str, str] | None]


def traps(questions: Iterable[str], *, seed: int = 0) -> Iterator[Trap]:
    """Yield, for each question, one pair of every kind that it allows; the same seed yields the same pairs."""
    draw = random.Random(seed)
    for question in questions:
        for kind, edit in EDITS.items():
            pair = edit(question, draw)
            if pair is not None and pair[0] != pair[1]:
                yield Trap(original=pair[0], edited=pair[1], kind=kind)


def _number(question: str, draw: random.Random) -> tuple[str, str] | None:
    found = _NUMBER.search(question)
    if found is None:
        one = draw.randint(2, 40)
        return _planted(question, f"in {one} steps", f"in {one + draw.randint(1, 9)} steps")
    other = str(int(float(found[0])) + draw.randint(1, 9))
    return question, question[: found.start()] + other + question[found.end() :]


def _unit(question: str, draw: random.Random) -> tuple[str, str]:
    one, other = draw.choice(_UNITS)
    size = draw.randint(2, 90)
    return _planted(question, f"for {size} {one}", f"for {size} {other}")


def _date(question: str, draw: random.Random) -> tuple[str, str]:
    one, other = draw.sample(_MONTHS, 2)
    year, day = draw.randint(1960, 2024), draw.randint(1, 28)
    return draw.choice(
        (
            _planted(question, f"in {one} {year}", f"in {other} {year}"),
            _planted(question, f"in {one}", f"in {other}"),
            _planted(question, f"in {year}", f"in {year + 1}"),
            _planted(question, f"on {year}-02-{day:02}", f"on {year}-03-{day:02}"),
            _planted(question, f"on {one} {day}", f"on {one} {day + 1}"),
        )
    )


def _version(question: str, draw: random.Random) -> tuple[str, str]:
    major = draw.randint(2, 15)
    return draw.choice(
        (
            _planted(question, f"with version {major}.1", f"with version {major}.10"),
            _planted(question, f"on iOS {major}", f"on iOS {major + 1}"),
            _planted(question, "on a PS4", "on a PS5"),
            _planted(question, "with GPT-3.5", "with GPT-4"),
        )
    )


def _place(question: str, draw: random.Random) -> tuple[str, str]:
    return _replaced(question, _PLACES, draw) or _planted(question, *(f"in {p}" for p in draw.sample(_PLACES, 2)))


def _name(question: str, draw: random.Random) -> tuple[str, str]:
    return _replaced(question, _NAMES, draw) or _planted(
        question, *(f"according to {name}" for name in draw.sample(_NAMES, 2))
    )


def _role(question: str, draw: random.Random) -> tuple[str, str]:
    one, other = draw.sample(_PLACES + _NAMES, 2)
    form = draw.choice(("when {} beats {}", "going from {} to {}", "if {} is better than {}", "now that {} sued {}"))
    return _planted(question, form.format(one, other), form.format(other, one))


def _negation(question: str, draw: random.Random) -> tuple[str, str] | None:
    del draw
    if _NEGATABLE.match(question):
        return question, _NEGATABLE.sub(r"\1 \2n't ", question, count=1)
    if _HOW.match(question):
        return question, _HOW.sub(r"\1 not ", question, count=1)
    return None


def _opposite(question: str, draw: random.Random) -> tuple[str, str] | None:
    for pair in draw.sample(_OPPOSITES, len(_OPPOSITES)):
        one, other = draw.sample(pair, 2)
        if re.search(rf"\b{one}\b", question) and not re.search(rf"\b{other}\b", question):
            return question, re.sub(rf"\b{one}\b", other, question)
    return None


def _planted(question: str, one: str, other: str) -> tuple[str, str]:
    stem = question.rstrip().rstrip("?.! ")
    return f"{stem} {one}?", f"{stem} {other}?"


def _replaced(question: str, names: tuple[str, ...], draw: random.Random) -> tuple[str, str] | None:
    for name in names:
        if re.search(rf"\b{name}\b", question):
            others = [other for other in names if other not in question and name not in other]
            return question, re.sub(rf"\b{name}\b", draw.choice(others), question)
    return None


EDITS: Final[Mapping[Kind, Edit]] = {
    "number": _number,
    "unit": _unit,
    "date": _date,
    "version": _version,
    "place": _place,
    "name": _name,
    "role": _role,
    "negation": _negation,
    "opposite": _opposite,
}
"""One row per kind; an edit returns None where the question gives no hold for it."""
