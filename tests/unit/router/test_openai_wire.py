"""What the pass-through promises beyond the contract of all backends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from router.backends.openai_wire import OpenAIWire
from router.types import Deployment
from tests.contract.backend_bench import SECRET, Bench
from tests.nowhere import full_backlog
from tests.provider import Reply, ScriptedProvider


@pytest.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider() as provider:
        yield provider


@pytest.fixture
async def wire(provider: ScriptedProvider) -> AsyncIterator[Bench]:
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
    wire.provider.always("*", Reply(headers=headers))
    answer = await wire.whole()
    assert answer.headers == {"x-provider-request-id": "req_1", "x-ratelimit-remaining-tokens": "9"}


async def test_an_answer_passes_byte_for_byte(wire: Bench) -> None:
    body = '{ "choices" :[{"finish_reason":"stop", "message": {"content":"\\u00e9\\ud83d"}}], "x": 1.50 }\n'
    wire.provider.always("*", Reply(body=body))
    assert (await wire.whole(surprise={"b": [1.50, None]})).body == body.encode()
    assert wire.provider.requests[0].body.endswith(
        b'"surprise":{"b": [1.5, null]},"messages":[{"role": "user", "content": "hi"}]}'
    )


@pytest.mark.parametrize("status", [200, 500])
async def test_a_huge_body_takes_bounded_memory(wire: Bench, status: int) -> None:
    wire.provider.always("*", Reply(status=status, body="x" * 3_000_000))
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


async def test_a_connection_that_does_not_come_about_is_unreachable_and_not_a_silent_provider(wire: Bench) -> None:
    with full_backlog() as base:
        deployment = replace(wire.deployment, api_base=base)
        bench = Bench(backend=wire.backend, deployment=deployment, provider=wire.provider)
        error = await bench.refused(stream=False)
    assert (error.kind, error.status, error.source) == ("unreachable", None, "gateway")


async def test_connections_are_kept_after_answers_and_after_errors(wire: Bench) -> None:
    for status in (400, 429, 500):
        wire.provider.script("*", Reply(), Reply(status=status))
        await wire.whole()
        await wire.refused(stream=True)
    assert wire.provider.connections == 1
