"""Numbers, units, dates, versions, ordinals and number words: both questions must hold exactly the same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from gateway.cache.semantic.guards.listing import groups, heads, listed

_SMALL: Final = {
    word: value
    for value, word in enumerate(
        listed(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
            " seventeen eighteen nineteen"
        )
    )
}
_TENS: Final = {
    word: 10 * (at + 2) for at, word in enumerate(listed("twenty thirty forty fifty sixty seventy eighty ninety"))
}
_SCALES: Final[Mapping[str, int]] = {
    "hundred": 100,
    "thousand": 1000,
    "k": 1000,
    "lakh": 100_000,
    "lac": 100_000,
    "million": 1_000_000,
    "crore": 10_000_000,
    "billion": 1_000_000_000,
    "bn": 1_000_000_000,
    "trillion": 1_000_000_000_000,
}
_ORDINALS: Final = {
    word: str(value + 1)
    for value, word in enumerate(
        listed("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth")
    )
}
_SUFFIXES: Final = frozenset(("st", "nd", "rd", "th"))
_ROMAN: Final = {
    "ii": "2",
    "iii": "3",
    "iv": "4",
    "vi": "6",
    "vii": "7",
    "viii": "8",
    "ix": "9",
    "xi": "11",
    "xii": "12",
}
_MULTIPLES: Final = frozenset(
    listed("half quarter double triple twice thrice dozen dozens hundreds thousands millions billions once single")
)
_MONTHS: Final = {
    name: f"month:{at + 1}"
    for at, names in enumerate(
        groups(
            "january jan;february feb;march;april apr;may;june jun;july jul;august aug;september sept sep;october oct;"
            "november nov;december dec"
        )
    )
    for name in names
}
_MONTHS_AND_WORDS: Final = frozenset(("may", "march"))
_BEFORE_A_MONTH: Final = frozenset(listed("in of since by until till last next this from during early mid late"))
_WEEKDAYS: Final = frozenset(listed("monday tuesday wednesday thursday friday saturday sunday"))
_UNITS: Final = heads(
    "km kilometer kilometre kms;mile mi;m meter metre;cm centimeter centimetre;mm millimeter millimetre;foot feet ft;"
    "inch in;yard yd;kg kilogram kilo kgs;g gram gm;mg milligram;lb pound lbs;ounce oz;ton tonne;liter litre l;ml;"
    "gallon;kmph kph;mph;second sec s;minute min mins;hour hr hrs;day;week;month;year yr yrs;decade;century;"
    "gb gigabyte;mb megabyte;tb terabyte;kb;mbps;gbps;hz hertz;ghz;mhz;w watt;kw;kwh;v volt;amp;degree;celsius c;"
    "fahrenheit f;kelvin;percent % pct percentage;dollar $ usd buck;euro eur €;gbp £;"
    "rupee rs inr ₹;yen ¥;calorie cal;kcal;bit;"
    "byte;times time;word;page;people;mp megapixel;hp;cc;am;pm;bhk;acre;bc;ad"
)
_CURRENCY: Final = {"$": "dollar", "usd": "dollar", "€": "euro", "£": "gbp", "₹": "rupee", "rs": "rupee", "¥": "yen"}

_FIRST: Final = frozenset(
    (*_SMALL, *_TENS, *_SCALES, *_ORDINALS, *_MULTIPLES, *_WEEKDAYS, *_ROMAN, *_MONTHS, *_CURRENCY)
)
"""No number begins with another word, unless that ends in a digit."""

Read = tuple[tuple[str, ...], tuple[str, ...]]
"""The numbers in order, and the words with each number and its unit drawn together into one of them (`#5 km`)."""


def read(words: Sequence[str]) -> Read:
    """Find the numbers among `words`."""
    numbers: list[str] = []
    rest: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        if word not in _FIRST and not word[-1].isdecimal():
            rest.append(word)
            at += 1
            continue
        found, taken = _number_at(words, at)
        if found:
            numbers.append(found)
            rest.append("#" + found)
        else:
            rest.append(word)
        at += taken
    return tuple(numbers), tuple(rest)


def same(asked: tuple[str, ...], stored: tuple[str, ...]) -> bool:
    """Whether both hold the same multiset of numbers with their units."""
    if asked == stored:
        return True
    return len(asked) == len(stored) > 1 and sorted(asked) == sorted(stored)


def _number_at(words: Sequence[str], at: int) -> tuple[str, int]:
    """Return the canonical number that starts here ('' for none) and how many words it takes."""
    word = words[at]
    if word in _CURRENCY and at + 1 < len(words) and words[at + 1][-1].isdecimal():
        value, taken = _value_at(words, at + 1)
        return f"{value} {_CURRENCY[word]}", taken + 1
    value, taken = _value_at(words, at)
    if not value:
        return _named(words, at), 1
    return _with_unit(value, words, at, taken)


def _with_unit(value: str, words: Sequence[str], at: int, taken: int) -> tuple[str, int]:
    after = words[at + taken] if at + taken < len(words) else ""
    if after in _SUFFIXES:
        return f"{value}.", taken + 1
    # "5 in India" is no length, "in" a unit only in the singular of its abbreviation at the end.
    if after == "in" and at + taken + 1 < len(words):
        return value, taken
    unit = _UNITS.get(after) or (_UNITS.get(after[:-1]) if len(after) > 3 and after.endswith("s") else None)
    return (f"{value} {unit}", taken + 1) if unit else (value, taken)


def _named(words: Sequence[str], at: int) -> str:
    word = words[at]
    if word in _ORDINALS:
        return f"{_ORDINALS[word]}."
    if word in _MULTIPLES or word in _WEEKDAYS:
        return word
    if word in _ROMAN:
        return _ROMAN[word]
    if word in _MONTHS and (word not in _MONTHS_AND_WORDS or _is_beside_a_date(words, at)):
        return _MONTHS[word]
    return ""


def _is_beside_a_date(words: Sequence[str], at: int) -> bool:
    before = words[at - 1] if at else ""
    after = words[at + 1] if at + 1 < len(words) else ""
    return before in _BEFORE_A_MONTH or before[-1:].isdecimal() or before in _SUFFIXES or after[:1].isdecimal()


def _value_at(words: Sequence[str], at: int) -> tuple[str, int]:
    word = words[at]
    if word[-1].isdecimal():
        return _scaled(word, words, at)
    total, group, taken = 0, 0, 0
    while at + taken < len(words):
        word = words[at + taken]
        if word in _SMALL or word in _TENS:
            group += _SMALL.get(word, 0) + _TENS.get(word, 0)
        elif taken and word in _SCALES and word != "k":
            group = max(group, 1) * _SCALES[word]
            if _SCALES[word] > 100:
                total, group = total + group, 0
        else:
            break
        taken += 1
    # "one" alone is mostly a pronoun; "two" in its place is a number that the other question lacks.
    if not taken or (taken == 1 and words[at] == "one"):
        return _lone_scale(words[at]), 1
    return str(total + group), taken


def _lone_scale(word: str) -> str:
    return str(_SCALES[word]) if len(word) > 3 and word in _SCALES else ""


def _scaled(word: str, words: Sequence[str], at: int) -> tuple[str, int]:
    after = words[at + 1] if at + 1 < len(words) else ""
    scale = _SCALES.get(after)
    whole, _, part = word.partition(".")
    if scale is None or "." in part or ":" in word or "," in word or not whole.lstrip("-").isascii():
        return word, 1
    digits = len(part)
    return f"{int(whole + part) * scale / 10**digits:.10g}", 2
