"""What decide.py needs from a selector: an order over models that may all serve the request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from policies.model import ModelCard, Rejection, Warm
from policies.quality import Prediction


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What a request will take: estimated input tokens, and its cap on output tokens (None: no cap).

    On a route with a quality floor also what is predicted of the models, how the learned arm spreads the task's
    requests over them, and a number that is uniform in [0, 1) within the arm that decides. `warm` is who has the
    request's beginning in its prefix cache.
    """

    input_tokens: int
    max_output_tokens: int | None
    prediction: Prediction | None = None
    shares: Mapping[str, float] = {}
    draw: float = 0.0
    warm: Warm | None = None


class Ordering(msgspec.Struct, frozen=True, kw_only=True):
    """Groups, best first, each with the figure it was ordered by ("" where there is none); and who was left out."""

    ranked: tuple[tuple[str, str], ...]
    rejected: tuple[Rejection, ...] = ()


class Selector(Protocol):
    """Orders models that policy allows; pure, total, deterministic."""

    def __call__(self, cards: tuple[ModelCard, ...], demand: Demand) -> Ordering:
        """Return `cards` in order of preference; figures are short ASCII without `<`, `=` or spaces."""
        ...
