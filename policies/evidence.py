"""What has been learnt of models' quality, as plain data that `choose` may look at and that the ledger records.

Gateway counts and finds neighbours (gateway/knowledge); nothing here reads a clock or a vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Arm = Literal["", "fixed", "learned", "control"]
"""Who decided: the task's means, the neighbours of the question, or a shuffle; "" on a route without a floor."""


class Labels(msgspec.Struct, frozen=True):
    """Judged answers of one model: their decayed number, and the sum of their qualities (0 to 1) at those weights."""

    n: float = 0.0
    total: float = 0.0


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What snapshot `version` knows for one request: labels by model group over its task, and near its question.

    `near` is None where there was no vector or nothing labelled to compare it with, and holds no row for a model that
    nobody has judged on a similar question. `shares` is how the learned arm has spread this task's requests over the
    models; `uplift_low` the lower end of the interval of its gain in quality over a shuffle at the same cost.
    """

    version: str = ""
    task: Mapping[str, Labels] = {}
    near: Mapping[str, Labels] | None = None
    shares: Mapping[str, float] = {}
    uplift_low: float | None = None

    @property
    def is_proven(self) -> bool:
        """Whether the learned arm is known to gain something: its interval lies above zero."""
        return self.uplift_low is not None and self.uplift_low > 0.0


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """A model's recent 95th percentiles in ms, None where too few calls were measured."""

    p95_first_token_ms: float | None = None
    p95_total_ms: float | None = None


NOTHING = Evidence()
"""Before anything was learnt: the priors of the policy file are all there is."""
