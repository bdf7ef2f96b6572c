"""The semantic tier's hard partition: SHA-256 over everything of a request but the question that is matched.

Two questions are compared only within one scope; nothing of it is ever text inside a vector (cache.md, "Scope").
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec
import orjson

from gateway.cache.key import FORMAT, canonical, effective
from gateway.cache.semantic.eligibility import Question
from gateway.cache.semantic.guards import GUARD_VERSION
from policies.model import RouteClass

_SCOPE: Final = b"semantic/1\0"
_PLACEHOLDER: Final = "\0question"


class Partition(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What divides scopes beside the request and its route.

    `embedder_id` names weights and precision; `arm` the rollout arm ('' outside a rollout); `template_id` a pipeline's
    version and step; `epoch` the answer class's, which an invalidation raises beside the route's own.
    """

    embedder_id: str
    arm: str = ""
    template_id: str = ""
    epoch: int = 0


def scope_of(
    document: Mapping[str, object], route_class: RouteClass, *, question: Question, partition: Partition
) -> str:
    """Return the scope (hexadecimal) of a request whose eligible question is `question`."""
    facts, route = route_class.facts, route_class.route
    kept = effective(document, route.cache)
    messages = kept["messages"]
    assert isinstance(messages, list)
    *history, last = messages
    kept["messages"] = [*history, {**last, "content": _PLACEHOLDER}]
    divided = [
        facts.tenant,
        facts.dialect,
        facts.requested_model,
        route_class.policy,
        route.name,
        route.epoch,
        partition.epoch,
        partition.arm,
        partition.template_id,
        partition.embedder_id,
        GUARD_VERSION,
        attachment_hash(question.attachment),
        document.get("user") if route.cache.partition_by_user else None,
    ]
    digest = hashlib.sha256(FORMAT + _SCOPE)
    digest.update(orjson.dumps(divided))
    digest.update(canonical(kept))
    return digest.hexdigest()


def attachment_hash(attachment: str) -> str:
    """Return the SHA-256 (hexadecimal) by which an attached text is named, in scopes and in invalidations."""
    return hashlib.sha256(attachment.encode("utf-8", "surrogatepass")).hexdigest() if attachment else ""
