"""The rows of `make report-card`, each with one thing more than the one before, and the policy that makes it so.

Must not start anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from policies.durations import duration_text
from tests.bench.report_card_week import MODEL

SMALL = "gpt-5-mini"
CHAT_TTL_S = 86_400.0
STEP_TTL_S = 30 * 86_400.0
SEMANTIC = "{wrong_per_hit: 0.05, wrong_per_request: 0.005}"
HEDGE = "{after: p95, max: 1, budget_ratio: 0.05}"
FLOOR, FALLACY_FLOOR = 0.9, 0.97
# What is good enough is the operator's word, as in policies/debate-bot.yaml: nothing here measures an answer's quality.
PRIORS = f"""
models:
  small: {{group: {SMALL}, quality_prior: {{fallacy: 0.84, any: 0.93}}}}
  large: {{group: {MODEL}, reference: true, quality_prior: {{fallacy: 0.92, any: 0.95}}}}
"""
WARMING = "limit_usd_day: 1000, max_share_of_spend: 0.5, tier: flex, wait_value_usd: 0, holdout: 0.05"
"""Waiting is worth nothing on purpose: only what is likely enough to save money at the flex tier's price is warmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: what is on. `is_sequential`: the bot asks for one pipeline step after the other."""

    name: str
    is_sequential: bool = False
    exact: bool = False
    semantic: bool = False
    warming: bool = False
    routing: bool = False
    hedging: bool = False

    def policy(self, *, arrivals: float, places: int | None = None) -> str:
        """Return the policy file; times to live are divided by `arrivals`, by which the week is compressed.

        `places` are what the provider takes at once, where the operator knows: warms may have half of them."""
        bound = "" if places is None else f", max_in_flight: {places // 2}"
        warming = f"warming: {{{WARMING}{bound}}}\n" if self.warming else ""
        models = PRIORS if self.routing else ""
        routes = (
            ("fallacy", "{tag: task=fallacy}", FALLACY_FLOOR, STEP_TTL_S, False),
            ("task", "{tag: task=*}", FLOOR, STEP_TTL_S, False),
            ("chat", "{any: true}", FLOOR, CHAT_TTL_S, self.semantic),
        )
        text = "".join(
            self._route(name, match, floor, ttl_s=ttl_s / arrivals, semantic=semantic)
            for name, match, floor, ttl_s, semantic in routes
        )
        return f"version: 1\npolicy: default\n{warming}{models}routes:\n{text}"

    def _route(self, name: str, match: str, floor: float, *, ttl_s: float, semantic: bool) -> str:
        ttl = duration_text(round(ttl_s, 3)) if self.exact else "0"
        cache = f"exact_ttl: {ttl}, max_temperature: null" + (f", semantic: {SEMANTIC}" if semantic else "")
        lines = [
            f"- name: {name}",
            f"  match: {match}",
            f"  candidates: [{'small, large' if self.routing else 'requested'}]",
            "  deadline: 600s",
            "  assemble: true",
            "  on_cut: hold",
            f"  cache: {{{cache}}}",
        ]
        if self.routing:
            lines.append(
                f"  objective: {{minimise: cost, quality: {{floor: {floor}, of: reference, confidence: 0.9}}}}"
            )
            lines.append(
                "  selector: {type: quality_floor, k: 100, min_similarity: 0.55, below: reference, control: 0.03}"
            )
        if self.hedging:
            lines.append(f"  hedge: {HEDGE}")
        return "".join(f"  {line}\n" for line in lines)


BASELINE = Row(name="sequential, no cache", is_sequential=True)
CONCURRENT = Row(name="concurrent steps")
ROWS = (
    BASELINE,
    CONCURRENT,
    Row(name="+ exact, segment, joined", exact=True),
    Row(name="+ semantic", exact=True, semantic=True),
    Row(name="+ warming (flex tier)", exact=True, semantic=True, warming=True),
    Row(name="+ routing", exact=True, semantic=True, warming=True, routing=True),
    Row(name="+ hedging", exact=True, semantic=True, warming=True, routing=True, hedging=True),
)


def models_yaml(port: int) -> str:
    """Return the models file: two deployments of each model, so that a hedge has somewhere else to go."""
    rows = [
        f"  - {{model_name: {model}, litellm_params: {{model: openai/{model}, api_key: sk-card-{number}, "
        f'api_base: "http://127.0.0.1:{port}/v1"}}}}\n'
        for model in (MODEL, SMALL)
        for number in range(2)
    ]
    return f"model_list:\n{''.join(rows)}"
