"""What the warmer's results are to a client that announced something: a result of its item, and one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.announced.records import ItemResult
from warmer.results import Result

_RESULTS: Final[Mapping[Result, ItemResult]] = {
    "warmed": "answer",
    "not_kept": "error",
    "not_asked": "error",
    "no_room": "too_late",  # where it is still so when it is wanted: before, it is tried again
    "fresh": "fresh",
    "unknown": "not_allowed",
    "not_worth": "not_worth",
    "held_out": "held_out",
    "stopped": "stopped",
    "crowded_out": "crowded_out",
    "no_budget": "over_budget",
    "off": "off",
}
_WORDS: Final[Mapping[Result | ItemResult, str]] = {
    "not_kept": "it was asked and paid, but its answer was not good enough to be kept",
    "not_asked": "nobody was asked: somebody asks the same now, or its provider fails",
    "no_room": "users had the places of its provider until it was wanted",
    "fresh": "the cache has the answer already",
    "unknown": "it cannot be priced: its model has no known price, or what it may cost has no bound",
    "not_worth": "it costs as much now as when it is asked, or too little of what is announced is asked; a policy that"
    " gives a saved wait a value (warming.wait_value_usd) warms it all the same",
    "held_out": "it is one of the share that is never warmed, to measure what warming is good for (warming.holdout)",
    "stopped": "too few of what was announced was asked afterwards; announcements are tried again after a while",
    "crowded_out": "what the cache has instead is asked more often",
    "no_budget": "it may cost up to {most:.6f} USD, which is more than is left of the policy's warming budget: of"
    " limit_usd_day, and of max_share_of_spend of what the tenant's own requests cost in the last 24 hours",
    "off": "warming was switched off meanwhile",
    "error": "the warmer that had it ended meanwhile; what it had begun is not asked again",
    "too_late": "the warmer did not come to it before it was wanted",
}


def result_of(result: Result) -> ItemResult:
    """Return the item's result."""
    return _RESULTS[result]


def words_of(result: Result | ItemResult, *, most_nanousd: int = 0) -> str:
    """Return why, in one sentence; "" where nothing needs to be said. `most_nanousd` is what it may cost."""
    return _WORDS.get(result, "").format(most=most_nanousd * 1e-9)
