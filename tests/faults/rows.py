"""reliability.md's fault table as data: what a provider does, what the caller must get, how often who is asked."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Literal

from tests import anthropic_provider as anthropic
from tests.faults.running import BACKUP_TEXT, Backend, Mode
from tests.provider import Reply

Wanted = Literal["complete", "error", "error event"]
AnyReply = Reply | anthropic.Reply
STREAM: tuple[Mode, ...] = ("stream",)
WHOLE: tuple[Mode, ...] = ("whole",)
OPENAI_TEXT = "Hello there, bot."


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault of a provider on `backend`. `replies` are the primary's in order, `always` what it answers after them.

    `route` "alone" has no fallback, "" has `backup`, others the fallback of their name; `then` are the fallback's
    replies in order. `asked` and `fell_back`: how often each must be asked, and nobody else; `prefills`: for each time
    that the fallback was asked, whether it was to continue an assistant message. `hangs_up`: the gateway must drop the
    primary's connection. `apart_s`: how long after the first try the second may come at the soonest.
    """

    name: str
    backend: Backend = "openai"
    replies: tuple[AnyReply, ...] = ()
    always: AnyReply | None = None
    then: tuple[AnyReply, ...] = ()
    route: str = ""
    modes: tuple[Mode, ...] = ("stream", "whole")
    wanted: Wanted = "complete"
    text: str = ""
    asked: int = 1
    fell_back: int = 0
    prefills: tuple[bool, ...] = ()
    status: int = 200
    code: str = ""
    source: str = ""
    said: str = ""
    hangs_up: bool = False
    apart_s: float = 0.0

    def text_in(self, mode: Mode) -> str:
        """Return the text of a complete answer; Anthropic's words come without spaces where they are streamed."""
        if self.text:
            return self.text
        if self.fell_back and not self.route:
            return BACKUP_TEXT
        if self.backend == "openai":
            return OPENAI_TEXT
        return "Hellothere." if mode == "stream" else "Hello there."


def alone(row: Row, **changes: object) -> Row:
    """Return the row where there is no fallback."""
    changed = {"name": row.name + "-alone", "route": "alone", "fell_back": 0, "wanted": "error", **changes}
    return replace(row, **changed)  # type: ignore[arg-type]


def event(row: Row, **changes: object) -> Row:
    """Return the row of a stream that breaks after its first words where there is no fallback: an error event."""
    return alone(row, **{"wanted": "error event", **changes})


def fallback(name: str, always: AnyReply, **changes: object) -> Row:
    """Return the row of a fault that lasts, for which the backup answers."""
    return replace(Row(name=name, always=always, fell_back=1), **changes)  # type: ignore[arg-type]


def rescued(name: str, always: AnyReply, **changes: object) -> Row:
    """Return the row of a stream that breaks after its first words, and that the fallback completes."""
    return replace(
        Row(name=name, always=always, route="twin", modes=STREAM, fell_back=1, prefills=(False,)),
        **changes,  # type: ignore[arg-type]
    )


def _error(message: str, code: str, kind: str = "invalid_request_error") -> str:
    return f'{{"error": {{"message": "{message}", "type": "{kind}", "param": null, "code": "{code}"}}}}'


_TOO_LONG = _error("This model's maximum context length is 8192 tokens.", "context_length_exceeded")
_REFUSED = _error("Your request was flagged for violence.", "content_policy_violation")
_NO_PREFILL = Reply(status=400, body=_error("The last message must not be the assistant's.", "invalid"))
_DIFFERS = Reply(words=("Good", " day."))
_REST = Reply(words=(", friend", "."))

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
)


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


_a_limited = fallback(
    "429-retry-after-too-long", anthropic.Reply(status=429, error=_A_SLOW_DOWN, headers={"Retry-After": "30"})
)
_a_broken = fallback("500-persistent", _A_500, asked=2)
_a_silent = fallback("silent", anthropic.Reply(silent=True), hangs_up=True)
_a_headers = fallback("headers-only", anthropic.Reply(hang_after=0), modes=STREAM, hangs_up=True)
_a_long = fallback("context-length", anthropic.Reply(status=400, error=_A_LONG))
_a_on_fire = fallback("error-in-200", anthropic.Reply(body=_A_IN_200), asked=2)
_a_cut = rescued("cut-mid-stream", anthropic.Reply(cut_after=3))
_a_clean_cut = rescued("clean-cut-mid-stream", anthropic.Reply(end_after=3))
_a_stalled = rescued("stall-mid-stream", anthropic.Reply(hang_after=3), hangs_up=True)
_a_erring = rescued("error-event-mid-stream", anthropic.Reply(error_after=3))
_a_dripping = rescued(
    "dripping-stream", _said("H e l l o t h e r e .", drip_s=0.06), then=(_said("Hello there."),), hangs_up=True
)

_LITELLM_ROWS: tuple[Row, ...] = (
    Row(
        name="429-short",
        replies=(anthropic.Reply(status=429, error=_A_SLOW_DOWN, headers={"retry-after-ms": "80"}),),
        asked=2,
        apart_s=0.08,
    ),
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
    alone(_a_on_fire, status=502),
    fallback("error-event-first", anthropic.Reply(error_after=0), modes=STREAM, asked=2),
    _a_erring,
    event(_a_erring, prefills=(), source="provider"),
    # LiteLLM makes an empty stream of a body that is none: the same as one that was cut.
    fallback("not-json", anthropic.Reply(body="<html>"), modes=WHOLE),
    fallback("not-json", anthropic.Reply(body="<html>"), modes=STREAM, asked=2),
    fallback("empty-body", anthropic.Reply(body=""), modes=WHOLE),
    fallback("empty-body", anthropic.Reply(body=""), modes=STREAM, asked=2),
    fallback("huge-whole", _said("x" * (1 << 20)), modes=WHOLE),
)
LITELLM_ROWS = tuple(replace(row, backend="litellm") for row in _LITELLM_ROWS)
ROWS = OPENAI_ROWS + LITELLM_ROWS
