"""How the events of another leg join those already sent."""

from __future__ import annotations

import json

from router.resume import Continuation, Frame


def event(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


def test_what_is_too_long_to_be_resumed_once_more_is_not_kept_but_still_sent() -> None:
    joined = Continuation("prefill", "abc", Frame(id=None, created=None), keep_text_bytes=8)
    joined.feed(event("defgh"))
    kept = [joined.sent]
    told = [joined.feed(event(text)) for text in "ij"]
    kept.append(joined.sent)
    assert kept == ["abcdefgh", None]
    assert [b'"i"' in told[0], b'"j"' in told[1]] == [True, True]
