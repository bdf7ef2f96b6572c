"""What was claimed of the product before there was one, beside what the rows of `make report-card` gave."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from tests.bench.report_card_rows import CONCURRENT
from tests.bench.report_card_score import Card


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One claim. `measured` names the row that was judged and the first one that reaches what was wanted."""

    what: str
    wanted: str
    measured: str
    verdict: str


def claims(cards: Sequence[Card]) -> tuple[Claim, ...]:
    """Judge every claim against the first row, with everything that is on in the last one; parallel by itself."""
    built = [card for card in cards if card.is_built]
    base = built[0]
    judged = (
        _claim("P95 per interaction", built, lambda card: card.change["p95"].value, wanted=-0.25),
        _claim("cost per interaction", built, lambda card: card.change["cost"].value, wanted=-0.10),
        _claim("hit rate, in points", built, lambda card: card.hit_share - base.hit_share, wanted=0.15, unit="points"),
        _claim("interactions a second", built, lambda card: _gain(card, base), wanted=0.20),
    )
    return (*judged, _parallel(built))


def _gain(card: Card, base: Card) -> float:
    return card.rate / base.rate - 1.0 if base.rate else 0.0


def _claim(what: str, built: Sequence[Card], value: Callable[[Card], float], *, wanted: float,
           unit: str = "%") -> Claim:  # fmt: skip
    def reaches(card: Card) -> bool:
        return value(card) <= wanted if wanted < 0 else value(card) >= wanted

    first = next((card for card in built if reaches(card)), None)
    where = f"first reached by “{first.row}” ({100 * value(first):+.0f} {unit})" if first else "reached by no row"
    return Claim(
        what=what,
        wanted=f"{100 * wanted:+.0f} {unit}",
        measured=f"“{built[-1].row}” {100 * value(built[-1]):+.0f} {unit}; {where}",
        verdict="met" if reaches(built[-1]) else "short",
    )


def _parallel(built: Sequence[Card]) -> Claim:
    """The claim of running independent steps at once, judged by throughput as it was made, with its P95 beside it."""
    parallel = next((card for card in built if card.row == CONCURRENT.name), None)
    if parallel is None:
        return Claim(what="steps in parallel", wanted="+30 %", measured="the row was not measured", verdict="unknown")
    base = built[0]
    gain = _gain(parallel, base)
    return Claim(
        what="interactions a second, by running independent steps in parallel",
        wanted="+30 %",
        measured=f"“{parallel.row}” {100 * gain:+.0f} %; its P95 {100 * parallel.change['p95'].value:+.0f} %",
        verdict="met" if gain >= 0.30 else "short",
    )
