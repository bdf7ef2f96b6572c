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
from typing import TextIO

import msgspec
import orjson
import structlog

from gateway.access_line import AccessLine, access_line
from gateway.outcome import Outcome

Event = MutableMapping[str, object]
_ENCODER = msgspec.json.Encoder()
_SAID_BY_IT = frozenset({"level", "timestamp", "event"})
"""What structlog adds to a line itself."""
MAX_FOREIGN_CHARS = 500
FLUSH_S = 0.05
"""An access line is kept so long at most; a worker writes what is left before it ends."""
MAX_KEPT_LINES = 64
"""Making them takes half a millisecond, for which the event loop is held."""

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
    """Writes the one line of a request; call it with each Outcome. `configure_logs` returns the right one.

    Lines are made together, soon after: one system call for all, and half the time each takes when made alone.
    """

    def __init__(self, target: TextIO, *, is_on: bool, is_console: bool) -> None:
        self._target = target
        self._is_on = is_on
        self._is_console = is_console
        self._kept: list[Outcome] = []
        self._second = -1
        self._second_text = ""

    def __call__(self, outcome: Outcome) -> None:
        """Write ids, route, models, cache, status, tokens, cost and timings (milliseconds); never text or keys."""
        if not self._is_on:
            return
        if self._is_console:
            event: Event = msgspec.to_builtins(self._line(outcome))
            structlog.get_logger().info("request", **{name: event[name] for name in event if name not in _SAID_BY_IT})
            return
        # Written soon, with those that come meanwhile.
        self._kept.append(outcome)
        if len(self._kept) == 1:
            self._flush_soon()
        elif len(self._kept) >= MAX_KEPT_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what is kept."""
        if self._kept:
            kept, self._kept = self._kept, []
            self._target.write(b"".join(map(self._text, kept)).decode())
            self._target.flush()

    def _line(self, outcome: Outcome) -> AccessLine:
        return access_line(outcome, timestamp=self._written(outcome.started_at + outcome.total_s))

    def _text(self, outcome: Outcome) -> bytes:
        line = self._line(outcome)
        text = _ENCODER.encode(line)
        if not text.isascii():  # JSON escapes C0 by itself; what else can harm a terminal is not ASCII
            text = orjson.dumps(_clean(None, "", msgspec.to_builtins(line)))
        return text + b"\n"

    def _written(self, at_s: float) -> str:
        """Return a time (Unix seconds) in ISO 8601 with milliseconds; the second's text is made once a second."""
        second = int(at_s)
        if second != self._second:
            self._second = second
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._second_text}.{int((at_s - second) * 1000):03d}+00:00"

    def _flush_soon(self) -> None:
        """Write what is kept in a moment; at once where no loop runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            loop.call_later(FLUSH_S, self.flush)


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
