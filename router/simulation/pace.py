"""How long a simulated model takes: lognormal waits that depend on the model it stands for; never sleeps itself."""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass

_Z95 = 1.6449  # standard normal quantile: p95 = median * exp(sigma * z)
_GAP_SIGMA = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Seconds to the first token (median and 95th percentile) and median output tokens a second."""

    first_token_median_s: float
    first_token_p95_s: float
    tokens_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """One answer's waits, in seconds."""

    first_token_s: float
    token_gap_s: float


FLEX_FIRST_TOKEN, FLEX_GAP = 3.0, 1.5
"""How much slower the cheap tier is taken to be; providers promise no figure, and this is no measurement of theirs."""

# Orders of magnitude of public latency dashboards, first match wins; not a measurement of any provider.
_PROFILES: tuple[tuple[re.Pattern[str], Profile], ...] = (
    (
        re.compile(r"embed"),
        Profile(first_token_median_s=0.12, first_token_p95_s=0.35, tokens_per_s=10_000.0),
    ),
    (
        re.compile(r"(^|[/\-_.])(o[134]|r1|reason\w*|thinking)([\-_.]|$)"),
        Profile(first_token_median_s=4.0, first_token_p95_s=12.0, tokens_per_s=90.0),
    ),
    (
        re.compile(r"mini|nano|haiku|flash|lite|small|instant|\b[1-9]b\b"),
        Profile(first_token_median_s=0.40, first_token_p95_s=1.0, tokens_per_s=110.0),
    ),
)
_OTHER = Profile(first_token_median_s=0.70, first_token_p95_s=1.8, tokens_per_s=65.0)


def profile_of(model: str) -> Profile:
    """Return the profile of the model that is stood for."""
    name = model.lower()
    return next((profile for pattern, profile in _PROFILES if pattern.search(name)), _OTHER)


def pace_of(model: str, *, rng: random.Random, scale: float, tier: str = "") -> Pace:
    """Draw one answer's pace at a service tier; `scale` multiplies every wait, 0 means none."""
    profile = profile_of(model)
    sigma = math.log(profile.first_token_p95_s / profile.first_token_median_s) / _Z95
    first_token_s = profile.first_token_median_s * math.exp(rng.gauss(0.0, sigma))
    token_gap_s = math.exp(rng.gauss(0.0, _GAP_SIGMA)) / profile.tokens_per_s
    if tier == "flex":
        first_token_s, token_gap_s = first_token_s * FLEX_FIRST_TOKEN, token_gap_s * FLEX_GAP
    return Pace(first_token_s=first_token_s * scale, token_gap_s=token_gap_s * scale)
