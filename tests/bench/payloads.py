"""What the benchmarks send and what their provider answers, as bytes made once. Must not depend on the product."""

from __future__ import annotations

import json

EVENTS = 50
MODEL = "gpt-4o-mini"
RESPONSE_MODEL = "gpt-4o-mini-2024-07-18"
COUNTER = b"%08d"
"""How a request's number stands in its text: of fixed width, so that every request has the same length."""
WORDS = ("The", " claim", " rests", " on", " one", " study", ",", " and", " the", " study", " says", " less", ".")
BIG_BYTES = 32 * 1024


def _usage(output_tokens: int) -> dict[str, object]:
    return {
        "prompt_tokens": 42,
        "completion_tokens": output_tokens,
        "total_tokens": 42 + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _packed(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def chat_answer() -> bytes:
    """Return a chat.completion of 300 tokens, about 2 KB."""
    message = {"role": "assistant", "content": "".join(WORDS[n % len(WORDS)] for n in range(300)), "refusal": None}
    return _packed(
        {
            "id": "chatcmpl-bench0123456789",
            "object": "chat.completion",
            "created": 1767225600,
            "model": RESPONSE_MODEL,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": _usage(300),
            "service_tier": "default",
            "system_fingerprint": "fp_0123456789",
        }
    )


def events() -> tuple[bytes, ...]:
    """Return what a stream of 50 tokens consists of: 50 events, then the finish, usage and [DONE] together."""
    head = {
        "id": "chatcmpl-bench0123456789",
        "object": "chat.completion.chunk",
        "created": 1767225600,
        "model": RESPONSE_MODEL,
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
    }

    def event(delta: dict[str, str], reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return b"data: " + _packed({**head, "choices": [choice], "usage": None}) + b"\n\n"

    told = [event({"content": WORDS[number % len(WORDS)]}, None) for number in range(EVENTS)]
    told[0] = event({"role": "assistant", "content": WORDS[0]}, None)
    usage = b"data: " + _packed({**head, "choices": [], "usage": _usage(EVENTS)}) + b"\n\n"
    return (*told, event({}, "stop") + usage + b"data: [DONE]\n\n")


def chat_body(*, text: str = "", model: str = MODEL, stream: bool = False, **fields: object) -> tuple[bytes, bytes]:
    """Return a chat request's body as what stands before and after its number; `text` follows the number."""
    question = f"Question \0: is it a fallacy to say that everybody knows it? {text}"
    system = "You are a careful assistant. You judge arguments, not people, and answer in a few short sentences."
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    body = {"model": model, "temperature": 0, "stream": stream, "messages": messages, **fields}
    before, _, after = _packed(body).partition(b"\\u0000")
    return before, after


def big_text() -> str:
    """Return 32 KB of text."""
    return ("Nobody denies that the trams are loud, and yet the noise is a matter of taste. " * 500)[:BIG_BYTES]
