"""Every backend that talks HTTP keeps one contract, against a scripted OpenAI-shaped provider on a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import pytest

from policies.load import ModelEntry
from router.backends.litellm import LiteLLMBackend
from router.backends.openai_wire import OpenAIWire
from router.deployments import LiteLLMDeployments
from router.errors import ProviderError
from router.leg import Closeable, Leg
from router.ports import Backend
from router.types import Call, ChatRequest, Deployment, Streamed, Whole
from router.usage import read_answer
from tests.provider import Reply, ScriptedProvider

NOTHING: Mapping[str, object] = {}
SECRET = "sk-contract-very-secret-0123456789"

# A LiteLLM provider per backend, whose calls end up at the scripted provider; one line tests a new backend.
BACKENDS: dict[str, tuple[str, Callable[[LiteLLMDeployments], Backend]]] = {
    "openai_wire": ("openai/m-1", lambda deployments: OpenAIWire()),
    "litellm": ("custom_openai/m-1", lambda deployments: LiteLLMBackend(deployments.router)),
}


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


@pytest.fixture(params=BACKENDS)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    model, make = BACKENDS[request.param]
    async with ScriptedProvider() as provider:
        parameters = {"model": model, "api_base": provider.api_base, "api_key": SECRET}
        entry = ModelEntry(model_name="group", litellm_params=parameters, model_info={}, line=1)
        deployments = LiteLLMDeployments((entry,), environment={}, simulate_missing=False)
        probe = ChatRequest(
            dialect="chat", body=b"{}", document={}, requested_model="group", stream=False, include_usage=False
        )
        deployment = await deployments.pick("group", probe)
        assert deployment.backend == request.param
        backend = make(deployments)
        yield Bench(backend=backend, deployment=deployment, provider=provider)
        await backend.close()


def deltas(events: bytes) -> list[dict[str, object]]:
    documents = [json.loads(event.removeprefix(b"data: ")) for event in events.split(b"\n\n") if event]
    return [choice["delta"] for document in documents for choice in document["choices"]]


def text(events: bytes) -> str:
    return "".join(str(delta.get("content") or "") for delta in deltas(events))


async def test_a_plain_call_gives_the_providers_answer(bench: Bench) -> None:
    answer = await bench.whole(temperature=0.5)
    document = json.loads(answer.body)
    assert document["choices"][0]["message"]["content"] == "Hello there, bot."
    assert (document["choices"][0]["finish_reason"], document["usage"]["prompt_tokens"]) == ("stop", 11)
    sent = bench.provider.requests[0]
    assert sent.path == "/v1/chat/completions"
    assert sent.headers["authorization"] == f"Bearer {SECRET}"
    asked = sent.json()
    assert (asked["model"], asked["messages"], asked["temperature"]) == (
        "m-1",
        [{"role": "user", "content": "hi"}],
        0.5,
    )


async def test_a_streamed_call_gives_events_usage_and_an_end(bench: Bench) -> None:
    leg, events = await bench.leg()
    assert text(events) == "Hello there, bot."
    assert leg.finish_reasons == ("stop",)
    assert leg.usage is not None
    assert (leg.usage.input_tokens, leg.usage.output_tokens) == (11, 4)
    assert bench.provider.requests[0].json()["stream_options"] == {"include_usage": True}


async def test_tool_calls_come_whole_and_in_pieces(bench: Bench) -> None:
    arguments = '{"city": "Köln", "days": 3}'
    bench.provider.always("m-1", Reply(tool_arguments=arguments, finish_reason="tool_calls"))
    function = {"name": "look_up", "parameters": {"type": "object", "properties": {}}}
    tools = [{"type": "function", "function": function}]
    document = json.loads((await bench.whole(tools=tools)).body)
    assert document["choices"][0]["message"]["tool_calls"][0]["function"] == {"name": "look_up", "arguments": arguments}
    leg, events = await bench.leg(tools=tools)
    calls = [call for delta in deltas(events) if isinstance(got := delta.get("tool_calls"), list) for call in got]
    assert "".join(call["function"].get("arguments") or "" for call in calls) == arguments
    assert leg.finish_reasons == ("tool_calls",)
    assert bench.provider.requests[0].json()["tools"] == tools


async def test_several_choices_come_back_apart(bench: Bench) -> None:
    document = json.loads((await bench.whole(n=2)).body)
    assert [choice["index"] for choice in document["choices"]] == [0, 1]


async def test_embeddings_come_back_as_they_were(bench: Bench) -> None:
    document = json.loads((await bench.whole(input=["a", "b"], encoding_format="float")).body)
    assert [row["embedding"] for row in document["data"]] == [[0.25, -0.5], [0.25, -0.5]]
    assert document["usage"]["prompt_tokens"] == 5
    assert bench.provider.requests[0].path == "/v1/embeddings"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("reply", "kind", "status"),
    [
        (Reply(status=400), "bad_request", 400),
        (
            Reply(status=400, body='{"error": {"message": "too long", "code": "context_length_exceeded"}}'),
            "context_length",
            400,
        ),
        (Reply(status=401), "auth", 401),
        (Reply(status=403), "auth", 403),
        (Reply(status=404), "not_found", 404),
        (Reply(status=429, headers={"Retry-After": "7"}), "rate_limited", 429),
        (Reply(status=500), "server_error", 500),
        (Reply(status=503), "overloaded", 503),
        (Reply(fault="reset"), "connect", None),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else None,
)
async def test_a_refusal_is_one_error_of_the_right_kind_after_one_request(
    bench: Bench, reply: Reply, kind: str, status: int | None, stream: bool
) -> None:
    bench.provider.always("m-1", reply)
    error = await bench.refused(stream=stream)
    assert (error.kind, error.status) == (kind, status)
    assert error.source == ("gateway" if kind == "connect" else "provider")
    assert error.retry_after_s == (7 if kind == "rate_limited" else None)
    assert len(bench.provider.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_breaks_off_is_a_cut(bench: Bench, stream: bool) -> None:
    bench.provider.always("m-1", Reply(fault="cut"))
    error = await bench.refused(stream=stream)
    assert error.kind in ("cut", "connect")  # LiteLLM cannot tell a broken body from a broken connection
    assert stream is False or error.kind == "cut"


async def test_a_stream_that_merely_ends_is_a_cut(bench: Bench) -> None:
    bench.provider.always("m-1", Reply(fault="clean_cut"))
    assert (await bench.refused(stream=True)).kind == "cut"


async def test_an_error_event_is_an_error(bench: Bench) -> None:
    bench.provider.always("m-1", Reply(error_at=1))
    assert (await bench.refused(stream=True)).kind in ("server_error", "cut")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_refused_and_the_key_stays(bench: Bench, status: int, stream: bool) -> None:
    async with ScriptedProvider() as elsewhere:
        bench.provider.always(
            "m-1", Reply(status=status, headers={"Location": elsewhere.api_base + "/chat/completions"})
        )
        error = await bench.refused(stream=stream)
        assert elsewhere.connections == 0
    assert error.kind == "server_error"
    assert "redirect" in error.message


@pytest.mark.parametrize("status", [400, 401, 500])
async def test_the_key_is_in_no_error_even_where_the_provider_repeats_it(bench: Bench, status: int) -> None:
    said = {"error": {"message": f"Incorrect API key provided: {SECRET} in 'Bearer {SECRET}'", "code": SECRET[:5]}}
    bench.provider.always("m-1", Reply(status=status, body=json.dumps(said)))
    error = await bench.refused(stream=False)
    assert SECRET not in repr((error.args, vars(error)))
    assert SECRET not in repr(bench.deployment)


async def test_cookies_and_unknown_headers_go_no_further(bench: Bench) -> None:
    headers = {"Set-Cookie": "session=1", "X-Internal": SECRET, "OpenAI-Organization": "org-1"}
    bench.provider.always("m-1", Reply(headers=headers))
    for _ in range(2):
        answer = await bench.whole()
        assert not {"set-cookie", "x-internal", "openai-organization"} & set(answer.headers)
    assert "cookie" not in bench.provider.requests[1].headers


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cancelled_call_hangs_up(bench: Bench, stream: bool) -> None:
    bench.provider.always("m-1", Reply(fault="silent"))
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(bench.backend.send(bench.call(fields={"stream": stream})))
        await bench.provider.wait_for_requests(1)
        task.cancel()
    assert task.cancelled()
    await bench.provider.wait_for_hang_up()


async def test_closing_the_chunks_in_the_middle_hangs_up(bench: Bench) -> None:
    bench.provider.always("m-1", Reply(fault="stall"))
    answer = await bench.backend.send(bench.call(fields={"stream": True}))
    assert isinstance(answer, Streamed)
    await anext(answer.chunks)
    closing: object = answer.chunks
    assert isinstance(closing, Closeable)
    await closing.aclose()
    await bench.provider.wait_for_hang_up()


async def test_chunks_that_nobody_read_can_be_closed(bench: Bench) -> None:
    bench.provider.always("m-1", Reply(fault="stall"))
    call = bench.call(fields={"stream": True})
    leg = Leg(bench.deployment, "first", call.request, 0.0, gap_s=20)
    leg.take(await bench.backend.send(call))
    await leg.close()
    await bench.provider.wait_for_hang_up()


async def test_close_may_be_called_twice(bench: Bench) -> None:
    await bench.whole()
    await bench.backend.close()
    await bench.backend.close()


# What only the pass-through promises.


@pytest.fixture
async def wire() -> AsyncIterator[Bench]:
    async with ScriptedProvider() as provider:
        deployment = Deployment(
            id="d",
            group="group",
            provider="openai",
            model="m-1",
            backend="openai_wire",
            api_base=provider.api_base,
            secret=SECRET,
            price=None,
            headers={"HTTP-Referer": "https://bot.example", "Host": "evil.example", "content-length": "1"},
        )
        backend = OpenAIWire(max_answer_bytes=10_000, connect_s=0.2)
        yield Bench(backend=backend, deployment=deployment, provider=provider)
        await backend.close()


async def test_the_headers_that_go_out_are_exactly_these(wire: Bench) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await wire.backend.send(wire.call(traceparent=trace))
    sent = wire.provider.requests[0].headers
    assert sent.pop("content-length") == str(len(wire.provider.requests[0].body))
    assert sent == {
        "host": wire.provider.origin.removeprefix("http://"),
        "accept": "*/*",
        "accept-encoding": "identity",
        "authorization": f"Bearer {SECRET}",
        "content-type": "application/json",
        "http-referer": "https://bot.example",
        "traceparent": trace,
        "user-agent": "foreword",
    }


async def test_a_traceparent_that_is_none_is_not_sent(wire: Bench) -> None:
    await wire.backend.send(wire.call(traceparent="x\r\nX-Evil: 1"))
    assert "traceparent" not in wire.provider.requests[0].headers


async def test_known_headers_come_back_and_the_providers_request_id_under_its_own_name(wire: Bench) -> None:
    headers = {"X-Request-Id": "req_1", "X-RateLimit-Remaining-Tokens": "9", "Server": "x"}
    wire.provider.always("m-1", Reply(headers=headers))
    answer = await wire.whole()
    assert answer.headers == {"x-provider-request-id": "req_1", "x-ratelimit-remaining-tokens": "9"}


async def test_an_answer_passes_byte_for_byte(wire: Bench) -> None:
    body = '{ "choices" :[{"finish_reason":"stop", "message": {"content":"\\u00e9\\ud83d"}}], "x": 1.50 }\n'
    wire.provider.always("m-1", Reply(body=body))
    assert (await wire.whole(surprise={"b": [1.50, None]})).body == body.encode()
    assert wire.provider.requests[0].body.endswith(
        b'"surprise":{"b": [1.5, null]},"messages":[{"role": "user", "content": "hi"}]}'
    )


@pytest.mark.parametrize("status", [200, 500])
async def test_a_huge_body_takes_bounded_memory(wire: Bench, status: int) -> None:
    wire.provider.always("m-1", Reply(status=status, body="x" * 3_000_000))
    error = await wire.refused(stream=False)
    assert error.kind == ("malformed" if status == 200 else "server_error")
    assert len(error.message) < 3_000


async def test_nobody_listening_is_a_connect_error_without_the_address(wire: Bench) -> None:
    async with ScriptedProvider() as gone:
        base = gone.api_base
    deployment = Deployment(
        id="d", group="g", provider="openai", model="m", backend="openai_wire", api_base=base, secret=SECRET, price=None
    )
    bench = Bench(backend=wire.backend, deployment=deployment, provider=wire.provider)
    error = await bench.refused(stream=False)
    assert (error.kind, error.status, error.source) == ("connect", None, "gateway")
    assert "127.0.0.1" not in error.message


async def test_connections_are_kept_after_answers_and_after_errors(wire: Bench) -> None:
    for status in (400, 429, 500):
        wire.provider.script("m-1", Reply(), Reply(status=status))
        await wire.whole()
        await wire.refused(stream=True)
    assert wire.provider.connections == 1
