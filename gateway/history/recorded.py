"""Ledger entries as the decisions that policies/replay.py makes again. Must not read anything: it is given both."""

from __future__ import annotations

from functools import partial

import msgspec

from gateway.history.reading import Texts
from gateway.outcome import Outcome
from policies.decision import Decision
from policies.model import RequestFacts, View
from policies.prices import Price
from policies.replay import Recorded
from router.cost import cost_nanousd
from router.types import Usage


def recorded_of(outcome: Outcome, texts: Texts) -> Recorded | None:
    """Return the decision of an entry; None where none was recorded (version 1, refused at the door, a pipeline as a
    whole), or where the catalogue that it names is gone."""
    decision = outcome.decision
    if decision is None or not outcome.policy:
        return None
    view = _view(decision, texts)
    if view is None and decision.view is not None:
        return None
    is_own = decision.view is not None
    return Recorded(
        request_id=outcome.request_id,
        at=outcome.started_at,
        key_id=outcome.key_id,
        policy=outcome.policy,
        policy_version=outcome.policy_version,
        route=outcome.route,
        facts=facts_of(outcome, decision),
        view=view,
        candidates=decision.candidates,
        output_cap=decision.output_cap,
        reason=decision.reason,
        rejected=decision.rejected,
        cache=outcome.cache,
        cache_key=outcome.cache_key,
        age_s=outcome.age_s,
        routed_model=outcome.routed_model,
        spent_nanousd=outcome.cost_nanousd or 0,
        cost_nanousd=outcome.cost_nanousd if is_own else outcome.saved_nanousd,
        cost_at=partial(_cost, outcome.usage),
        total_s=outcome.total_s,
        first_token_s=outcome.first_token_s,
        is_ok=outcome.result == "ok",
        headroom=decision.headroom,
        cut=decision.cut,
        is_warm=outcome.origin == "warmer",
    )


def facts_of(outcome: Outcome, decision: Decision) -> RequestFacts:
    """Return what the policy knew of the request."""
    return RequestFacts(
        dialect=decision.dialect,
        requested_model=outcome.requested_model,
        tenant=outcome.tenant,
        session=outcome.session,
        tags=frozenset(outcome.tags),
        input_tokens=outcome.input_tokens_estimate,
        max_output_tokens=decision.max_output_tokens,
        needs=decision.needs,
        allowed_models=decision.allowed_models,
    )


def _view(decision: Decision, texts: Texts) -> View | None:
    catalogue = texts.catalogues.get(decision.catalogue)
    if decision.view is None or catalogue is None:
        return None
    return msgspec.structs.replace(decision.view, catalogue=catalogue)


def _cost(usage: Usage, price: Price | None) -> int | None:
    return cost_nanousd(price, usage)
