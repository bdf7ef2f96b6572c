"""Every backend that talks HTTP keeps one contract, against a scripted OpenAI-shaped provider on a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest

from policies.load import ModelEntry
from router.backends.litellm import LiteLLMBackend
from router.backends.openai_wire import OpenAIWire
from router.deployments import LiteLLMDeployments
from router.leg import Closeable, Leg
from router.ports import Backend
from router.steps import next_step
from router.types import ChatRequest, Streamed
from tests.contract.backend_bench import SECRET, Bench
from tests.provider import Reply, ScriptedProvider

# LiteLLM's own, on first use; the suite makes errors of all others.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Item .* using the `ReadOnly` qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance is deprecated:DeprecationWarning"),
]

# A LiteLLM provider per backend, whose calls end up at the scripted provider; one line tests a new backend.
BACKENDS: dict[str, tuple[str, Callable[[LiteLLMDeployments], Backend]]] = {
    "openai_wire": ("openai/m-1", lambda deployments: OpenAIWire()),
    "litellm": ("fireworks_ai/m-1", lambda deployments: LiteLLMBackend(deployments.router)),
}


@pytest.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider() as provider:
        yield provider


@pytest.fixture(params=BACKENDS)
def wiring(request: pytest.FixtureRequest, provider: ScriptedProvider) -> tuple[LiteLLMDeployments, Backend]:
    """Build deployments and backend as a start does: before any loop runs, since LiteLLM reads files."""
    model, make = BACKENDS[request.param]
    parameters = {"model": model, "api_base": provider.api_base, "api_key": SECRET}
    entry = ModelEntry(model_name="group", litellm_params=parameters, model_info={"mode": "chat"}, line=1)
    deployments = LiteLLMDeployments((entry,), environment={}, simulate_missing=False)
    return deployments, make(deployments)


@pytest.fixture
async def bench(
    request: pytest.FixtureRequest, wiring: tuple[LiteLLMDeployments, Backend], provider: ScriptedProvider
) -> AsyncIterator[Bench]:
    deployments, backend = wiring
    probe = ChatRequest(
        dialect="chat", body=b"{}", document={}, requested_model="group", stream=False, include_usage=False
    )
    assert not deployments.left_out
    deployment = await deployments.pick("group", probe)
    assert deployment.backend == request.node.callspec.params["wiring"]
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
    assert str(asked["model"]).endswith("m-1")
    assert (asked["messages"], asked["temperature"]) == ([{"role": "user", "content": "hi"}], 0.5)


async def test_a_streamed_call_gives_events_usage_and_an_end(bench: Bench) -> None:
    leg, events = await bench.leg()
    assert text(events) == "Hello there, bot."
    assert leg.finish_reasons == ("stop",)
    assert leg.usage is not None
    assert (leg.usage.input_tokens, leg.usage.output_tokens) == (11, 4)
    assert bench.provider.requests[0].json()["stream_options"] == {"include_usage": True}


async def test_tool_calls_come_whole_and_in_pieces(bench: Bench) -> None:
    arguments = '{"city": "Köln", "days": 3}'
    bench.provider.always("*", Reply(tool_arguments=arguments, finish_reason="tool_calls"))
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
    document = json.loads((await bench.whole(input=["a", "b"])).body)
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
    bench.provider.always("*", reply)
    error = await bench.refused(stream=stream)
    assert (error.kind, error.status) == (kind, status)
    assert error.source == ("gateway" if kind == "connect" else "provider")
    assert error.retry_after_s == (7 if kind == "rate_limited" else None)
    assert len(bench.provider.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_breaks_off_is_a_cut(bench: Bench, stream: bool) -> None:
    bench.provider.always("*", Reply(fault="cut"))
    error = await bench.refused(stream=stream)
    assert next_step(error, is_retry=False) == "retry"  # LiteLLM hides how a whole body broke off
    assert stream is False or error.kind == "cut"


async def test_a_stream_that_merely_ends_is_a_cut(bench: Bench) -> None:
    bench.provider.always("*", Reply(fault="clean_cut"))
    assert (await bench.refused(stream=True)).kind == "cut"


async def test_an_error_event_is_an_error(bench: Bench) -> None:
    bench.provider.always("*", Reply(error_at=1))
    assert (await bench.refused(stream=True)).kind in ("server_error", "cut")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_refused_and_the_key_stays(bench: Bench, status: int, stream: bool) -> None:
    async with ScriptedProvider() as elsewhere:
        bench.provider.always("*", Reply(status=status, headers={"Location": elsewhere.api_base + "/chat/completions"}))
        error = await bench.refused(stream=stream)
        assert elsewhere.connections == 0
    assert error.kind == "server_error"
    assert "redirect" in error.message


@pytest.mark.parametrize("status", [400, 401, 500])
async def test_the_key_is_in_no_error_even_where_the_provider_repeats_it(bench: Bench, status: int) -> None:
    said = {"error": {"message": f"Incorrect API key provided: {SECRET} in 'Bearer {SECRET}'", "code": SECRET[:5]}}
    bench.provider.always("*", Reply(status=status, body=json.dumps(said)))
    error = await bench.refused(stream=False)
    assert SECRET not in repr((error.args, vars(error)))
    assert SECRET not in repr(bench.deployment)


async def test_cookies_and_unknown_headers_go_no_further(bench: Bench) -> None:
    headers = {"Set-Cookie": "session=1", "X-Internal": SECRET, "OpenAI-Organization": "org-1"}
    bench.provider.always("*", Reply(headers=headers))
    for _ in range(2):
        answer = await bench.whole()
        assert not {"set-cookie", "x-internal", "openai-organization"} & set(answer.headers)
    assert "cookie" not in bench.provider.requests[1].headers


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cancelled_call_hangs_up(bench: Bench, stream: bool) -> None:
    bench.provider.always("*", Reply(fault="silent"))
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(bench.backend.send(bench.call(fields={"stream": stream})))
        await bench.provider.wait_for_requests(1)
        task.cancel()
    assert task.cancelled()
    await bench.provider.wait_for_hang_up()


async def test_closing_the_chunks_in_the_middle_hangs_up(bench: Bench) -> None:
    bench.provider.always("*", Reply(fault="stall"))
    answer = await bench.backend.send(bench.call(fields={"stream": True}))
    assert isinstance(answer, Streamed)
    await anext(answer.chunks)
    closing: object = answer.chunks
    assert isinstance(closing, Closeable)
    await closing.aclose()
    await bench.provider.wait_for_hang_up()


async def test_chunks_that_nobody_read_can_be_closed(bench: Bench) -> None:
    bench.provider.always("*", Reply(fault="stall"))
    call = bench.call(fields={"stream": True})
    leg = Leg(bench.deployment, "first", call.request, 0.0, gap_s=20)
    leg.take(await bench.backend.send(call))
    await leg.close()
    await bench.provider.wait_for_hang_up()


async def test_close_may_be_called_twice(bench: Bench) -> None:
    await bench.whole()
    await bench.backend.close()
    await bench.backend.close()
