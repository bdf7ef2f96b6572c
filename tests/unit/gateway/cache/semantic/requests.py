"""Chat requests and routes for the semantic tier's tests."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from policies.model import CacheRules, Match, RequestFacts, Route, RouteClass
from router.types import ChatRequest


def chat(document: Mapping[str, object]) -> ChatRequest:
    return ChatRequest(
        dialect="chat",
        body=orjson.dumps(document),
        document=document,
        requested_model=str(document.get("model", "m")),
        stream=False,
        include_usage=False,
    )


def asked(content: object, **fields: object) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": content}], **fields}


def found_route(
    *, tenant: str = "t", model: str = "m", route: str = "r", epoch: int = 0, policy: str = "p", by_user: bool = False
) -> RouteClass:
    return RouteClass(
        policy=policy,
        policy_version="v",
        route=Route(
            name=route,
            match=Match(),
            candidates=("m",),
            selector="fixed",
            fallbacks=(),
            deadline_s=60,
            max_output_tokens=None,
            cache=CacheRules(partition_by_user=by_user),
            epoch=epoch,
        ),
        facts=RequestFacts(
            dialect="chat",
            requested_model=model,
            tenant=tenant,
            session="",
            tags=frozenset(),
            input_tokens=1,
            max_output_tokens=None,
            needs=frozenset(),
            allowed_models=None,
        ),
        aliases={},
    )
