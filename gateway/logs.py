"""One JSON line per event on stderr (readable text on a terminal); the access line is a function of Outcome.

Must not write prompt text, answer text, keys or tracebacks' messages; control characters never reach the output.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from operator import attrgetter
from typing import TextIO

import orjson
import structlog

from gateway.outcome import Outcome

_WHERE_SET = (
    *("parent_request_id", "policy", "policy_version", "route", "reason", "requested_model", "routed_model"),
    *("response_model", "provider", "is_simulated", "finish_reasons", "error_code", "error_type", "error_source"),
)
_VALUES_WHERE_SET = attrgetter(*_WHERE_SET)

Event = MutableMapping[str, object]
MAX_FOREIGN_CHARS = 500
FLUSH_S = 0.05
"""An access line is kept so long at most; a worker writes what is left before it ends."""
MAX_KEPT_LINES = 256

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_LIBRARIES = ("litellm", "LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "aiohttp", "asyncio", "httpx", "openai")

_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)(authorization|proxy-authorization)(\W{1,5})(bearer|basic)?\s*[^\s'\",}]+"), r"\1\2***"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), r"\1 ***"),
    (
        re.compile(
            r"(?i)\b(x-api-key|x-goog-api-key|api[_-]?key|password|secret|token)(['\"]?\s*[=:]\s*['\"]?)"
            r"(?!\*)[^\s'\",}&]{4,}"
        ),
        r"\1\2***",
    ),
    (re.compile(r"\b(sk|pk|rk|gsk|xai|key)-[A-Za-z0-9_-]{4,}"), r"\1-***"),
    (re.compile(r"\bAIza[0-9A-Za-z_-]{10,}"), "AIza***"),
    (re.compile(r"\bAKIA[0-9A-Z]{12,}"), "AKIA***"),
    (re.compile(r"([a-z][a-z0-9+.-]*://)[^\s/@]+@"), r"\1***@"),
)
# C0, DEL and C1 (0x9b alone starts a terminal escape), line separators, and what turns text around.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def configure_logs(level: str, *, stream: TextIO | None = None, is_console: bool | None = None) -> AccessLog:
    """Send structlog and the libraries' own logging to `stream` (stderr) from `level` up; return the access log.

    Console text where the stream is a terminal, unless `is_console` says. Libraries are heard from WARNING up.
    """
    target = stream if stream is not None else sys.stderr
    console = target.isatty() if is_console is None else is_console
    least = _LEVELS[level]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _clean,
            structlog.dev.ConsoleRenderer(colors=console) if console else _as_json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(target),  # in one piece: other processes write there too
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Foreign(max(least, logging.WARNING))]
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.handlers[:] = []
        library.propagate = True
        library.setLevel(logging.WARNING)
    return AccessLog(target, is_on=least <= logging.INFO, is_console=console)


class AccessLog:
    """Writes the one line of a request; call it with each Outcome. `configure_logs` returns the right one."""

    def __init__(self, target: TextIO, *, is_on: bool, is_console: bool) -> None:
        self._target = target
        self._is_on = is_on
        self._is_console = is_console
        self._lines: list[bytes] = []
        self._second = -1
        self._second_text = ""

    def __call__(self, outcome: Outcome) -> None:
        """Write ids, route, models, cache, status, tokens, cost and timings (milliseconds); never text or keys."""
        if not self._is_on:
            return
        fields = access_fields(outcome)
        if self._is_console:
            structlog.get_logger().info("request", **fields)
            return
        ended_at = self._written(outcome.started_at + outcome.total_s)
        event: Event = {"level": "info", "timestamp": ended_at, "event": "request", **fields}
        line = orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)
        if not line.isascii():  # JSON escapes C0 by itself; what else can harm a terminal is not ASCII
            line = orjson.dumps(_clean(None, "", event), option=orjson.OPT_APPEND_NEWLINE)
        self._keep(line)

    def flush(self) -> None:
        """Write what is kept."""
        if self._lines:
            lines, self._lines = self._lines, []
            self._target.write(b"".join(lines).decode())
            self._target.flush()

    def _written(self, at_s: float) -> str:
        """Return a time (Unix seconds) in ISO 8601 with milliseconds; the second's text is made once a second."""
        second = int(at_s)
        if second != self._second:
            self._second = second
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._second_text}.{int((at_s - second) * 1000):03d}+00:00"

    def _keep(self, line: bytes) -> None:
        """Write soon, with the lines that come meanwhile: one system call for all. At once where no loop runs."""
        self._lines.append(line)
        if len(self._lines) >= MAX_KEPT_LINES:
            self.flush()
        elif len(self._lines) == 1:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                self.flush()
            else:
                loop.call_later(FLUSH_S, self.flush)


def access_fields(outcome: Outcome) -> Mapping[str, object]:
    """Return what the access line says of `outcome`, leaving out what does not apply."""
    usage = outcome.usage
    fields: dict[str, object] = {
        "request_id": outcome.request_id,
        "origin": outcome.origin,
        "endpoint": outcome.endpoint,
        "tenant": outcome.tenant,
        "key_id": outcome.key_id,
        "status": outcome.status,
        "result": outcome.result,
        "cache": outcome.cache,
        "stream": outcome.stream,
        "attempts": len(outcome.attempts),
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
        "cost_usd": None if outcome.cost_nanousd is None else outcome.cost_nanousd / 1e9,
        "overhead_ms": round(outcome.overhead_s * 1e3, 3),
        "total_ms": round(outcome.total_s * 1e3, 3),
    }
    fields.update({name: value for name, value in zip(_WHERE_SET, _VALUES_WHERE_SET(outcome), strict=True) if value})
    if outcome.cache_tier != "none":
        fields["cache_tier"] = outcome.cache_tier
    if outcome.saved_nanousd:
        fields["saved_usd"] = outcome.saved_nanousd / 1e9
    if outcome.age_s:
        fields["age_s"] = round(outcome.age_s, 3)
    if outcome.first_token_s is not None:
        fields["first_token_ms"] = round(outcome.first_token_s * 1e3, 3)
    return fields


def report_crash(name: str, error: BaseException) -> None:
    """Log that the task `name` crashed, with where; fits Supervisor's `on_crash`."""
    structlog.get_logger().error("task crashed", task=name, **error_fields(error))


def error_fields(error: BaseException) -> Mapping[str, object]:
    """Return an error's type and frames. Its message stays out: it may quote a request or a key."""
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "error": type(error).__qualname__,
        "cause": type(error.__cause__).__qualname__ if error.__cause__ is not None else None,
        "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }


def redact(text: str) -> str:
    """Return `text` with everything that looks like a secret replaced by `***`."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def printable(text: str) -> str:
    """Return `text` with control and text-direction characters as visible escapes."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _clean(_logger: object, _method: str, event: Event) -> Event:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = printable(value)
        elif isinstance(value, list | tuple):
            event[name] = [printable(str(item)) for item in value]
    return event


def _as_json(_logger: object, _method: str, event: Event) -> str:
    return orjson.dumps(event, default=str).decode("utf-8", "replace")


class _Foreign(logging.Handler):
    """Hands the libraries' log records to structlog: redacted, cut, with frames instead of an error's text."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit the format: the library's bug, not ours
            message = str(record.msg)
        fields: dict[str, object] = {"logger": record.name}
        if record.exc_info is not None and record.exc_info[1] is not None:
            fields.update(error_fields(record.exc_info[1]))
        log: Callable[..., object] = getattr(
            structlog.get_logger(), record.levelname.lower(), structlog.get_logger().error
        )
        log(redact(message)[:MAX_FOREIGN_CHARS], **fields)
