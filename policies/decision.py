"""What a decision was made from and what came of it: enough to make it again, bit for bit.

Small, because every request has one; holds no text and no key. Must not decide anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from policies.model import Capability, Catalogue, Dialect, ModelCard, NoCandidate, Plan, Rejection, RequestFacts, View
from policies.narrowing import Cut, Headroom

_NOTHING: Catalogue = {}
_by_name = msgspec.json.Encoder(order="deterministic")
_cards = msgspec.json.Decoder(dict[str, ModelCard])


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The part of a decision that the rest of a ledger entry does not say.

    `dialect` to `allowed_models` complete RequestFacts. `view` is what `choose` saw, without its catalogue, which is
    kept once under the fingerprint `catalogue`; None where the cache answered and nothing had to be chosen.
    `candidates` is empty where no model might serve. `reason` is the decision's own, whatever was made of it later.
    `headroom` is what its budgets had left, None where none was asked; `cut` what they took off the plan.
    """

    dialect: Dialect = "chat"
    max_output_tokens: int | None = None
    needs: frozenset[Capability] = frozenset()
    allowed_models: frozenset[str] | None = None
    view: View | None = None
    catalogue: str = ""
    candidates: tuple[str, ...] = ()
    output_cap: int | None = None
    reason: str = ""
    rejected: tuple[Rejection, ...] = ()
    headroom: Headroom | None = None
    cut: Cut | None = None


def decision_of(facts: RequestFacts) -> Decision:
    """Return the record of a request for which nothing was chosen."""
    return Decision(
        dialect=facts.dialect,
        max_output_tokens=facts.max_output_tokens,
        needs=facts.needs,
        allowed_models=facts.allowed_models,
    )


def decided(facts: RequestFacts, view: View, made: Plan | NoCandidate, *, catalogue: str) -> Decision:
    """Return the record of a choice; `catalogue` is the fingerprint of `view.catalogue`."""
    return Decision(
        dialect=facts.dialect,
        max_output_tokens=facts.max_output_tokens,
        needs=facts.needs,
        allowed_models=facts.allowed_models,
        view=msgspec.structs.replace(view, catalogue=_NOTHING),
        catalogue=catalogue,
        candidates=made.candidates if isinstance(made, Plan) else (),
        output_cap=made.max_output_tokens if isinstance(made, Plan) else None,
        reason=made.reason if isinstance(made, Plan) else "",
        rejected=made.rejected,
    )


def budgeted(decision: Decision, headroom: Headroom, cut: Cut | None) -> Decision:
    """Return the record with what budgets had left for the plan, and what they took off it."""
    return msgspec.structs.replace(decision, headroom=headroom, cut=cut)


def catalogue_text(catalogue: Catalogue) -> bytes:
    """Return a catalogue as JSON, the same bytes for the same cards."""
    return _by_name.encode(dict(catalogue))


def catalogue_of(text: bytes) -> Mapping[str, ModelCard]:
    """Return the catalogue of such a text. Raises ValueError where it is none."""
    return _cards.decode(text)


def fingerprint(text: bytes) -> str:
    """Return the first 12 hex digits of a SHA-256, the form of every version here."""
    return hashlib.sha256(text).hexdigest()[:12]
