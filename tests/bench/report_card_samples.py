"""What `make report-card` reads off the gateway's /metrics: sums over labels, asks, and the tiers that answered them.

Must not scrape.
"""

from __future__ import annotations

from collections.abc import Mapping

Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


def total(samples: Samples, name: str) -> float:
    """Return the sum over all labels."""
    return sum(value for (found, _), value in samples.items() if found == name)


def summed(samples: Samples, name: str, *, by: str) -> dict[str, float]:
    """Return the sums by one label, those that are not zero."""
    sums: dict[str, float] = {}
    for (found, labels), value in samples.items():
        if found == name and value:
            sums[dict(labels)[by]] = sums.get(dict(labels)[by], 0.0) + value
    return sums


def asks_of(samples: Samples) -> dict[str, float]:
    """Return what users and pipeline steps asked of models, by cache status; a pipeline run itself asks nothing."""
    asks = {
        key: value
        for key, value in samples.items()
        if key[0] == "foreword_requests_total"
        and dict(key[1])["origin"] in ("user", "pipeline")
        and dict(key[1])["route"] != "none"
    }
    return summed(asks, "foreword_requests_total", by="cache")


def tiers_of(samples: Samples) -> dict[str, float]:
    """Return how many asks which tier answered. Look-ups are counted of warms too, which find segments of transcripts
    that have grown: what users' asks do not account for is theirs."""
    asks = asks_of(samples)
    hits = {
        dict(key[1])["tier"]: value
        for key, value in samples.items()
        if key[0] == "foreword_cache_lookups_total" and dict(key[1])["result"] == "hit"
    }
    exact = hits.get("memory", 0.0) + hits.get("redis", 0.0)
    return {
        "exact": exact,
        "segment": min(hits.get("segment", 0.0), asks.get("hit", 0.0) - exact),
        "joined": asks.get("joined", 0.0),
        "semantic": asks.get("semantic-hit", 0.0),
    }
