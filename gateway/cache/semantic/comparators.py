"""Is a fresh answer the same as the stored one? The cheapest comparator that can tell, and whether it can.

Pure but for the judge, which is the caller's. Must not embed, ask a model itself, or know which of the two is right.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import orjson

from gateway.cache.semantic.free_text import Band
from gateway.cache.semantic.guards import failed, features_of

By = Literal["json", "number", "short_text", "free_text", "judge"]
Judge = Callable[[str, str, str], Awaitable[bool | None]]
"""Asks a small model whether two answers to a question say the same (question, stored, fresh); None: it cannot tell."""

_SHORT_WORDS: Final = 12
_OVERLAP: Final = 0.5
_CLOSE: Final = 1e-6
_KIND: Final = ("class", "type", "label")
_ANSWER_GUARDS: Final = frozenset(("numbers", "polarity"))
_NUMBER: Final = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE)
_FENCE: Final = re.compile(r"\A\s*```[a-z]*\s*\n(.*)\n\s*```\s*\Z", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Same:
    """The two answers say the same."""

    by: By


@dataclass(frozen=True, slots=True, kw_only=True)
class Different:
    """The two answers do not say the same."""

    by: By


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsure:
    """Neither: `different` is how likely they differ, for a label of that weight, or for a judge."""

    different: float


Verdict = Same | Different | Unsure


def compare(stored: str, fresh: str, *, band: Band, similarity: float | None = None) -> Verdict:
    """Compare two answers. `similarity` is the cosine of their embeddings, None where nobody has it.

    JSON by value (lists of labelled passages by label and overlap), single numbers by value, short texts by their
    words, all else by cosine within `band`, unless numbers or polarity differ.
    """
    ours, theirs = _parsed(stored), _parsed(fresh)
    if ours is not None or theirs is not None:
        return Same(by="json") if is_same_value(ours, theirs) else Different(by="json")
    numbers = _only_number(stored), _only_number(fresh)
    if numbers[0] is not None and numbers[1] is not None:
        is_same = _is_same_number(numbers[0][0], numbers[1][0]) and numbers[0][1] == numbers[1][1]
        return Same(by="number") if is_same else Different(by="number")
    words = _words(stored), _words(fresh)
    if words[0] == words[1]:
        return Same(by="short_text")
    if max(map(len, words)) <= _SHORT_WORDS and similarity is None:
        return Different(by="short_text")
    return _by_cosine(stored, fresh, band=band, similarity=similarity)


def label(verdict: Verdict) -> float:
    """Return how different the answers were found, 0 to 1: what a label says."""
    match verdict:
        case Same():
            return 0.0
        case Different():
            return 1.0
        case Unsure():
            return verdict.different


async def judged(verdict: Verdict, judge: Judge | None, *, question: str, stored: str, fresh: str) -> Verdict:
    """Return the verdict, of a judge where it was none and there is a judge. Raises what the judge raises."""
    if judge is None or not isinstance(verdict, Unsure):
        return verdict
    is_same = await judge(question, stored, fresh)
    if is_same is None:
        return verdict
    return Same(by="judge") if is_same else Different(by="judge")


def is_same_value(ours: object, theirs: object) -> bool:
    """Whether two JSON values say the same: order of members and of lists aside, labelled passages by overlap."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return ours.keys() == theirs.keys() and all(is_same_value(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and _are_matched(ours, theirs)
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return ours is theirs
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        return _is_same_number(float(ours), float(theirs))
    if isinstance(ours, str) and isinstance(theirs, str):
        return _words(ours) == _words(theirs)
    return ours is None and theirs is None


def _are_matched(ours: Sequence[object], theirs: Sequence[object]) -> bool:
    """Whether each item has a partner of its own, first come first served."""
    left = list(theirs)
    for item in ours:
        at = next((at for at, other in enumerate(left) if _is_same_item(item, other)), None)
        if at is None:
            return False
        del left[at]
    return True


def _is_same_item(item: object, other: object) -> bool:
    kind, other_kind = _kind(item), _kind(other)
    if kind is not None and other_kind is not None:
        overlap = _overlap(item, other)
        if overlap is not None:
            return kind == other_kind and overlap >= _OVERLAP
    return is_same_value(item, other)


def _kind(item: object) -> str | None:
    if not isinstance(item, Mapping):
        return None
    return next((str(item[key]) for key in _KIND if key in item), None)


def _overlap(item: object, other: object) -> float | None:
    """Return shared length by joint length (Jaccard) of two spans, of two quotes' words where there are no spans."""
    if not isinstance(item, Mapping) or not isinstance(other, Mapping):
        return None
    ours, theirs = _span(item.get("span")), _span(other.get("span"))
    if ours is not None and theirs is not None:
        shared = max(0.0, min(ours[1], theirs[1]) - max(ours[0], theirs[0]))
        joint = max(ours[1], theirs[1]) - min(ours[0], theirs[0])
        return shared / joint if joint > 0 else 1.0
    quotes = item.get("quote"), other.get("quote")
    if isinstance(quotes[0], str) and isinstance(quotes[1], str):
        one, two = set(_words(quotes[0])), set(_words(quotes[1]))
        return len(one & two) / len(one | two) if one | two else 1.0
    return None


def _span(value: object) -> tuple[float, float] | None:
    if isinstance(value, Mapping):
        value = [value.get("start"), value.get("end")]
    match value:
        case [int() | float() as start, int() | float() as end]:
            return float(start), float(end)
        case _:
            return None


def _by_cosine(stored: str, fresh: str, *, band: Band, similarity: float | None) -> Verdict:
    if similarity is None:
        return Unsure(different=0.5)
    if not _ANSWER_GUARDS.isdisjoint(failed(features_of(fresh), features_of(stored))):
        # Numbers that differ in long texts may be asides; in near ones they are the point.
        return Different(by="free_text") if similarity < band.same else Unsure(different=0.5)
    if similarity >= band.same:
        return Same(by="free_text")
    if similarity < band.different:
        return Different(by="free_text")
    return Unsure(different=(band.same - similarity) / (band.same - band.different))


def _parsed(text: str) -> object | None:
    """Return the JSON object or list that the text is, fenced or not; None where it is none."""
    fenced = _FENCE.match(text)
    plain = (fenced[1] if fenced else text).strip()
    if not plain.startswith(("{", "[")):
        return None
    try:
        value: object = orjson.loads(plain)
    except ValueError:
        return None
    return value


def _only_number(text: str) -> tuple[float, tuple[str, ...]] | None:
    """Return the number of a text of at most three words and its other words (the unit); None where it is no such."""
    found = _NUMBER.findall(text)
    if len(found) != 1 or len(text.split()) > 3:
        return None
    return float(found[0].replace(",", "")), tuple(_words(text.replace(found[0], " ", 1)))


def _is_same_number(one: float, other: float) -> bool:
    return abs(one - other) <= _CLOSE * max(1.0, abs(one), abs(other))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
