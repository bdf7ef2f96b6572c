"""One backend, one deployment of it and a scripted provider behind both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from router.errors import ProviderError
from router.leg import Leg
from router.ports import Backend
from router.types import Call, ChatRequest, Deployment, Whole
from router.usage import read_answer
from tests.provider import ScriptedProvider

NOTHING: Mapping[str, object] = {}
SECRET = "sk-contract-very-secret-0123456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One backend, one deployment of it, and the provider behind both."""

    backend: Backend
    deployment: Deployment
    provider: ScriptedProvider

    def call(self, *, traceparent: str | None = None, fields: Mapping[str, object] = NOTHING) -> Call:
        """Return a call of the client body made of `fields`."""
        stream = fields.get("stream") is True
        is_chat = "input" not in fields
        document: dict[str, object] = {"model": "group", **fields}
        if is_chat:
            document.setdefault("messages", [{"role": "user", "content": "hi"}])
        request = ChatRequest(
            dialect="chat" if is_chat else "embeddings",
            body=json.dumps(document).encode(),
            document=document,
            requested_model="group",
            stream=stream,
            include_usage=False,
        )
        return Call(
            request=request,
            deployment=self.deployment,
            stream=stream,
            max_output_tokens=None,
            traceparent=traceparent,
        )

    async def whole(self, **fields: object) -> Whole:
        """Send an unstreamed call."""
        answer = await self.backend.send(self.call(fields=fields))
        assert isinstance(answer, Whole)
        return answer

    async def leg(self, **fields: object) -> tuple[Leg, bytes]:
        """Send a streamed call and read it to its end, as Attempts does."""
        call = self.call(fields={**fields, "stream": True})
        leg = Leg(self.deployment, "first", call.request, 0.0, gap_s=20)
        events = b""
        try:
            leg.take(await self.backend.send(call))
            while not leg.is_at_end:
                events += await leg.read()
            leg.end()
        finally:
            await leg.close()
        return leg, events

    async def refused(self, *, stream: bool, **fields: object) -> ProviderError:
        """Send a call that must fail, at once or while its answer is read."""
        with pytest.raises(ProviderError) as caught:
            await (self.leg(**fields) if stream else self.checked(**fields))
        return caught.value

    async def checked(self, **fields: object) -> None:
        """Send an unstreamed call and raise the error that its body is."""
        facts = read_answer((await self.whole(**fields)).body, "chat")
        if facts.error is not None:
            raise facts.error
