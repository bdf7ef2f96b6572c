"""The fault table's rows for a provider behind LiteLLM: the same faults in Anthropic's words."""

from __future__ import annotations

import json
from dataclasses import replace

from tests import anthropic_provider as anthropic
from tests.faults.row import STREAM, WHOLE, Row, alone, event, fallback, rescued


def _anthropic_error(kind: str, message: str) -> dict[str, object]:
    return {"type": "error", "error": {"type": kind, "message": message}}


_A_500 = anthropic.Reply(status=500, error=_anthropic_error("api_error", "Internal server error"))
_A_529 = anthropic.Reply(status=529, error=_anthropic_error("overloaded_error", "Overloaded"))
_A_SLOW_DOWN = _anthropic_error("rate_limit_error", "Slow down")
_A_LONG = _anthropic_error("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")
_A_REFUSED = _anthropic_error("invalid_request_error", "Output blocked by content filtering policy")
_A_NO_PREFILL = anthropic.Reply(
    status=400,
    error=_anthropic_error("invalid_request_error", "This model does not support assistant message prefill."),
)
_A_IN_200 = json.dumps(_anthropic_error("overloaded_error", "upstream is on fire"))


def _said(text: str, **changes: object) -> anthropic.Reply:
    return anthropic.Reply(content=({"type": "text", "text": text},), **changes)  # type: ignore[arg-type]


_a_refusing = fallback("429-persistent", anthropic.Reply(status=429, error=_A_SLOW_DOWN), asked=2)
_a_limited = fallback(
    "429-retry-after-too-long", anthropic.Reply(status=429, error=_A_SLOW_DOWN, headers={"Retry-After": "30"})
)
_a_broken = fallback("500-persistent", _A_500, asked=2)
_a_silent = fallback("silent", anthropic.Reply(silent=True), hangs_up=True)
_a_headers = fallback("headers-only", anthropic.Reply(hang_after=0), hangs_up=True)
_a_long = fallback("context-length", anthropic.Reply(status=400, error=_A_LONG))
_a_on_fire = fallback("error-in-200", anthropic.Reply(body=_A_IN_200), asked=2)
_a_cut = rescued("cut-mid-stream", anthropic.Reply(cut_after=3))
_a_clean_cut = rescued("clean-cut-mid-stream", anthropic.Reply(end_after=3))
_a_stalled = rescued("stall-mid-stream", anthropic.Reply(hang_after=3), hangs_up=True)
_a_erring = rescued("error-event-mid-stream", anthropic.Reply(error_after=3))
_a_dripping = rescued(
    "dripping-stream", _said("H e l l o t h e r e .", drip_s=0.06), then=(_said("Hello there."),), hangs_up=True
)

_ROWS: tuple[Row, ...] = (
    Row(
        name="429-short",
        replies=(anthropic.Reply(status=429, error=_A_SLOW_DOWN, headers={"retry-after-ms": "80"}),),
        asked=2,
        apart_s=0.08,
    ),
    alone(
        Row(name="429-waited-for"),
        replies=(anthropic.Reply(status=429, error=_A_SLOW_DOWN, headers={"retry-after-ms": "250"}),),
        wanted="complete",
        asked=2,
        apart_s=0.25,
    ),
    _a_refusing,
    alone(_a_refusing, status=429, said="Slow down", source="provider"),
    _a_limited,
    alone(_a_limited, status=429, said="Slow down", source="provider"),
    _a_broken,
    alone(_a_broken, status=502, code="provider_error", source="provider"),
    replace(_a_broken, name="529-persistent", always=_A_529),
    Row(name="500-once", replies=(_A_500,), asked=2),
    Row(name="reset-once", replies=(anthropic.Reply(reset=True),), asked=2),
    replace(_a_broken, name="reset-persistent", always=anthropic.Reply(reset=True)),
    _a_silent,
    alone(_a_silent, status=504, code="provider_timeout", source="gateway"),
    _a_headers,
    alone(_a_headers, status=504, code="provider_timeout", source="gateway"),
    fallback("cut-whole", anthropic.Reply(cut_after=0), asked=2, modes=WHOLE),
    Row(name="cut-before-first-token", replies=(anthropic.Reply(cut_after=1),), asked=2, modes=STREAM),
    _a_cut,
    event(_a_cut, code="stream_cut", prefills=()),
    replace(_a_cut, name="cut-mid-stream-held", route="hold", asked=2),
    replace(_a_cut, name="cut-while-assembled", route="assembled", modes=WHOLE, asked=2, text="Hellothere."),
    replace(
        _a_cut,
        name="cut-then-prefill",
        route="prefill",
        then=(_said(", friend."),),
        text="Hello,friend.",
        prefills=(True,),
    ),
    replace(
        _a_cut,
        name="cut-then-refused-prefill",
        route="prefill",
        then=(_A_NO_PREFILL,),
        fell_back=2,
        prefills=(True, False),
    ),
    replace(_a_cut, name="cut-then-nobody-fits", then=(_said("Good day."),), wanted="error event", code="stream_cut"),
    _a_clean_cut,
    event(_a_clean_cut, code="stream_cut", prefills=()),
    _a_stalled,
    event(_a_stalled, code="provider_timeout", source="gateway", prefills=()),
    replace(_a_stalled, name="stall-while-assembled", route="assembled", modes=WHOLE, text="Hellothere."),
    _a_dripping,
    event(_a_dripping, code="provider_timeout", source="gateway", then=(), prefills=()),
    fallback("dripping-whole", anthropic.Reply(drip_s=0.05), modes=WHOLE, hangs_up=True),
    Row(name="malformed-event", always=anthropic.Reply(malformed_at=3), modes=STREAM),
    Row(name="malformed-first-event", always=anthropic.Reply(malformed_at=0), modes=STREAM),
    # Anthropic's last event is message_stop; what it says before is all that is needed.
    Row(name="no-done", always=anthropic.Reply(end_after=6), modes=STREAM),
    Row(name="no-done-and-stays", always=anthropic.Reply(hang_after=6), modes=STREAM, hangs_up=True),
    _a_long,
    alone(_a_long, status=400, code="context_length_exceeded", said="prompt is too long", source="provider"),
    replace(_a_long, name="context-length-then-larger", route="wide"),
    Row(
        name="content-policy",
        always=anthropic.Reply(status=400, error=_A_REFUSED),
        wanted="error",
        status=400,
        code="content_policy_violation",
        source="provider",
        said="content filtering policy",
    ),
    fallback(
        "provider-key-refused",
        anthropic.Reply(status=401, error=_anthropic_error("authentication_error", "invalid x-api-key")),
    ),
    _a_on_fire,
    alone(_a_on_fire, status=503, source="provider", said="upstream is on fire"),
    fallback("error-event-first", anthropic.Reply(error_after=0), modes=STREAM, asked=2),
    _a_erring,
    event(_a_erring, prefills=(), source="provider"),
    # LiteLLM makes an empty stream of a body that is none: the same as one that was cut.
    fallback("not-json", anthropic.Reply(body="<html>"), modes=WHOLE),
    fallback("not-json", anthropic.Reply(body="<html>"), modes=STREAM, asked=2),
    fallback("empty-body", anthropic.Reply(body=""), modes=WHOLE),
    fallback("empty-body", anthropic.Reply(body=""), modes=STREAM, asked=2),
    fallback("huge-whole", _said("x" * (1 << 20)), modes=WHOLE),
    fallback("huge-event", _said("x" * (5 << 20)), modes=STREAM),
)
LITELLM_ROWS = tuple(replace(row, backend="litellm") for row in _ROWS)
