from __future__ import annotations

from policies.decision import catalogue_of, catalogue_text, fingerprint
from policies.load import load_policy
from tests.unit.policies.examples import MINIMAL, card, catalogue, price


def test_a_catalogue_comes_back_from_its_text_which_no_order_changes() -> None:
    one = card("a", price(1, 2), can=("tools", "vision", "json_schema", "logprobs"))
    two = card("b", can=("logprobs", "json_schema", "vision", "tools"))
    text = catalogue_text(catalogue(one, two))
    assert catalogue_of(text) == catalogue(one, two)
    assert catalogue_text(catalogue(two, one)) == text
    assert fingerprint(text) != fingerprint(catalogue_text(catalogue(one)))


def test_a_policys_version_is_its_texts_fingerprint() -> None:
    policy = load_policy(MINIMAL, source="x.yaml", groups=None)
    assert (policy.text, policy.version) == (MINIMAL, fingerprint(MINIMAL.encode()))
