"""What a step of the warmer did, as values: for metrics, and for those who announced something. Must not compute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from warmer.judge import Verdict
from warmer.types import Level, PredictorName, Recipe

Result = Literal[
    "warmed",  # an answer, or a prefix, is in its cache now
    "not_kept",  # asked and paid, but nothing is kept
    "not_asked",  # chosen, but nobody was asked: its text is gone, or somebody asks the same now
    "no_room",  # chosen, but users have the places now; it is tried again soon
    "fresh",  # the cache has it
    "unknown",  # it cannot be priced: its text is gone, or warming it is not allowed
    "not_worth",  # its chance is too small for its price
    "held_out",  # its key is one of those that are never warmed, to measure what warming is good for
    "stopped",  # its predictor is not precise enough now
    "crowded_out",  # what is warm already is hotter
    "no_budget",
    "off",  # warming was switched off meanwhile
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """One prediction that was priced, and what came of it. `key` is empty where it could not be."""

    tenant: str
    recipe: Recipe
    predictor: PredictorName
    level: Level
    result: Result
    probability: float
    key: str = ""
    cost_nanousd: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Whether a predictor may spend for a tenant now, its precision's lower bound (90 %), and the ratio it must
    reach."""

    tenant: str
    predictor: PredictorName
    level: Level
    verdict: Verdict
    precision_low: float
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """One step: `events` read for the first time, what was considered, and whose answers made room (tenant, key).

    `is_at_end` False: there is more history to read first, and nothing was asked.
    """

    events: int
    newest_at_s: float | None
    is_at_end: bool
    considered: tuple[Considered, ...] = ()
    displaced: tuple[tuple[str, str], ...] = ()
