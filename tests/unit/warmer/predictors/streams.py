"""Requests for the predictors' tests."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from tests.unit.warmer.warmer_bench import event
from warmer.types import Event


def at_random(key: str, *, from_s: float, to_s: float, every_s: float, seed: int = 1) -> Iterator[Event]:
    """Yield requests for `key` that come independently of each other."""
    rng, now_s = random.Random(seed), from_s
    while (now_s := now_s + rng.expovariate(1 / every_s)) < to_s:
        yield event(key, now_s)


def posted(session: str, attachment: str, speakers: tuple[str, ...], at_s: float) -> Event:
    """Return a run over a transcript."""
    like = replace(event(), kind="run", session=session, attachment=attachment, speakers=speakers)
    return event(f"run {attachment}", at_s, like=like)


def about(run: Event, question: str, at_s: float) -> Event:
    """Return a question about the transcript of `run`, in its session."""
    like = replace(run, kind="chat", question=question)
    return event(f"{question} {run.attachment}", at_s, like=like)
