"""The demo's live lines and tables; draws what a `pipeline.result` says and measures nothing itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

Json = Mapping[str, object]


def at(value: object, *path: str) -> object:
    """Return the member of nested mappings at `path`, None where there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def rows(value: object) -> list[Json]:
    """Return the mappings in a list."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def number(value: object) -> float:
    """Return a JSON number, 0 for anything else."""
    return float(value) if isinstance(value, int | float) else 0.0


class StepLines:
    """One live line per step: the owner of rich's progress display."""

    def __init__(self, console: Console, title: str) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.fields[title]} {task.description:<10}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f} segments"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self.progress = Progress(*columns, console=console)
        self._title = title
        self._lines: dict[str, TaskID] = {}

    def show(self, name: str, data: Json) -> None:
        """Draw one event of the run."""
        step = str(data.get("step", ""))
        if name == "step.started":
            self._lines[step] = self.progress.add_task(
                step, total=number(data.get("segments")), title=self._title, note="asked"
            )
        line = self._lines.get(step)
        if line is None:
            return
        if name == "step.delta" and data.get("stage") == "segment":
            self.progress.update(line, advance=1)
        elif name == "step.delta":
            self.progress.update(line, note="answering")
        elif name == "step.completed":
            note = f"{data.get('status')}, cache {_cache(data)}"
            self.progress.update(line, completed=number(data.get("segments")), note=note)
            self.progress.stop_task(line)


def show_findings(console: Console, result: Json) -> None:
    """Print topics, claims and fallacies with their speakers and quotes."""
    analysis = at(result, "steps", "analysis", "result")
    topics = ", ".join(str(topic.get("name")) for topic in rows(at(analysis, "topics")))
    console.print(f"[bold]Topics[/bold]  {escape(topics) or 'none found'}")
    claims = Table(title="Claims", title_justify="left", show_lines=False)
    for name in ("speaker", "quote", "topic", "stance", "sentiment"):
        claims.add_column(name, overflow="fold", ratio=5 if name == "quote" else None)
    for claim in rows(at(analysis, "claims")):
        claims.add_row(*(_cell(claim, name) for name in ("speaker", "quote", "topic", "stance", "sentiment")))
    fallacies = Table(title="Fallacies", title_justify="left", show_lines=False)
    for name in ("class", "speaker", "quote", "span", "confidence"):
        fallacies.add_column(name, overflow="fold", ratio=5 if name == "quote" else None)
    for item in rows(at(result, "steps", "fallacy", "result", "fallacies")):
        span = f"{number(at(item, 'span', 'start')):.0f}–{number(at(item, 'span', 'end')):.0f}"
        confidence = f"{number(item.get('confidence')):.2f}"
        fallacies.add_row(_cell(item, "class"), _cell(item, "speaker"), _cell(item, "quote"), span, confidence)
    console.print(claims, fallacies)


def show_runs(console: Console, runs: Sequence[tuple[str, Json]]) -> None:
    """Print what each run took and cost, step by step, one row per run and step, and its totals."""
    # Narrow enough for 80 columns: a cost that is cut to 0.00… says nothing.
    table = Table(title="Runs", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("run", "step", "status", "cache"):
        table.add_column(name, no_wrap=True)
    for name in ("wall s", "tokens in/out", "cost USD"):
        table.add_column(name, justify="right", no_wrap=True)
    for title, result in runs:
        steps = result.get("steps")
        for name, step in steps.items() if isinstance(steps, Mapping) else ():
            table.add_row(title, str(name), str(at(step, "status")), _cache(step), *_figures(step))
        table.add_row(
            title, "[bold]wall time[/bold]", str(result.get("status")), "", f"{number(result.get('wall_s')):.3f}"
        )
        total = f"{number(result.get('sum_of_steps_s')):.3f}"
        table.add_row(title, "[bold]sum of steps[/bold]", "", "", total, end_section=True)
    console.print(table)
    for title, result in runs:
        wall_s, sum_s = number(result.get("wall_s")), number(result.get("sum_of_steps_s"))
        cost = result.get("cost_usd")
        console.print(
            f"{title}: wall {wall_s:.3f} s, one step after the other {sum_s:.3f} s; "
            f"{number(at(result, 'usage', 'prompt_tokens')):.0f} tokens in, "
            f"{number(at(result, 'usage', 'completion_tokens')):.0f} out; "
            f"cost {'unknown' if cost is None else f'{number(cost):.6f} USD'}, "
            f"saved {number(result.get('saved_usd')):.6f} USD; {_dropped(result):.0f} quote(s) dropped"
        )
        if result.get("simulated"):
            console.print(f"{title}: [yellow]simulated[/yellow]: no language model read the transcript")


def _dropped(result: Json) -> float:
    steps = result.get("steps")
    return sum(number(at(step, "dropped_quotes")) for step in (steps.values() if isinstance(steps, Mapping) else ()))


def _figures(step: object) -> tuple[str, ...]:
    tokens = f"{number(at(step, 'tokens', 'input')):.0f}/{number(at(step, 'tokens', 'output')):.0f}"
    cost = at(step, "cost_usd")
    return (
        f"{number(at(step, 'timings', 'wall_s')):.3f}",
        tokens,
        "unknown" if cost is None else f"{number(cost):.6f}",
    )


def _cache(step: object) -> str:
    tiers = at(step, "cache", "tiers")
    counts = tiers if isinstance(tiers, Mapping) else {}
    shown = ", ".join(f"{'called' if tier == 'none' else tier} {count}" for tier, count in counts.items())
    return shown or "-"


def _cell(item: Json, name: str) -> str:
    value = str(item.get(name, ""))
    return escape(" ".join(value.split()) if name == "quote" else value.replace("_", " "))
