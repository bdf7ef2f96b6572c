"""The exact tier's key: SHA-256 of the canonical effective request and of everything that partitions it.

Two requests share a key only if one answer is right for both; see cache.md tiers 2 and 3.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Final

import orjson

from policies.model import CacheRules, RouteClass

FORMAT: Final = b"foreword/1\0"
"""Bumped whenever the canonical form or the stored entry changes, so that old entries are never read."""

# How the answer travels, is billed or is labelled: none of it changes what is said.
_IGNORED: Final = frozenset(
    {
        "stream",
        "stream_options",
        "user",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "store",
        "service_tier",
        "safety_identifier",
        "cache",
    }
)
_DEFAULTS: Final[Mapping[str, object]] = {
    "n": 1,
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {},
    "logprobs": False,
    "tools": [],
    "stop": [],
    "encoding_format": "float",
}

# ISO dates, English dates, and times of day to the second.
_CLOCK: Final = re.compile(
    r"\b\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?\b"
    r"|\b\d{1,2}:\d{2}(?::\d{2})?(?:\s?[AaPp]\.?[Mm]\.?)?\b"
    r"|\b(?:(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day,?\s+)?(?:January|February|March|April|May|June|July|August"
    r"|September|October|November|December)\s+\d{1,2}(?:st|nd|rd|th)?(?:,?\s+\d{4})?\b"
)
_DIGIT: Final = re.compile(r"\d")
"""No date and no time of day is without one; looking for it is ten times cheaper."""
_MENTION: Final = re.compile(r"\A(?:<@!?\d+>:?\s*)+")


def exact_key(
    document: Mapping[str, object], route_class: RouteClass, *, namespace: str, identity: bytes | None, arm: str = ""
) -> str:
    """Return the hexadecimal key. `identity` replaces the body as what is asked (segments, cache.md tier 3).

    `arm` names a version that is being rolled out: its answers never enter the cache of the version in force.
    """
    facts, route = route_class.facts, route_class.route
    named: list[object] = [
        facts.tenant,
        facts.dialect,
        facts.requested_model,
        route_class.policy,
        route.name,
        route.epoch,
        namespace,
        document.get("user") if route.cache.partition_by_user else None,
    ]
    if arm:
        named.append(arm)
    partition = orjson.dumps(named)
    digest = hashlib.sha256(FORMAT)
    digest.update(partition)
    digest.update(b"\0segment\0" + identity if identity is not None else canonical(effective(document, route.cache)))
    return digest.hexdigest()


def effective(document: Mapping[str, object], rules: CacheRules) -> dict[str, object]:
    """Return what of a request changes its answer: defaults and transport left out, volatile parts normalised."""
    kept = {
        name: _plain_number(value)
        for name, value in document.items()
        if value is not None and name not in _IGNORED and not (name in _DEFAULTS and value == _DEFAULTS[name])
    }
    if rules.normalise:
        kept["messages"] = [
            normalised(message, rules) if isinstance(message, dict) else message for message in _messages(kept)
        ]
    return kept


def normalised(message: Mapping[str, object], rules: CacheRules) -> Mapping[str, object]:
    """Return a message without the volatile parts that the route names."""
    for name in rules.normalise:
        message = _NORMALISERS[name](message)
    return message


def canonical(kept: Mapping[str, object]) -> bytes:
    """Return the one JSON of what `effective` kept: sorted keys, no white space."""
    return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)


def is_storable(document: Mapping[str, object], rules: CacheRules) -> bool:
    """Say whether answers to this request may be kept: the route stores, and the sampling asked for is narrow enough.

    A request that names no temperature is stored: its caller asked for no variety.
    """
    if rules.exact_ttl_s <= 0:
        return False
    temperature = document.get("temperature")
    if rules.max_temperature is None or not isinstance(temperature, (int, float)):
        return True
    return temperature <= rules.max_temperature


def _plain_number(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _messages(document: Mapping[str, object]) -> list[object]:
    messages = document.get("messages")
    return messages if isinstance(messages, list) else []


def _without_clock(message: Mapping[str, object]) -> Mapping[str, object]:
    if message.get("role") not in ("system", "developer"):
        return message
    return _with_text(message, _without_times)


def _without_mention(message: Mapping[str, object]) -> Mapping[str, object]:
    if message.get("role") != "user":
        return message
    return _with_text(message, _without_first_mentions)


def _without_times(text: str) -> str:
    return _CLOCK.sub("\0time", text) if _DIGIT.search(text) else text


def _without_first_mentions(text: str) -> str:
    return _MENTION.sub("", text) if text.startswith("<@") else text


def _with_text(message: Mapping[str, object], change: Callable[[str], str]) -> Mapping[str, object]:
    content = message.get("content")
    if isinstance(content, str):
        changed = change(content)
        return message if changed is content else {**message, "content": changed}
    if isinstance(content, list):
        parts = [
            {**part, "text": change(part["text"])}
            if isinstance(part, dict) and isinstance(part.get("text"), str)
            else part
            for part in content
        ]
        return {**message, "content": parts}
    return message


_NORMALISERS: Final[Mapping[str, Callable[[Mapping[str, object]], Mapping[str, object]]]] = {
    "clock_in_system": _without_clock,
    "user_mention_prefix": _without_mention,
}
"""One row per name that policies allow in `cache.normalise` (policies/README.md)."""
