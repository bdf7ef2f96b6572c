"""`foreword demo`: sends a debate through the pipeline twice and shows what came back; a client like any other."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import islice
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.markup import escape

from gateway.demo_tables import StepLines, at, show_findings, show_runs

_SAMPLE = Path(__file__).parent / "pipelines" / "sample_debate.txt"
_SECTIONS = Path("debates") / "sections.jsonl.gz"
_RUNS = ("first", "second")
_TIMEOUT = aiohttp.ClientTimeout(total=600.0)


class DemoFailed(Exception):
    """The demo cannot go on; the message says why and what would help."""


def demo_main(*, base_url: str, api_key: str, sections: int, data_dir: Path | None) -> int:
    """Run the demo and return the exit code: 0 when every run came back `ok`.

    `base_url` is a gateway that runs (commands/demo.py starts one when none is named). `data_dir` may hold
    debates/sections.jsonl.gz, of which the first `sections` annotated ones are sent; without it the shipped sample is.
    """
    console = Console()
    texts = list(transcripts(data_dir, sections=sections))
    try:
        return _show(console, base_url, api_key, texts)
    except (DemoFailed, aiohttp.ClientError) as error:
        console.print(f"[red]demo failed:[/red] {escape(str(error))}")
        return 1


def transcripts(data_dir: Path | None, *, sections: int) -> Iterator[tuple[str, str]]:
    """Yield (title, transcript): annotated sections of `data_dir` when they are there, else the shipped sample."""
    path = data_dir / _SECTIONS if data_dir is not None else None
    if path is None or not path.is_file():
        yield "shipped sample", _SAMPLE.read_text("utf-8")
        return
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        annotated = (row for row in map(json.loads, lines) if row.get("gold_fallacies"))
        for row in islice(annotated, max(1, sections)):
            yield str(row["id"]), str(row["text"])


async def run_demo(base_url: str, api_key: str, *, title: str, transcript: str, console: Console) -> bool:
    """Run one transcript twice and print what came back; return whether both runs were `ok`. Raises DemoFailed."""
    console.rule(f"[bold]{title}[/bold]: {len(transcript.split())} words")
    runs: list[tuple[str, Mapping[str, object]]] = []
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    async with aiohttp.ClientSession(base_url, headers=headers, timeout=_TIMEOUT) as session:
        for name in _RUNS:
            lines = StepLines(console, f"{name:<6}")
            result: Mapping[str, object] | None = None
            with lines.progress:
                async for event, data in _events(session, {"transcript": transcript, "stream": True}):
                    lines.show(event, data)
                    if event == "pipeline.completed":
                        result = data
            if result is None:
                raise DemoFailed("the stream ended without pipeline.completed; see the gateway's log")
            runs.append((name, result))
    show_findings(console, runs[0][1])
    show_runs(console, runs)
    return all(result.get("status") == "ok" for _, result in runs)


def _show(console: Console, base_url: str, api_key: str, texts: list[tuple[str, str]]) -> int:
    async def all_of_them() -> bool:
        good = [
            await run_demo(base_url, api_key, title=title, transcript=text, console=console) for title, text in texts
        ]
        return all(good)

    return 0 if asyncio.run(all_of_them()) else 1


async def _events(
    session: aiohttp.ClientSession, body: Mapping[str, object]
) -> AsyncIterator[tuple[str, Mapping[str, object]]]:
    """Yield (event name, data) of one streamed run. Raises DemoFailed on an error answer or event."""
    async with session.post("/v1/pipelines/debate", json=body) as response:
        if response.status != 200:
            raise DemoFailed(_said(response.status, await response.text()))
        pending = b""
        async for chunk in response.content.iter_any():
            *events, pending = (pending + chunk).split(b"\n\n")
            for event in events:
                name, data = _parsed(event)
                if "error" in data and not name.startswith("step."):
                    raise DemoFailed(str(at(data, "error", "message")))
                if name:
                    yield name, data


def _parsed(event: bytes) -> tuple[str, Mapping[str, object]]:
    name, data = "", ""
    for line in event.decode("utf-8").split("\n"):
        field, _, value = line.partition(":")
        if field == "event":
            name = value.strip()
        elif field == "data":
            data += value.strip()
    decoded = json.loads(data) if data.startswith("{") else {}
    return name, decoded


def _said(status: int, text: str) -> str:
    try:
        message = at(json.loads(text), "error", "message")
    except json.JSONDecodeError:
        message = None
    return f"the gateway answered {status}: {message or text[:300]}"
