"""What a client may say of an answer, read from its body. Must not keep the comment: it goes to the log alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from router.facts import BadRequest

MAX_COMMENT: Final = 1000
_KEYS: Final = ("request_id", "score", "thumbs", "comment")
_THUMBS: Final = {"up": 1.0, "down": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """A judgement; `quality` from 0 to 1."""

    request_id: str
    quality: float
    comment: str = ""


def read_feedback(document: Mapping[str, object]) -> Feedback:
    """Return the judgement. Raises BadRequest naming the field."""
    for key in document:
        if key not in _KEYS:
            raise BadRequest(f"{key[:64]}: unknown; this takes {', '.join(_KEYS)}", param=key[:64])
    request_id = document.get("request_id")
    if not isinstance(request_id, str) or not 0 < len(request_id) <= 128:
        raise BadRequest("request_id: must be the x-request-id of an answer", param="request_id")
    comment = document.get("comment", "")
    if not isinstance(comment, str) or len(comment) > MAX_COMMENT:
        raise BadRequest(f"comment: must be text of at most {MAX_COMMENT} characters", param="comment")
    return Feedback(request_id=request_id, quality=_quality(document), comment=comment)


def _quality(document: Mapping[str, object]) -> float:
    score, thumbs = document.get("score"), document.get("thumbs")
    if (score is None) == (thumbs is None):
        raise BadRequest("give score or thumbs, one of them", param="score")
    if thumbs is not None:
        if not isinstance(thumbs, str) or thumbs not in _THUMBS:
            raise BadRequest("thumbs: must be up or down", param="thumbs")
        return _THUMBS[thumbs]
    # True is an int to Python, not to JSON.
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise BadRequest("score: must be a number from 0 (useless) to 1 (right)", param="score")
    return float(score)
