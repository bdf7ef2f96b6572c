"""What deploy/ shows and warns of exists: every series, label and recorded name in a query is one the product tells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

import pytest

from gateway.series import COUNTERS, DISTRIBUTIONS, LEVELS
from policies.document import parse
from tests.arch.house import ROOT

RULES: Final = ROOT / "deploy" / "prometheus" / "rules.yml"
DASHBOARD: Final = ROOT / "deploy" / "grafana" / "dashboards" / "foreword.json"
_SERIES: Final = re.compile(r"\b(?:foreword|gen_ai)_[a-z0-9_]+")
_RECORDED: Final = re.compile(r"\bforeword:[a-z0-9_:]+")
_SELECTOR: Final = re.compile(r"\b((?:foreword|gen_ai)_[a-z0-9_]+)\{([^}]*)\}")
_MATCHER: Final = re.compile(r'([a-z_]+)(?:=~|!~|!=|=)"([^"]*)"')
_BY: Final = re.compile(r"\b(?:sum|max) by \(([^)]*)\)")


def _told() -> dict[str, frozenset[str]]:
    """Return the labels of every series by the name that a scrape has."""
    names = {f"{row.name}_total": frozenset(row.labels) for row in COUNTERS}
    names |= {row.name: frozenset(row.labels) for row in LEVELS}
    for row in DISTRIBUTIONS:
        names |= {f"{row.name}_{part}": frozenset(row.labels) for part in ("sum", "count")}
        names[f"{row.name}_bucket"] = frozenset({*row.labels, "le"})
    return names


def _rules() -> list[dict[str, object]]:
    document = parse(RULES.read_text("utf-8"), source=str(RULES)).value
    assert isinstance(document, dict)
    return [rule for group in document["groups"] for rule in group["rules"]]


def _panels() -> list[dict[str, object]]:
    panels: list[dict[str, object]] = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return panels


def _shown() -> Iterator[tuple[str, str]]:
    """Yield (where, query) of everything that deploy/ asks Prometheus."""
    for rule in _rules():
        yield str(rule.get("record") or rule["alert"]), str(rule["expr"])
    for panel in _panels():
        targets = panel.get("targets", [])
        assert isinstance(targets, list)
        for target in targets:
            yield str(panel["title"]), str(target["expr"])


QUERIES: Final = tuple(_shown())


@pytest.mark.parametrize(("where", "query"), QUERIES, ids=[f"{where}-{n}" for n, (where, _) in enumerate(QUERIES)])
def test_a_query_asks_for_what_the_gateway_tells(where: str, query: str) -> None:
    told, recorded = _told(), {str(rule["record"]) for rule in _rules() if "record" in rule}
    asked = [name for name in _SERIES.findall(re.sub(r"\([^()]*\)", _without_labels, query)) if name not in told]
    assert asked == [], where
    assert [name for name in _RECORDED.findall(query) if name not in recorded] == [], where
    for name, matchers in _SELECTOR.findall(query):
        assert {label for label, _ in _MATCHER.findall(matchers)} <= told[name], where
    wanted = {label.strip() for group in _BY.findall(query) for label in group.split(",")}
    assert wanted <= set().union(*(told[name] for name in _SERIES.findall(query) if name in told)), where


def _without_labels(found: re.Match[str]) -> str:
    """Leave out a list of labels, some of which look like series (gen_ai_request_model)."""
    words = [word.strip() for word in found[0][1:-1].split(",")]
    return (
        ""
        if all(re.fullmatch(r"[a-z_]+", word) for word in words) and found.string[: found.start()].endswith("by ")
        else found[0]
    )


def test_the_dashboard_shows_the_four_figures_first_and_names_a_unit_everywhere() -> None:
    panels = [panel for panel in _panels() if panel["type"] != "row"]
    first = [target["expr"] for panel in panels[:4] for target in panel["targets"]]  # type: ignore[attr-defined]
    assert [name.split(":")[1] for name in first] == [
        "interactions",
        "interaction_duration_seconds",
        "interaction_cost_usd",
        "cache_hits",
    ]
    assert [panel["title"] for panel in panels if not panel["fieldConfig"]["defaults"].get("unit")] == []  # type: ignore[index]
    assert len({panel["id"] for panel in _panels()}) == len(_panels())


def test_every_counter_of_something_going_wrong_has_an_alert() -> None:
    asked = " ".join(query for where, query in QUERIES if where.startswith("Foreword"))
    assert [
        name
        for name in (
            "redis_failures",
            "ledger_dropped_entries",
            "policy_reloads",
            "budget_refusals",
            "unpriced_requests",
        )
        if f"foreword_{name}_total" not in asked
    ] == []
