from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from policies.load import ModelEntry
from router.backends.litellm import LiteLLMBackend
from router.deployments import LiteLLMDeployments
from router.errors import ErrorKind, ProviderError
from router.leg import Closeable
from router.litellm_arguments import CHAT, EMBEDDINGS, REFUSED_NAMES, call_arguments, is_refused
from router.sse import StreamReader
from router.types import Call, ChatRequest, Deployment, Streamed, Usage, Whole
from router.usage import read_answer, usage_of
from tests.anthropic_provider import AnthropicProvider, Reply
from tests.nowhere import full_backlog

# LiteLLM's own, on first use; the suite makes errors of all others.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Item .* using the `ReadOnly` qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance is deprecated:DeprecationWarning"),
]

SECRET = "sk-ant-very-secret-0123456789"
NOTHING: Mapping[str, object] = {}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
TOOL_USE = Reply(
    content=({"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"city": "Köln"}},),
    stop_reason="tool_use",
)


def call_of(deployment: Deployment, fields: Mapping[str, object], *, max_output_tokens: int | None = None) -> Call:
    document = {"model": "claude", "messages": [{"role": "user", "content": "hi"}], **fields}
    stream = document.get("stream") is True
    request = ChatRequest(
        dialect="chat",
        body=json.dumps(document).encode(),
        document=document,
        requested_model="claude",
        stream=stream,
        include_usage=False,
    )
    return Call(
        request=request, deployment=deployment, stream=stream, max_output_tokens=max_output_tokens, traceparent=None
    )


DEPLOYMENT = Deployment(
    id="d", group="g", provider="anthropic", model="m", backend="litellm", api_base="", secret=SECRET, price=None
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The backend, its one deployment, and the provider behind it."""

    backend: LiteLLMBackend
    deployment: Deployment
    provider: AnthropicProvider

    async def whole(self, **fields: object) -> Mapping[str, object]:
        answer = await self.backend.send(call_of(self.deployment, fields))
        assert isinstance(answer, Whole)
        assert read_answer(answer.body, "chat").error is None
        document = json.loads(answer.body)
        assert isinstance(document, dict)
        return document

    async def stream(self, **fields: object) -> Streamed:
        answer = await self.backend.send(call_of(self.deployment, {**fields, "stream": True}))
        assert isinstance(answer, Streamed)
        return answer

    async def events(self, **fields: object) -> list[bytes]:
        return [chunk async for chunk in (await self.stream(**fields)).chunks]

    async def refused(self, **fields: object) -> ProviderError:
        ask = self.events if fields.get("stream") is True else self.whole
        with pytest.raises(ProviderError) as caught:
            await ask(**fields)
        return caught.value


@pytest.fixture
async def provider() -> AsyncIterator[AnthropicProvider]:
    async with AnthropicProvider() as provider:
        yield provider


def wired(origin: str, *, connect_s: float = 5.0) -> tuple[LiteLLMDeployments, LiteLLMBackend]:
    parameters = {"model": "anthropic/claude-haiku-4-5", "api_base": origin, "api_key": SECRET}
    entry = ModelEntry(model_name="claude", litellm_params=parameters, model_info={}, line=1)
    deployments = LiteLLMDeployments((entry,), environment={}, simulate_missing=False)
    return deployments, LiteLLMBackend(deployments.router, connect_s=connect_s)


@pytest.fixture
def wiring(provider: AnthropicProvider) -> tuple[LiteLLMDeployments, LiteLLMBackend]:
    """Build before any loop runs, as a start does: LiteLLM reads files."""
    return wired(provider.origin)


@pytest.fixture
async def bench(wiring: tuple[LiteLLMDeployments, LiteLLMBackend], provider: AnthropicProvider) -> AsyncIterator[Bench]:
    deployments, backend = wiring
    deployment = await deployments.pick("claude", call_of(DEPLOYMENT, {}).request)
    yield Bench(backend=backend, deployment=deployment, provider=provider)
    await backend.close()


def documents(events: list[bytes]) -> list[dict[str, object]]:
    return [json.loads(event.removeprefix(b"data: ")) for event in events if event != b"data: [DONE]\n\n"]


def deltas(events: list[bytes]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for document in documents(events):
        choices = document["choices"]
        assert isinstance(choices, list)
        found += [choice["delta"] for choice in choices]
    return found


# -- what goes through ---------------------------------------------------------------------------------------------


async def test_a_plain_answer_comes_in_openais_shape_and_the_key_goes_to_the_provider_once(bench: Bench) -> None:
    document = await bench.whole(temperature=0.5)
    assert document["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Hello there."}, "finish_reason": "stop"}
    ]
    assert document["model"] == "claude-haiku-4-5-20251001"
    (seen,) = bench.provider.requests
    assert (seen.path, seen.headers["x-api-key"]) == ("/v1/messages", SECRET)
    assert (seen.body["model"], seen.body["temperature"]) == ("claude-haiku-4-5", 0.5)


async def test_input_tokens_include_what_was_read_from_and_written_to_the_cache(bench: Bench) -> None:
    expected = Usage(input_tokens=30, output_tokens=4, cached_tokens=20, cache_write_tokens=3)
    stated = (await bench.whole())["usage"]
    assert isinstance(stated, dict)
    assert usage_of(stated) == expected
    last = documents(await bench.events())[-1]
    assert last["choices"] == []
    assert isinstance(last["usage"], dict)
    assert usage_of(last["usage"]) == expected


async def test_a_stream_ends_with_the_finish_reason_then_usage_then_done(bench: Bench) -> None:
    events = await bench.events()
    assert all(event.startswith(b"data: ") and event.endswith(b"\n\n") for event in events)
    assert events[-1] == b"data: [DONE]\n\n"
    assert [delta.get("content") for delta in deltas(events)] == ["Hello", "there.", None]
    reasons = [choice["finish_reason"] for one in documents(events)[:-1] for choice in one["choices"]]  # type: ignore[attr-defined]
    assert reasons == [None, None, "stop"]
    assert bench.provider.requests[0].body["stream"] is True


async def test_a_repetitive_answer_arrives_whole(bench: Bench) -> None:
    bench.provider.queue(Reply(content=({"type": "text", "text": "very " * 300},)))
    assert sum(delta.get("content") == "very" for delta in deltas(await bench.events())) == 300


async def test_tool_calls_come_whole_and_in_pieces(bench: Bench) -> None:
    bench.provider.queue(TOOL_USE, TOOL_USE)
    choices = (await bench.whole(tools=[TOOL], tool_choice="auto"))["choices"]
    assert isinstance(choices, list)
    function = {"name": "look_up", "arguments": '{"city": "K\\u00f6ln"}'}
    assert choices[0]["message"]["content"] is None
    (tool_call,) = choices[0]["message"]["tool_calls"]
    assert json.loads(tool_call["function"]["arguments"]) == json.loads(function["arguments"])
    assert (tool_call["id"], tool_call["type"], choices[0]["finish_reason"]) == ("toolu_1", "function", "tool_calls")
    pieces = [delta["tool_calls"] for delta in deltas(await bench.events(tools=[TOOL])) if delta.get("tool_calls")]
    arguments = "".join(piece["function"]["arguments"] for group in pieces for piece in group)  # type: ignore[attr-defined]
    assert json.loads(arguments) == {"city": "Köln"}
    assert [tool["name"] for tool in bench.provider.requests[0].body["tools"]] == ["look_up"]  # type: ignore[attr-defined]


async def test_what_bots_send_by_habit_does_not_disturb_a_native_provider(bench: Bench) -> None:
    await bench.whole(n=1, logit_bias={}, top_p=1, user="u", seed=7, provider={"order": ["x"]}, cache={"ttl": 1}, foo=1)
    body = bench.provider.requests[0].body
    assert set(body) == {"model", "messages", "max_tokens", "top_p"}


async def test_the_plans_output_cap_holds_and_a_smaller_wish_stays(bench: Bench) -> None:
    for wish, expected in ((NOTHING, 100), ({"max_tokens": 50}, 50), ({"max_completion_tokens": 500}, 100)):
        await bench.backend.send(call_of(bench.deployment, wish, max_output_tokens=100))
        assert bench.provider.requests[-1].body["max_tokens"] == expected


# -- what goes wrong -----------------------------------------------------------------------------------------------


def failure(status: int, type_: str, message: str, **headers: str) -> Reply:
    return Reply(status=status, headers=headers, error={"type": "error", "error": {"type": type_, "message": message}})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("reply", "kind", "retry_after_s"),
    [
        (failure(400, "invalid_request_error", "messages: bad"), "bad_request", None),
        (
            failure(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
            "context_length",
            None,
        ),
        (failure(401, "authentication_error", f"invalid x-api-key {SECRET}"), "auth", None),
        (failure(404, "not_found_error", "model: x"), "not_found", None),
        (failure(429, "rate_limit_error", "slow down", **{"retry-after": "7"}), "rate_limited", 7.0),
        (failure(500, "api_error", "boom"), "server_error", None),
        (failure(529, "overloaded_error", "Overloaded"), "overloaded", None),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_a_providers_error_keeps_its_status_and_its_words_but_never_the_key(
    bench: Bench, reply: Reply, kind: ErrorKind, retry_after_s: float | None, stream: bool
) -> None:
    bench.provider.queue(reply)
    error = await bench.refused(stream=stream)
    assert (error.kind, error.source, error.status, error.retry_after_s) == (
        kind,
        "provider",
        reply.status,
        retry_after_s,
    )
    assert SECRET not in repr((error.args, vars(error)))
    if kind == "context_length":
        assert "210000 tokens" in error.message
    assert len(bench.provider.requests) == 1


@pytest.mark.parametrize("reply", [Reply(cut_after=3), Reply(end_after=3), Reply(cut_after=0)])
async def test_a_stream_that_does_not_reach_its_end_is_a_cut_and_never_looks_complete(
    bench: Bench, reply: Reply
) -> None:
    bench.provider.queue(reply)
    got: list[bytes] = []

    async def read() -> None:
        async for chunk in (await bench.stream()).chunks:
            got.append(chunk)  # noqa: PERF401

    with pytest.raises(ProviderError) as caught:
        await read()
    assert caught.value.kind == "cut"
    assert not any(b'"finish_reason":"stop"' in chunk or b"[DONE]" in chunk for chunk in got)
    assert len(bench.provider.requests) == 1


@pytest.mark.parametrize("place", range(7))
async def test_a_malformed_event_is_left_out_wherever_it_comes_and_counted(bench: Bench, place: int) -> None:
    bench.provider.queue(Reply(malformed_at=place), Reply())
    events, plain = await bench.events(stream=True), await bench.events(stream=True)
    reader = StreamReader()
    passed = b"".join(map(reader.feed, events))
    assert passed.count(b"\n\n") == len(plain) - 2  # without the usage event and [DONE]
    assert (reader.malformed_events, reader.is_done, reader.finish_reasons) == (1, True, ("stop",))


async def test_an_error_event_inside_a_stream_is_the_providers_error(bench: Bench) -> None:
    bench.provider.queue(Reply(error_after=3))
    error = await bench.refused(stream=True)
    assert (error.kind, error.source) == ("server_error", "provider")


async def test_nobody_listening_is_a_connect_error_without_the_address(bench: Bench) -> None:
    await bench.provider.stop()
    error = await bench.refused()
    assert (error.kind, error.status, error.source) == ("connect", None, "gateway")
    assert "127.0.0.1" not in error.message


@pytest.fixture
def nowhere() -> Iterator[tuple[LiteLLMDeployments, LiteLLMBackend]]:
    with full_backlog() as base:
        yield wired(base, connect_s=0.1)


async def test_a_connection_that_does_not_come_about_is_unreachable_and_not_a_silent_provider(
    nowhere: tuple[LiteLLMDeployments, LiteLLMBackend],
) -> None:
    deployments, backend = nowhere
    deployment = await deployments.pick("claude", call_of(DEPLOYMENT, {}).request)
    with pytest.raises(ProviderError) as caught:
        await backend.send(call_of(deployment, {}))
    await backend.close()
    assert (caught.value.kind, caught.value.status, caught.value.source) == ("unreachable", None, "gateway")


async def test_a_parameter_that_the_provider_has_no_word_for_is_a_400_naming_it(bench: Bench) -> None:
    error = await bench.refused(n=2)
    assert (error.kind, error.status, error.source) == ("bad_request", 400, "gateway")
    assert "'n'" in error.message
    assert not bench.provider.requests


async def test_closing_a_stream_early_hangs_up(bench: Bench) -> None:
    bench.provider.queue(Reply(hang_after=4), Reply(hang_after=4))
    for is_begun in (True, False):
        chunks: object = (await bench.stream()).chunks
        assert isinstance(chunks, Closeable)
        assert isinstance(chunks, AsyncIterator)
        if is_begun:
            await anext(chunks)
        await chunks.aclose()
        async with asyncio.timeout(30):
            await bench.provider.requests[-1].hung_up.wait()


async def test_cancelling_a_call_that_waits_hangs_up(bench: Bench) -> None:
    bench.provider.queue(Reply(silent=True))
    task: asyncio.Task[Whole | Streamed]
    async with asyncio.TaskGroup() as group:
        task = group.create_task(bench.backend.send(call_of(bench.deployment, {})))
        async with asyncio.timeout(30):
            await bench.provider.arrived.wait()
        task.cancel()
    assert task.cancelled()
    async with asyncio.timeout(30):
        await bench.provider.requests[0].hung_up.wait()


# -- where the key never goes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_refused_and_the_key_stays(bench: Bench, status: int, stream: bool) -> None:
    async with AnthropicProvider() as elsewhere:
        bench.provider.queue(Reply(status=status, headers={"Location": elsewhere.origin + "/v1/messages"}, error={}))
        error = await bench.refused(stream=stream)
        assert not elsewhere.connections
    assert (error.source, error.status) == ("gateway", status)
    assert len(bench.provider.requests) == 1


DANGEROUS = (
    "api_base",
    "base_url",
    "api_key",
    "api_version",
    "headers",
    "extra_headers",
    "mock_response",
    "mock_timeout",
    "mock_testing_fallbacks",
    "fallbacks",
    "context_window_fallbacks",
    "metadata",
    "litellm_metadata",
    "litellm_call_id",
    "litellm_params",
    "input_cost_per_token",
    "output_cost_per_second",
    "custom_llm_provider",
    "model_list",
    "callbacks",
    "success_callback",
    "caching",
    "client",
    "timeout",
    "num_retries",
    "vertex_credentials",
    "aws_bedrock_runtime_endpoint",
    "azure_ad_token",
    "provider_specific_header",
    "_skip_mcp_handler",
    "API_BASE",
)


@pytest.mark.parametrize("where", ["top", "extra_body"])
@pytest.mark.parametrize("name", DANGEROUS)
async def test_a_field_that_could_redirect_the_key_is_a_400_naming_it_and_nobody_is_called(
    bench: Bench, name: str, where: str
) -> None:
    async with AnthropicProvider() as elsewhere:
        field = {name: elsewhere.origin}
        error = await bench.refused(**(field if where == "top" else {"extra_body": field}))
        assert not elsewhere.connections
    assert (error.kind, error.status, error.source) == ("bad_request", 400, "gateway")
    assert error.param == (name if where == "top" else f"extra_body.{name}")
    assert not bench.provider.requests


@pytest.mark.parametrize("name", ["model", "messages", "stream", "extra_body"])
def test_extra_body_cannot_replace_what_policy_has_decided(name: str) -> None:
    with pytest.raises(ProviderError) as caught:
        call_arguments(call_of(DEPLOYMENT, {"extra_body": {name: "x"}}))
    assert caught.value.param == f"extra_body.{name}"


def test_every_keyword_that_this_litellm_reads_is_refused_from_clients() -> None:
    from litellm.types.utils import all_litellm_params  # here, after the door has set LiteLLM's environment

    # `cache` is the gateway's own field and goes no further.
    assert {name for name in all_litellm_params if not is_refused(name)} == {"cache"}


def test_no_documented_parameter_is_refused() -> None:
    assert not [name for name in CHAT | EMBEDDINGS if is_refused(name) or name in REFUSED_NAMES]


@pytest.mark.parametrize("provider", ["anthropic", "gemini"])
@pytest.mark.parametrize("link", ["http://169.254.169.254/latest", "http://127.0.0.1:1/x.png", "file:///etc/passwd"])
@pytest.mark.parametrize(
    "part",
    [
        lambda link: {"type": "image_url", "image_url": {"url": link}},
        lambda link: {"type": "image_url", "image_url": link},
        lambda link: {"type": "file", "file": {"file_id": link}},
        lambda link: {"type": "file", "file": {"file_data": " " + link.upper()}},
    ],
)
def test_a_link_that_the_gateway_would_fetch_is_refused(
    provider: str, link: str, part: Callable[[str], object]
) -> None:
    deployment = Deployment(
        id="d", group="g", provider=provider, model="m", backend="litellm", api_base="", secret=SECRET, price=None
    )
    with pytest.raises(ProviderError) as caught:
        call_arguments(call_of(deployment, {"messages": [{"role": "user", "content": [part(link)]}]}))
    assert caught.value.param is not None
    assert caught.value.param.startswith("messages[0].content[0].")


async def test_an_https_image_reaches_anthropic_as_a_link_and_is_not_fetched_here(bench: Bench) -> None:
    async with AsyncExitStack() as stack:
        elsewhere = await stack.enter_async_context(AnthropicProvider())
        link = elsewhere.origin.replace("http://", "https://") + "/x.png"
        content = [{"type": "image_url", "image_url": {"url": link}}, {"type": "text", "text": "what is this?"}]
        await bench.whole(messages=[{"role": "user", "content": content}])
        assert not elsewhere.connections
    assert link in json.dumps(bench.provider.requests[0].body)


def test_unknown_fields_travel_in_extra_body_alone() -> None:
    deployment = Deployment(
        id="d", group="g", provider="gemini", model="m", backend="litellm", api_base="", secret=SECRET, price=None
    )
    arguments = call_arguments(call_of(deployment, {"surprise": 1, "extra_body": {"more": 2}, "top_p": 0.5}))
    assert arguments["extra_body"] == {"surprise": 1, "more": 2}
    assert set(arguments) == {"messages", "top_p", "extra_body", "stream"}
