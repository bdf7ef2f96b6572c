"""The most tokens that a request can take, before anybody is asked. Pure; what they cost is policies/bounds.py's.

True upper bounds: a token has at least one byte. What has none (a server-side tool, a file by its id) has None.
"""

from __future__ import annotations

from typing import Final

from policies.bounds import Size, size_with
from router.types import ChatRequest

IMAGE_TOKENS: Final = 50_000
"""More than any model here charges for one image given by URL (gpt-4o-mini in high detail: 2,833 + 8 tiles x 5,667).
An image in the body is bounded by its bytes already."""
MESSAGE_TOKENS: Final = 16
"""What a provider may add around each message and tool: role, separators."""
_SERVER_SIDE: Final = frozenset({"web_search_options", "web_search", "search_parameters", "background"})
_SIZED: Final = ("text", "image_url", "input_audio", "refusal", "input_text")
"""Kinds of parts that are in the body, or are bounded otherwise."""
_DEAR_TIERS: Final = ("priority", "scale")
_TELLING: Final = _SERVER_SIDE | {"service_tier", "n"}


def size_of(request: ChatRequest, *, output_cap: int | None) -> Size | None:
    """Return the most a leg of this request may take, None where that cannot be said."""
    document, choices = request.document, 1
    if not _TELLING.isdisjoint(document):
        # An empty object asks for a search with every default.
        if any(document.get(name) not in (None, False) for name in _SERVER_SIDE):
            return None
        if document.get("service_tier") in _DEAR_TIERS:
            return None
        given = document.get("n")
        choices = given if isinstance(given, int) else 1
    messages, most = document.get("messages"), len(request.body)
    if isinstance(messages, list):
        most += MESSAGE_TOKENS * len(messages)
        for message in messages:
            if isinstance(message, dict) and not isinstance(content := message.get("content"), str):
                images = _images(content)
                if images is None:
                    return None
                most += images * IMAGE_TOKENS
    else:
        most += MESSAGE_TOKENS
    return size_with(most, output_cap=output_cap, choices=choices, dialect=request.dialect)


def _images(content: object) -> int | None:
    """Count a message's images; None where a part's size is not in the body: files by id and whatever comes next."""
    if not isinstance(content, list):
        return 0
    kinds = [part.get("type") for part in content if isinstance(part, dict)]
    return kinds.count("image_url") if all(kind in _SIZED for kind in kinds) else None
