"""What a client makes of an answer, streamed or not: the same few facts of both. No product code, so that it can judge.

Also waits for what happens a moment after a client has its answer.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from gateway.budgets.meters import tag
from gateway.cache.exact import store_key
from gateway.cache.lease import is_claim
from gateway.stores.redis import RedisStore
from tests.http.running import Answer, Gateway

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """One answer as a client sees it. `choices` by index: message, finish reason, logprobs."""

    choices: dict[int, Json]
    usage: Json | None
    model: str
    id: str

    @property
    def text(self) -> str | None:
        """The first choice's content."""
        content = self.choices[0]["message"].get("content")
        assert content is None or isinstance(content, str)
        return content


def folded(answer: Answer) -> Folded:
    """Read an answer whole, whichever way it came; a stream must end in [DONE]."""
    assert answer.status == 200, answer.body
    if answer.headers["Content-Type"].startswith("text/event-stream"):
        return _of_events(answer)
    body = answer.json()
    choices = {
        choice["index"]: {
            "message": _without_empty(choice["message"]),
            "finish_reason": choice["finish_reason"],
            "logprobs": choice.get("logprobs"),
        }
        for choice in body["choices"]
    }
    return Folded(choices=choices, usage=body.get("usage"), model=body["model"], id=body["id"])


def _of_events(answer: Answer) -> Folded:
    events = answer.events()
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    choices: dict[int, Json] = {}
    usage: Json | None = None
    for chunk in chunks:
        assert chunk["object"] == "chat.completion.chunk"
        usage = chunk.get("usage") or usage
        for part in chunk["choices"]:
            empty: Json = {"message": {}, "finish_reason": None, "logprobs": None}
            _add(choices.setdefault(part["index"], empty), part)
    for choice in choices.values():
        choice["message"] = _without_empty(choice["message"])
    return Folded(choices=choices, usage=usage, model=chunks[0]["model"], id=chunks[0]["id"])


def _add(choice: Json, part: Json) -> None:
    choice["finish_reason"] = part.get("finish_reason") or choice["finish_reason"]
    if part.get("logprobs"):
        held = choice["logprobs"] or {"content": []}
        choice["logprobs"] = {"content": held["content"] + part["logprobs"]["content"]}
    message: Json = choice["message"]
    for name, value in part["delta"].items():
        if name == "tool_calls":
            _add_calls(message.setdefault("tool_calls", []), value)
        elif isinstance(value, str) and name != "role":
            message[name] = (message.get(name) or "") + value
        else:
            message[name] = value


def _add_calls(calls: list[Json], parts: list[Json]) -> None:
    for part in parts:
        if part["index"] == len(calls):
            calls.append({"id": part["id"], "type": part["type"], "function": {"name": "", "arguments": ""}})
        function = calls[part["index"]]["function"]
        for name in ("name", "arguments"):
            function[name] += part["function"].get(name) or ""


def _without_empty(message: Json) -> Json:
    return {name: value for name, value in message.items() if value not in (None, "", [])}


async def until_shared(gateway: Gateway, key: str) -> None:
    """Return once the answer to the exact key is in Redis, where it is put after the client has it."""
    async with asyncio.timeout(30):
        while True:
            value = await gateway.worker.store.get(store_key(key, tenant=gateway.tenant))
            if value is not None and not is_claim(value):
                return


async def until_callers(gateway: Gateway, count: int) -> None:
    """Return once `count` callers wait for or read provider calls."""
    async with asyncio.timeout(30):
        while gateway.worker.inflight.callers != count:  # noqa: ASYNC110 - a few turns of the loop
            await asyncio.sleep(0)


async def until_no_calls(gateway: Gateway) -> None:
    """Return once no provider call runs any more."""
    async with asyncio.timeout(30):
        while gateway.worker.inflight.count:  # noqa: ASYNC110 - a few turns of the loop
            await asyncio.sleep(0)


async def meters_of(gateway: Gateway) -> dict[str, tuple[int, int]]:
    """Flush, and return (spent, reserved) by meter."""
    await gateway.worker.spend.budgets.flush()
    store = gateway.worker.store
    assert isinstance(store, RedisStore)
    found: dict[str, tuple[int, int]] = {}
    async for key in store.scan(f"foreword:{tag('default')}:"):
        if key.rpartition(":")[2] not in ("leases", "due", "meters") and gateway.tenant in key:
            (reply,) = await store.run(("HMGET", key, "s", "r"))
            assert isinstance(reply, list)
            found[key] = (int(reply[0] or 0), int(reply[1] or 0))
    return found


async def idle_meters(gateway: Gateway) -> dict[str, tuple[int, int]]:
    """Return what the meters show once the pools have given back what they kept at hand, or after 5 s."""
    meters: dict[str, tuple[int, int]] = {}
    for _ in range(250):
        for _ in range(8):
            await gateway.worker.spend.budgets.flush()
        meters = await meters_of(gateway)
        if not any(reserved for _, reserved in meters.values()):
            break
        await asyncio.sleep(0.02)  # the gateway's own flush may be under way, which ours do not wait for
    return meters
