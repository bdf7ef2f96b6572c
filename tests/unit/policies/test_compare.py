from __future__ import annotations

from policies.compare import KeyChange, changes, keys_of
from tests.unit.policies.test_rules import EVERYTHING


def keys(text: str) -> dict[str, str]:
    return keys_of(text, source="f.yaml")


def test_a_file_does_not_differ_from_itself_nor_from_its_defaults_written_out() -> None:
    assert changes(keys(EVERYTHING), keys(EVERYTHING)) == ()
    written = EVERYTHING.replace("selector: {type: quality_floor, ", "selector: {type: quality_floor, control: 0.03, ")
    assert changes(keys(EVERYTHING), keys(written)) == ()


def test_every_kind_of_edit_is_shown_by_its_key() -> None:
    for before, after, change in (
        ("floor: 0.97", "floor: 0.9", KeyChange(key="routes.fallacy.objective.quality.floor", old="0.97", new="0.9")),
        ("limit_usd: 20,", "limit_usd: 30,", KeyChange(key="budgets[0].limit_usd", old="20", new="30")),
        ("any: 0.99", "any: 0.98", KeyChange(key="models.small.quality_prior.any", old="0.99", new="0.98")),
        ("sticky: session", "sticky: none", KeyChange(key="defaults.sticky", old="session", new="none")),
        ("salt: a", "salt: b", KeyChange(key="rollout.salt", old="a", new="b")),
        ("action: pause", "action: rollback", KeyChange(key="rollout.guard[1].action", old="pause", new="rollback")),
        ("models: [small], max", "models: [weak], max", KeyChange(key="shadow.models", old="[small]", new="[weak]")),
        ("gt: 120", "gt: 90", KeyChange(key="routes.fallacy.tier.when.deadline_s.gt", old="120", new="90")),
        (
            "below_floor: true}, ",
            "below_floor: true}, large, ",
            KeyChange(key="routes.fallacy.fallbacks[1]", old="-", new="large"),
        ),
    ):
        assert before in EVERYTHING
        assert change in changes(keys(EVERYTHING), keys(EVERYTHING.replace(before, after)))


def test_a_route_that_is_added_or_moved_is_the_only_difference() -> None:
    more = EVERYTHING.replace(
        "  - {name: rest,", "  - {name: new, match: {tag: a=b}, candidates: [small]}\n  - {name: rest,"
    )
    found = {
        change.key.split(".")[1] if "." in change.key else change.key
        for change in changes(keys(EVERYTHING), keys(more))
    }
    assert found == {"routes (order)", "new"}
