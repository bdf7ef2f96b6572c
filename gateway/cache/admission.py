"""Which answers may enter the exact tier, and which stored ones may still be served. Pure; key.is_storable is the
request's side of the same question (cache.md, "Who may enter").
"""

from __future__ import annotations

import orjson

from gateway.cache.codec import StoredAnswer, assemble
from gateway.cache.flight import Flight
from policies.model import REQUESTED, Catalogue, RouteClass
from router.types import ChatRequest, Finished

_NORMAL_FINISH = frozenset({"stop", "tool_calls", "function_call"})


def may_serve(answer: StoredAnswer, route_class: RouteClass, catalogue: Catalogue) -> bool:
    """Whether the route and the key still allow the model that made this answer.

    A simulated answer ends with the simulation: nobody who has set a provider's key wants last hour's pretence.
    """
    facts, route = route_class.facts, route_class.route
    card = catalogue.get(answer.routed_model)
    if answer.is_simulated and not (card is not None and card.is_simulated):
        return False
    if facts.allowed_models is not None and answer.routed_model not in facts.allowed_models:
        return False
    model, aliases = answer.routed_model, route_class.aliases
    for name in (*route.candidates, *route.fallbacks):
        if model == (facts.requested_model if name == REQUESTED else aliases.get(name, name)):
            return True
    return False


def may_join(flight: Flight, route_class: RouteClass) -> bool:
    """Whether the key allows every model that may answer the call; keys of one tenant differ in that."""
    allowed = route_class.facts.allowed_models
    return allowed is None or flight.groups <= allowed


def is_good(request: ChatRequest, flight: Flight, finished: Finished) -> bool:
    """Whether an answer may enter the cache: complete, finished normally, not empty, JSON where JSON was asked."""
    if not flight.is_whole:
        return False
    if request.dialect == "embeddings":
        return finished.body is not None
    if not finished.finish_reasons or not set(finished.finish_reasons) <= _NORMAL_FINISH:
        return False
    if finished.usage.output_tokens == 0 and not finished.usage.is_estimated:
        return False
    asked = request.document.get("response_format")
    if isinstance(asked, dict) and asked.get("type") in ("json_object", "json_schema"):
        return _is_json(finished.body or assemble(flight.blocks(), usage=finished.usage))
    return True


def _is_json(body: bytes) -> bool:
    """Whether every choice's content is JSON; False for a body of a shape that no client could read either."""
    try:
        choices = orjson.loads(body)["choices"]
        for choice in choices:
            orjson.loads(choice["message"]["content"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return False
    return True
