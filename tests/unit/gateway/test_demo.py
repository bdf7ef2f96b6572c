"""The demo takes real sections where they are, else the shipped sample, and draws whatever a result holds."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

from rich.console import Console

from gateway.demo import transcripts
from gateway.demo_tables import show_findings, show_runs


def test_without_data_the_shipped_sample_is_sent(tmp_path: Path) -> None:
    for data_dir in (None, tmp_path):
        ((title, text),) = transcripts(data_dir, sections=3)
        assert title == "shipped sample"
        assert text.startswith("MODERATOR:")


def test_the_first_annotated_sections_are_sent(tmp_path: Path) -> None:
    rows = [{"id": str(at), "text": f"ANN: {at}", "gold_fallacies": [1] if at % 2 else []} for at in range(8)]
    (tmp_path / "debates").mkdir()
    with gzip.open(tmp_path / "debates" / "sections.jsonl.gz", "wt") as lines:
        lines.write("\n".join(map(json.dumps, rows)))
    assert list(transcripts(tmp_path, sections=2)) == [("1", "ANN: 1"), ("3", "ANN: 3")]


def test_eighty_columns_show_every_figure_in_full() -> None:
    step = {
        "status": "partial",
        "cache": {"tiers": {"segment": 12}},
        "cost_usd": 0.001234,
        "tokens": {"input": 12345, "output": 6789},
        "timings": {"wall_s": 12.345},
    }
    result = {"status": "partial", "steps": {"analysis": step}, "wall_s": 9.876, "sum_of_steps_s": 12.345}
    console = Console(file=io.StringIO(), width=80)
    show_findings(console, {"steps": {"analysis": {"status": "failed"}}})
    show_runs(console, [("first", result)])
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert all(each in shown for each in ("0.001234", "12345/6789", "segment 12", "9.876", "12.345", "partial"))
