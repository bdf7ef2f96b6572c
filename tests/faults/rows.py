"""reliability.md's fault table as data: what a provider does, what the caller must get, how often who is asked."""

from __future__ import annotations

from dataclasses import replace

from tests.faults.litellm_rows import LITELLM_ROWS
from tests.faults.row import OPENAI_TEXT, STREAM, WHOLE, Row, alone, event, fallback, rescued
from tests.provider import Reply


def _error(message: str, code: str, kind: str = "invalid_request_error") -> str:
    return f'{{"error": {{"message": "{message}", "type": "{kind}", "param": null, "code": "{code}"}}}}'


_TOO_LONG = _error("This model's maximum context length is 8192 tokens.", "context_length_exceeded")
_REFUSED = _error("Your request was flagged for violence.", "content_policy_violation")
_NO_PREFILL = Reply(status=400, body=_error("The last message must not be the assistant's.", "invalid"))
_DIFFERS = Reply(words=("Good", " day."))
_REST = Reply(words=(", friend", "."))

_refusing = fallback("429-persistent", Reply(status=429), asked=2)
_limited = fallback("429-retry-after-too-long", Reply(status=429, headers={"Retry-After": "30"}))
_broken = fallback("500-persistent", Reply(status=500), asked=2)
_silent = fallback("silent", Reply(fault="silent"), hangs_up=True)
_headers = fallback("headers-only", Reply(fault="headers_only"), hangs_up=True)
_long = fallback("context-length", Reply(status=400, body=_TOO_LONG))
_on_fire = fallback(
    "error-in-200", Reply(body=_error("upstream is on fire", "502", "server_error"), whole=True), asked=2
)
_cut = rescued("cut-mid-stream", Reply(fault="cut", after_events=3))
_clean_cut = rescued("clean-cut-mid-stream", Reply(fault="clean_cut", after_events=3))
_stalled = rescued("stall-mid-stream", Reply(fault="stall", after_events=3), hangs_up=True)
_erring = rescued("error-event-mid-stream", Reply(error_at=2))
_dripping = rescued("dripping-stream", Reply(words=tuple(OPENAI_TEXT), piece_bytes=4096, drip_s=0.06), hangs_up=True)

OPENAI_ROWS: tuple[Row, ...] = (
    Row(name="429-short", replies=(Reply(status=429, headers={"retry-after-ms": "80"}),), asked=2, apart_s=0.08),
    # Longer than is waited for where there is a fallback; without one the deadline alone decides.
    alone(
        Row(name="429-waited-for"),
        replies=(Reply(status=429, headers={"retry-after-ms": "250"}),),
        wanted="complete",
        asked=2,
        apart_s=0.25,
    ),
    _refusing,
    alone(_refusing, status=429, code="rate_limit_exceeded", source="provider"),
    _limited,
    alone(_limited, status=429, code="rate_limit_exceeded", source="provider"),
    _broken,
    alone(_broken, status=502, code="provider_error", source="provider"),
    replace(_broken, name="503-persistent", always=Reply(status=503)),
    Row(name="500-once", replies=(Reply(status=500),), asked=2),
    Row(name="reset-once", replies=(Reply(fault="reset"),), asked=2),
    replace(_broken, name="reset-persistent", always=Reply(fault="reset")),
    _silent,
    alone(_silent, status=504, code="provider_timeout", source="gateway"),
    _headers,
    alone(_headers, status=504, code="provider_timeout", source="gateway"),
    fallback("cut-whole", Reply(fault="cut"), asked=2, modes=WHOLE),
    Row(name="cut-before-first-token", replies=(Reply(fault="cut", after_events=1),), asked=2, modes=STREAM),
    _cut,
    event(_cut, code="stream_cut", source="gateway", prefills=()),
    replace(_cut, name="cut-mid-stream-held", route="hold", asked=2),
    replace(_cut, name="cut-while-assembled", route="assembled", modes=WHOLE, asked=2),
    # A temperature of 0 is not stated: a model that takes a prefill is asked to continue first.
    replace(
        _cut, name="cut-then-prefill", route="prefill", then=(_REST,), text="Hello there, friend.", prefills=(True,)
    ),
    replace(
        _cut, name="cut-then-refused-prefill", route="prefill", then=(_NO_PREFILL,), fell_back=2, prefills=(True, False)
    ),
    replace(
        _cut, name="cut-then-nobody-fits", then=(_DIFFERS,), wanted="error event", code="stream_cut", text=OPENAI_TEXT
    ),
    _clean_cut,
    event(_clean_cut, code="stream_cut", source="gateway", prefills=()),
    _stalled,
    event(_stalled, code="provider_timeout", source="gateway", prefills=()),
    replace(_stalled, name="stall-while-assembled", route="assembled", modes=WHOLE),
    _dripping,
    event(_dripping, code="provider_timeout", source="gateway", prefills=()),
    fallback("dripping-whole", Reply(piece_bytes=8, drip_s=0.05), modes=WHOLE, hangs_up=True),
    Row(name="malformed-event", always=Reply(malformed_at=2), modes=STREAM),
    Row(name="malformed-first-event", always=Reply(malformed_at=0), modes=STREAM),
    Row(name="no-done", always=Reply(done=False), modes=STREAM),
    Row(name="no-done-and-stays", always=Reply(done=False, linger=True), hangs_up=True, modes=STREAM),
    Row(name="done-and-stays", always=Reply(linger=True), hangs_up=True, modes=STREAM),
    _long,
    alone(_long, status=400, code="context_length_exceeded", source="provider", said="maximum context length"),
    # Of two fallbacks only the one with a larger window is asked.
    replace(_long, name="context-length-then-larger", route="wide"),
    Row(
        name="content-policy",
        always=Reply(status=400, body=_REFUSED),
        wanted="error",
        status=400,
        code="content_policy_violation",
        source="provider",
        said="flagged for violence",
    ),
    fallback("provider-key-refused", Reply(status=401)),
    _on_fire,
    alone(_on_fire, status=502, source="provider", said="upstream is on fire"),
    replace(_on_fire, name="error-event-first", always=Reply(error_at=0), modes=STREAM),
    _erring,
    event(_erring, source="provider", said="upstream exploded", prefills=()),
    fallback("not-json", Reply(body="<html>", whole=True)),
    fallback("empty-body", Reply(body="", whole=True)),
    fallback("huge-whole", Reply(huge_bytes=1 << 20), modes=WHOLE),
    fallback("huge-event", Reply(words=("x" * (5 << 20),)), modes=STREAM),
)
ROWS = OPENAI_ROWS + LITELLM_ROWS
