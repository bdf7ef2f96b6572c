"""reliability.md's fault table as data: what a provider does, what the caller must get, how often providers are asked.

Rows that need more than one attempt engine can do today are in LATER, by name, with what they wait for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from tests import anthropic_provider as anthropic
from tests.faults.running import BACKUP_TEXT
from tests.provider import Reply

Mode = Literal["stream", "whole"]
Wanted = Literal["complete", "backup", "error", "error event"]
BOTH: tuple[Mode, ...] = ("stream", "whole")
ANTHROPIC_TEXT: Mapping[Mode, str] = {"stream": "Hellothere.", "whole": "Hello there."}  # its words come without spaces
OPENAI_TEXT = "Hello there, bot."

LATER = {
    "a cut or stalled stream is resumed on the fallback": "rescue (router/resume.py)",
    "a fallback that rejects an assistant prefill is asked again without": "rescue (router/resume.py)",
    "down for a minute, then healthy: used again within 30 s": "the breaker (router/breaker.py)",
    "a dripping stream below the throughput floor is given up": "the floor (router/reading.py)",
    "a limit learnt from what the model took lately": "adaptive deadlines (router/deadlines.py)",
    "a larger-context candidate after context_length, never the same model": "next_model (router/steps.py)",
}
"""Rows of the design's table that wait for the attempt engine; delete a line when its rows are in ROWS."""

_PLAIN = Reply()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault. `replies` are the primary's in order, `always` what it answers after them.

    `asked` and `backup`: how often the primary and the fallback must be asked; `hangs_up`: the gateway must drop the
    primary's connection; `route` "alone" has no fallback.
    """

    name: str
    replies: tuple[Reply, ...] = ()
    always: Reply = _PLAIN
    wanted: Wanted = "complete"
    asked: int = 1
    backup: int = 0
    status: int = 200
    code: str = ""
    source: str = ""
    said: str = ""
    hangs_up: bool = False
    route: str = ""
    modes: tuple[Mode, ...] = BOTH

    def alone(self, **changes: object) -> Row:
        """Return the row where there is no fallback."""
        changed = {"name": self.name + "-alone", "route": "alone", "backup": 0, "wanted": "error", **changes}
        return replace(self, **changed)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteLLMRow:
    """The same over the LiteLLM backend, with Anthropic's replies in order; after them it answers well."""

    name: str
    replies: tuple[anthropic.Reply, ...]
    wanted: Wanted = "complete"
    asked: int = 1
    backup: int = 0
    status: int = 200
    code: str = ""
    said: str = ""
    hangs_up: bool = False
    route: str = ""
    modes: tuple[Mode, ...] = BOTH


def _error(message: str, code: str, kind: str = "invalid_request_error") -> str:
    return f'{{"error": {{"message": "{message}", "type": "{kind}", "param": null, "code": "{code}"}}}}'


_TOO_LONG = _error("This model's maximum context length is 8192 tokens.", "context_length_exceeded")
_REFUSED = _error("Your request was flagged for violence.", "content_policy_violation")
_IN_200 = Reply(body=_error("upstream is on fire", "502", "server_error"), whole=True)

_limited = Row(
    name="429-retry-after-too-long",
    always=Reply(status=429, headers={"Retry-After": "30"}),
    wanted="backup",
    backup=1,
)
_broken = Row(name="500-persistent", always=Reply(status=500), wanted="backup", asked=2, backup=1)
_silent = Row(name="silent", always=Reply(fault="silent"), wanted="backup", backup=1, hangs_up=True)
_headers = Row(name="headers-only", always=Reply(fault="headers_only"), wanted="backup", backup=1, hangs_up=True)
_long = Row(name="context-length", always=Reply(status=400, body=_TOO_LONG), wanted="backup", backup=1)
_on_fire = Row(name="error-in-200", always=_IN_200, wanted="backup", asked=2, backup=1)

ROWS: tuple[Row, ...] = (
    Row(name="429-short-retry-after", replies=(Reply(status=429, headers={"retry-after-ms": "80"}),), asked=2),
    _limited,
    _limited.alone(status=429, code="rate_limit_exceeded", source="provider"),
    _broken,
    _broken.alone(status=502, code="provider_error", source="provider"),
    replace(_broken, name="503-persistent", always=Reply(status=503)),
    Row(name="500-once", replies=(Reply(status=500),), asked=2),
    Row(name="reset-once", replies=(Reply(fault="reset"),), asked=2),
    replace(_broken, name="reset-persistent", always=Reply(fault="reset")),
    _silent,
    _silent.alone(status=504, code="provider_timeout", source="gateway"),
    _headers,
    _headers.alone(status=504, code="provider_timeout", source="gateway"),
    Row(name="cut-whole", always=Reply(fault="cut"), wanted="backup", asked=2, backup=1, modes=("whole",)),
    Row(
        name="cut-before-first-token",
        replies=(Reply(fault="cut", after_events=1),),
        asked=2,
        modes=("stream",),
    ),
    Row(
        name="cut-mid-stream",
        always=Reply(fault="cut", after_events=3),
        wanted="error event",
        code="stream_cut",
        source="gateway",
        route="alone",
        modes=("stream",),
    ),
    Row(
        name="clean-cut-mid-stream",
        always=Reply(fault="clean_cut", after_events=3),
        wanted="error event",
        code="stream_cut",
        source="gateway",
        route="alone",
        modes=("stream",),
    ),
    Row(
        name="stall-mid-stream",
        always=Reply(fault="stall", after_events=3),
        wanted="error event",
        code="provider_timeout",
        source="gateway",
        hangs_up=True,
        route="alone",
        modes=("stream",),
    ),
    Row(name="malformed-event", always=Reply(malformed_at=2), modes=("stream",)),
    Row(name="malformed-first-event", always=Reply(malformed_at=0), modes=("stream",)),
    Row(name="no-done", always=Reply(done=False), modes=("stream",)),
    Row(name="no-done-and-stays", always=Reply(done=False, linger=True), hangs_up=True, modes=("stream",)),
    Row(name="done-and-stays", always=Reply(linger=True), hangs_up=True, modes=("stream",)),
    _long,
    _long.alone(status=400, code="context_length_exceeded", source="provider", said="maximum context length"),
    Row(
        name="content-policy",
        always=Reply(status=400, body=_REFUSED),
        wanted="error",
        status=400,
        code="content_policy_violation",
        source="provider",
        said="flagged for violence",
    ),
    Row(name="provider-key-refused", always=Reply(status=401), wanted="backup", backup=1),
    _on_fire,
    _on_fire.alone(status=502, source="provider", said="upstream is on fire"),
    replace(_on_fire, name="error-event-first", always=Reply(error_at=0), modes=("stream",)),
    Row(
        name="error-event-mid-stream",
        always=Reply(error_at=2),
        wanted="error event",
        source="provider",
        said="upstream exploded",
        route="alone",
        modes=("stream",),
    ),
    Row(name="not-json", always=Reply(body="<html>", whole=True), wanted="backup", backup=1),
    Row(name="empty-body", always=Reply(body="", whole=True), wanted="backup", backup=1),
    Row(name="huge-whole", always=Reply(huge_bytes=1 << 20), wanted="backup", backup=1, modes=("whole",)),
)


def _anthropic_error(kind: str, message: str) -> dict[str, object]:
    return {"type": "error", "error": {"type": kind, "message": message}}


_A_500 = anthropic.Reply(status=500, error=_anthropic_error("api_error", "Internal server error"))
_A_529 = anthropic.Reply(status=529, error=_anthropic_error("overloaded_error", "Overloaded"))
_A_429 = anthropic.Reply(
    status=429, error=_anthropic_error("rate_limit_error", "Slow down"), headers={"Retry-After": "30"}
)
_A_LONG = anthropic.Reply(
    status=400, error=_anthropic_error("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")
)

LITELLM_ROWS: tuple[LiteLLMRow, ...] = (
    LiteLLMRow(name="429-retry-after-too-long", replies=(_A_429,), wanted="backup", backup=1),
    LiteLLMRow(
        name="429-retry-after-too-long-alone",
        replies=(_A_429,),
        wanted="error",
        status=429,
        route="alone",
        said="Slow down",
    ),
    LiteLLMRow(name="500-persistent", replies=(_A_500, _A_500), wanted="backup", asked=2, backup=1),
    LiteLLMRow(name="529-persistent", replies=(_A_529, _A_529), wanted="backup", asked=2, backup=1),
    LiteLLMRow(name="500-once", replies=(_A_500,), asked=2),
    LiteLLMRow(name="silent", replies=(anthropic.Reply(silent=True),), wanted="backup", backup=1, hangs_up=True),
    LiteLLMRow(
        name="headers-only",
        replies=(anthropic.Reply(hang_after=0),),
        wanted="backup",
        backup=1,
        hangs_up=True,
        modes=("stream",),
    ),
    LiteLLMRow(
        name="cut-mid-stream",
        replies=(anthropic.Reply(cut_after=3), anthropic.Reply(cut_after=3)),
        wanted="error event",
        code="stream_cut",
        route="alone",
        modes=("stream",),
    ),
    LiteLLMRow(
        name="clean-cut-mid-stream",
        replies=(anthropic.Reply(end_after=3), anthropic.Reply(end_after=3)),
        wanted="error event",
        code="stream_cut",
        route="alone",
        modes=("stream",),
    ),
    LiteLLMRow(
        name="stall-mid-stream",
        replies=(anthropic.Reply(hang_after=3), anthropic.Reply(hang_after=3)),
        wanted="error event",
        code="provider_timeout",
        hangs_up=True,
        route="alone",
        modes=("stream",),
    ),
    LiteLLMRow(
        name="error-event-mid-stream",
        replies=(anthropic.Reply(error_after=3), anthropic.Reply(error_after=3)),
        wanted="error event",
        route="alone",
        modes=("stream",),
    ),
    LiteLLMRow(name="context-length", replies=(_A_LONG,), wanted="backup", backup=1),
    LiteLLMRow(
        name="context-length-alone",
        replies=(_A_LONG,),
        wanted="error",
        status=400,
        code="context_length_exceeded",
        said="prompt is too long",
        route="alone",
    ),
)


def text_of(wanted: Wanted, plain: str) -> str:
    """Return the text of a complete answer."""
    return BACKUP_TEXT if wanted == "backup" else plain
