"""RouteLLM's per-prompt qualities and costs of two models, and vectors of the prompts, cached outside the project.

Reads FOREWORD_DATA (default ../shared/data); vectors go to FOREWORD_BENCH_CACHE (default: a temporary folder).
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gateway.cache.semantic.types import Embedded
from gateway.clock import SystemClock
from gateway.embedder.hashing import HashingEncoder
from gateway.embedder.minilm import MiniLM
from gateway.settings import process_environment

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]

STRONG, WEAK = "gpt-4-1106-preview", "mistralai/Mixtral-8x7B-Instruct-v0.1"
NAMES = ("mmlu", "gsm8k", "mtbench")
_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """One data set: qualities from 0 to 1 and USD by prompt; costs are 1 (strong) and 0 (weak) where none are known."""

    name: str
    texts: tuple[str, ...]
    tasks: tuple[str, ...]
    strong: Floats
    weak: Floats
    strong_usd: Floats
    weak_usd: Floats
    has_costs: bool

    @property
    def gap(self) -> Floats:
        """What the strong model's answer is better by."""
        return self.strong - self.weak


def data_folder() -> Path:
    """Return where the data are, whether they exist or not."""
    return Path(process_environment().get("FOREWORD_DATA", "../shared/data")) / "routing"


def load(name: str) -> Prompts | None:
    """Read one data set, None where it is missing."""
    path = data_folder() / f"routellm_{name}_wide.csv.gz"
    if not path.exists():
        return None
    with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    has_costs = all(row[f"{STRONG}|cost_usd"] for row in rows)

    def column(which: str, default: float = 0.0) -> Floats:
        return np.array([float(row[which] or default) for row in rows])

    return Prompts(
        name=name,
        texts=tuple(row["prompt"] for row in rows),
        tasks=tuple(row["task"] for row in rows),
        strong=column(f"{STRONG}|quality"),
        weak=column(f"{WEAK}|quality"),
        strong_usd=column(f"{STRONG}|cost_usd") if has_costs else np.ones(len(rows)),
        weak_usd=column(f"{WEAK}|cost_usd") if has_costs else np.zeros(len(rows)),
        has_costs=has_costs,
    )


def cache_folder() -> Path:
    """Return, and make, the folder of the vectors."""
    default = Path(tempfile.gettempdir()) / "foreword-bench-routing"
    folder = Path(process_environment().get("FOREWORD_BENCH_CACHE", str(default)))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def vectors_of(prompts: Prompts, kind: str) -> Vectors:
    """Return float32[n, 384], rows of NaN for prompts beyond the window; made once (MiniLM: 15 minutes of a core)."""
    digest = hashlib.sha256("\0".join(prompts.texts).encode()).hexdigest()[:12]
    path = cache_folder() / f"{prompts.name}-{kind}-{digest}.npy"
    if path.exists():
        found: Vectors = np.load(path)
        return found
    made = _hashed(prompts) if kind == "hashed" else _minilm(prompts)
    np.save(path, made)
    return made


def _hashed(prompts: Prompts) -> Vectors:
    encoder = HashingEncoder()
    rows = np.full((len(prompts.texts), encoder.dim), np.nan, np.float32)
    for at, text in enumerate(prompts.texts):
        (found,) = encoder.encode([text])
        if isinstance(found, Embedded):
            rows[at] = found.vector
    return rows


def _minilm(prompts: Prompts) -> Vectors:
    model = MiniLM.load(cache_folder())
    tokens = [model.tokens_of(text) for text in prompts.texts]
    order = sorted(range(len(tokens)), key=lambda at: len(tokens[at]))
    rows = np.full((len(tokens), model.dim), np.nan, np.float32)
    clock = SystemClock()
    started = clock.monotonic()
    for begin in range(0, len(order), _BATCH):
        part = order[begin : begin + _BATCH]
        for at, found in zip(part, model.encode_tokens([tokens[at] for at in part]), strict=True):
            if isinstance(found, Embedded):
                rows[at] = found.vector
        done = f"{begin + len(part)} of {len(order)} embedded, {clock.monotonic() - started:.0f} s"
        sys.stderr.write(f"  {prompts.name}: {done}\n")
    return rows
