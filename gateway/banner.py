"""What `serve` prints when it listens. The one place where a new key is shown; it must not go to a log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.panel import Panel

from gateway.findings import Findings
from gateway.setting_types import Address
from gateway.settings import Settings, without_password

MOST_SHOWN = 8
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised here, not bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where the gateway listens and what it uses. `metrics` and `redis` are fit to be read by anybody."""

    listening: Sequence[Address]
    metrics: Address
    workers: int
    redis: str
    version: str
    is_open_to_loopback: bool


def url_of(address: Address) -> str:
    """Return the URL under which a client on this machine reaches `address`."""
    host = ANY.get(address.host, address.host)
    return f"http://[{host}]:{address.port}" if ":" in host else f"http://{host}:{address.port}"


def curl_line(base_url: str, *, key: str | None, model: str) -> str:
    """Return a command that works when pasted into a shell; `key` None leaves a placeholder variable."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
    body = body.replace("'", "'\\''")
    secret = key if key is not None else "$FOREWORD_API_KEY"
    return (
        f'curl {base_url}/v1/chat/completions -H "Authorization: Bearer {secret}" '
        f"-H 'Content-Type: application/json' -d '{body}'"
    )


def print_banner(console: Console, standing: Standing, findings: Findings) -> None:
    """Print where it listens, what it found and, once, the new key with a line that uses it."""
    base_url = url_of(standing.listening[0])
    listens = ", ".join(url_of(address) for address in standing.listening)
    _line(console, f"foreword {standing.version} listens on {listens} ({_workers(standing.workers)})")
    if findings.is_simulated:
        warning = (
            "No provider key was found: every answer is SIMULATED.\n"
            "Set OPENAI_API_KEY, ANTHROPIC_API_KEY, OPENROUTER_API_KEY, GEMINI_API_KEY or OPENAI_BASE_URL and restart."
        )
        console.print(Panel(warning, title="simulated", border_style="yellow", expand=False))
    else:
        _line(console, f"  providers  {', '.join(findings.providers)}")
    _some(console, "  models     ", findings.models)
    if not findings.is_simulated:
        _some(console, "  left out   ", findings.left_out, separator="; ")
        _some(console, "  not read   ", findings.unread, separator="; ")
    _line(console, f"  policies   {', '.join(findings.policies)}")
    if findings.ignored_sections:
        _line(console, f"  ignored    {', '.join(findings.ignored_sections)} of the models file")
    _line(console, f"  redis      {standing.redis}")
    _line(console, f"  metrics    {url_of(standing.metrics)}/metrics")
    if standing.is_open_to_loopback:
        _line(console, "  open       direct calls from this machine need no key")
    if findings.key_trouble:
        _line(console, f"  keys       Redis did not answer ({findings.key_trouble}): no first key was made")
    if findings.secret is not None:
        _line(console, f"\nYour first key, shown only now: {findings.secret}\n")
    else:
        _line(console, "\nMake a key with `foreword keys create`, put it into FOREWORD_API_KEY, and try:\n")
    _line(console, curl_line(base_url, key=findings.secret, model=findings.example_model) + "\n")


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def _some(console: Console, heading: str, items: Sequence[str], *, separator: str = ", ") -> None:
    if items:
        more = f" and {len(items) - MOST_SHOWN} more" if len(items) > MOST_SHOWN else ""
        _line(console, heading + separator.join(items[:MOST_SHOWN]) + more)


def _line(console: Console, text: str) -> None:
    """One line as it is: wrapped or coloured text could not be pasted."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def redis_in_words(settings: Settings, *, is_embedded: bool) -> str:
    """Say which Redis is used; its URL without a password."""
    if settings.redis_url is None:
        return "none: everything is in memory and ends with this process"
    return f"private, in {settings.data_dir}" if is_embedded else without_password(settings.redis_url)
