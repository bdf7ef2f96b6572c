"""Which answers the exact tier keeps: complete, good ones; a doubtful one is asked for again."""

from __future__ import annotations

import json

import pytest

from tests.http.folding import Json, folded
from tests.http.running import Gateway
from tests.provider import Reply

JSON_ASKED: Json = {"response_format": {"type": "json_object"}}
NEVER: dict[str, tuple[Reply, Json]] = {
    "an error": (Reply(status=400), {}),
    "an error in a 200 body": (Reply(body='{"error": {"message": "no", "type": "invalid_request_error"}}'), {}),
    "cut short by max_tokens": (Reply(finish_reason="length"), {}),
    "cut short by max_tokens, streamed": (Reply(finish_reason="length"), {"stream": True}),
    "filtered": (Reply(finish_reason="content_filter"), {}),
    "empty": (Reply(words=(), usage={"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}), {}),
    "a stream that breaks off": (Reply(fault="cut", after_events=3), {"stream": True}),
    "a stream that ends too early": (Reply(fault="clean_cut", after_events=3), {"stream": True}),
    "a stream with an error in it": (Reply(error_at=2), {"stream": True}),
    "text where JSON was asked": (Reply(), JSON_ASKED),
    "half of the JSON that was asked": (Reply(words=('{"a": ', "[1, 2")), {**JSON_ASKED, "stream": True}),
}


@pytest.mark.parametrize("name", NEVER)
async def test_never_stored(gateway: Gateway, name: str) -> None:
    reply, fields = NEVER[name]
    gateway.provider.always("up-small", reply)
    await gateway.chat("twice", **fields)
    gateway.provider.always("up-small", Reply(words=("{}",)))
    again = await gateway.chat("twice", **fields)
    assert again.headers["x-foreword-cache"] == "miss"
    assert folded(again).text == "{}"


async def test_valid_json_where_json_was_asked_is_kept(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(words=('{"a": ', "[1, 2]}")))
    await gateway.chat("json", stream=True, **JSON_ASKED)
    again = await gateway.chat("json", **JSON_ASKED)
    assert again.headers["x-foreword-cache"] == "hit"
    assert json.loads(folded(again).text or "") == {"a": [1, 2]}


async def test_a_sampled_answer_is_kept_only_where_the_route_says_so(gateway: Gateway) -> None:
    for headers, expected in (({}, "bypass"), ({"x-foreword-tags": "task=fallacy"}, "hit")):
        await gateway.chat("warm", headers=headers, temperature=0.9)
        again = await gateway.chat("warm", headers=headers, temperature=0.9)
        assert again.headers["x-foreword-cache"] == expected
    assert len(gateway.provider.requests) == 3
