"""What must never leave: provider keys, gateway keys, prompts in logs; and no client chooses what the gateway calls."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog

from gateway.logs import AccessLog, configure_logs
from tests.anthropic_provider import AnthropicProvider
from tests.anthropic_provider import Reply as AnthropicReply
from tests.http.canary import Canary
from tests.http.conftest import StartGateway
from tests.http.refusals import assert_error_body
from tests.http.running import MODELS, Answer, Gateway
from tests.provider import Reply

CHAT = "/v1/chat/completions"
SMALL, LARGE, NATIVE = "sk-provider-small", "sk-provider-large", "sk-ant-provider-key"
ADMIN = "the-admin-key-of-tests"
MESSAGES = [{"role": "user", "content": "hi"}]
PROMPT = "PROMPT-7f3a-the-rosebud-is-a-sledge"
ANSWER = "ANSWER-91bc-nobody-logs-this"
METADATA_SERVICE = "http://169.254.169.254/latest/meta-data"
CLAUDE = """
  - {{model_name: claude, litellm_params: {{model: anthropic/claude-haiku-4-5, api_base: "ORIGIN", api_key: KEY}}}}
""".replace("KEY", NATIVE)


@pytest.fixture
def log() -> Iterator[tuple[io.StringIO, AccessLog]]:
    """The real logs, down to debug, in a buffer."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    buffer = io.StringIO()
    yield buffer, configure_logs("debug", stream=buffer, is_console=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    async with Canary() as listening:
        yield listening


@pytest.fixture
async def native() -> AsyncIterator[AnthropicProvider]:
    async with AnthropicProvider() as provider:
        yield provider


@pytest.fixture
async def both(start_gateway: StartGateway, native: AnthropicProvider) -> Gateway:
    """A gateway with OpenAI-shaped models and one that LiteLLM translates for."""
    return await start_gateway(models=MODELS + CLAUDE.replace("ORIGIN", native.origin), admin_key=ADMIN)


async def fetched(gateway: Gateway, path: str, **headers: str) -> Answer:
    async with gateway.session.get(gateway.url + path, headers=headers) as answer:
        return Answer(status=answer.status, headers=answer.headers, body=await answer.read())


def text_of(answer: Answer) -> str:
    """Everything that left, headers included."""
    return "\n".join(f"{name}: {value}" for name, value in answer.headers.items()) + "\n" + answer.body.decode()


# -- keys and prompts ------------------------------------------------------------------------------------------------


def echoing(key: str) -> list[Reply]:
    """Answers of a provider that repeats the key wherever an error has room for it."""
    said = f"Incorrect API key provided: {key}. Bearer {key}"
    everywhere = {"message": said, "type": key, "param": f"headers.{key}", "code": key, "detail": {"key": key}}
    return [
        Reply(status=status, body=json.dumps({"error": everywhere}), headers={"X-Echo": key, "Set-Cookie": f"k={key}"})
        for status in (400, 401, 403, 404, 422, 429, 500, 503)
    ] + [
        Reply(status=400, body=said),
        Reply(status=500, body=f"<html>{said}</html>"),
        Reply(status=400, body=json.dumps({"error": said})),
        Reply(status=400, body=json.dumps({"detail": said})),
        Reply(body=json.dumps({"error": everywhere})),
    ]


async def asked_all_ways(gateway: Gateway) -> list[Answer]:
    """Ask every endpoint, well and badly, with the prompt in every place that may hold one."""
    gateway.provider.always("up-small", Reply(words=(ANSWER,)))
    return [
        await gateway.chat(PROMPT),
        await gateway.chat(PROMPT),
        await gateway.chat(PROMPT, stream=True),
        await gateway.chat(f"{PROMPT} streamed", stream=True),
        await gateway.chat(PROMPT, model="claude"),
        await gateway.chat(PROMPT, tools=PROMPT),
        await gateway.chat(PROMPT, cache={"namespace": f"{PROMPT} "}),
        await gateway.post("/v1/embeddings", {"model": "embed", "input": PROMPT}),
        await gateway.post("/v1/embeddings", {"model": "embed", "input": [PROMPT, 1]}),
        await gateway.post("/v1/pipelines/debate", {"transcript": PROMPT}),
        await gateway.post("/v1/pipelines/debate", [PROMPT]),
        await gateway.post(CHAT, PROMPT),
        await gateway.post(CHAT, {"model": "small", "messages": PROMPT}, Authorization=f"Bearer x{gateway.key}"),
        await fetched(gateway, "/v1/models"),
        await fetched(gateway, "/health/ready"),
        await fetched(gateway, "/admin/status", Authorization=f"Bearer {ADMIN}"),
        await fetched(gateway, "/admin/status"),
    ]


async def failed_all_ways(gateway: Gateway) -> list[Answer]:
    """Ask a provider that repeats its key in every error."""
    answers: list[Answer] = []
    for number, reply in enumerate(echoing(SMALL)):
        gateway.provider.always("up-small", reply)
        gateway.provider.always("up-large", Reply(status=400, body=f"no: {LARGE}"))
        answers.append(await gateway.chat(f"{PROMPT} error {number}"))
        answers.append(await gateway.chat(f"{PROMPT} error {number}", stream=True))
    event = f'data: {{"error": {{"message": "bad key {SMALL}", "type": "{SMALL}", "code": "{SMALL}"}}}}\n\n'
    gateway.provider.always("up-small", Reply(words=(ANSWER, "b"), error_at=1, error_event=event))
    answers.append(await gateway.chat(f"{PROMPT} event", stream=True))
    return answers


async def test_no_key_and_no_prompt_leaves_whatever_happens(both: Gateway, log: tuple[io.StringIO, AccessLog]) -> None:
    gateway, (buffer, access_log) = both, log
    answers = [*await asked_all_ways(gateway), *await failed_all_ways(gateway)]
    for outcome in gateway.outcomes:
        access_log(outcome)
    answers.append(metrics := await fetched(gateway, "/metrics"))
    access_log.flush()
    logged = buffer.getvalue()
    assert logged.count('"event":"request"') == len(gateway.outcomes) > len(answers) - 6
    for secret in (SMALL, LARGE, NATIVE, ADMIN, gateway.key):
        assert [text_of(one) for one in answers if secret in text_of(one)] == []
        assert secret not in logged
    for text in (PROMPT, ANSWER):
        assert text not in logged
        assert text.encode() not in metrics.body
    assert "set-cookie" not in {name.lower() for one in answers for name in one.headers}


async def test_a_crash_shows_the_client_nothing_and_the_log_only_where(
    gateway: Gateway, log: tuple[io.StringIO, AccessLog]
) -> None:
    def crash() -> dict[str, object]:
        raise RuntimeError(f"{PROMPT} {gateway.key} {SMALL}")

    gateway.worker.services.details = crash
    answer = await fetched(gateway, "/health/ready")
    error = assert_error_body(answer)
    assert (answer.status, error["code"], answer.headers["x-should-retry"]) == (500, "internal_error", "false")
    [outcome] = gateway.outcomes
    assert (outcome.status, outcome.error_code) == (500, "internal_error")
    [line] = [json.loads(line) for line in log[0].getvalue().splitlines()]
    assert line["event"] == "task crashed"
    assert line["task"] == answer.headers["x-request-id"]
    assert any("test_secrets.py" in frame for frame in line["frames"])
    for secret in (PROMPT, gateway.key, SMALL):
        assert secret not in text_of(answer) + log[0].getvalue()


async def test_a_provider_gets_its_own_key_and_nothing_else_of_the_client(both: Gateway) -> None:
    sent = {"Cookie": "a=b", "X-Secret": "mine", "OpenAI-Organization": "org", "User-Agent": "bot", "X-Api-Key": "k"}
    assert (await both.chat("hi", headers=sent)).status == 200
    [seen] = both.provider.requests
    assert seen.headers["authorization"] == f"Bearer {SMALL}"
    assert not {"cookie", "x-secret", "openai-organization", "x-api-key"} & set(seen.headers)
    assert seen.headers["user-agent"] != "bot"
    assert both.key not in str(seen.headers) + seen.body.decode()


async def test_of_a_providers_headers_only_the_known_ones_come_back(gateway: Gateway) -> None:
    given = {
        "Set-Cookie": "session=1",
        "X-Internal": "secret",
        "Server": "theirs",
        "X-Request-Id": "theirs",
        "Openai-Organization": "acme",
        "X-Foreword-Cost-Usd": "99",
        "OpenAI-Processing-Ms": "12",
    }
    gateway.provider.always("up-small", Reply(headers=given))
    answer = await gateway.chat("headers", headers={"x-request-id": "mine-1"})
    assert answer.headers["openai-processing-ms"] == "12"
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["x-provider-request-id"] == "theirs"
    assert answer.headers["x-foreword-cost-usd"] != "99"
    assert not {"set-cookie", "x-internal", "openai-organization"} & {name.lower() for name in answer.headers}


# -- whom the gateway calls ------------------------------------------------------------------------------------------


PRETENCES: dict[str, object] = {
    "api_key": "sk-mine",
    "api_version": "2024-01-01",
    "api_type": "azure",
    "extra_headers": {"Authorization": "Bearer sk-mine"},
    "extra_query": {"a": "b"},
    "default_headers": {"X-Api-Key": "sk-mine"},
    "mock_response": "made up",
    "mock_tool_calls": [],
    "mock_timeout": True,
    "context_window_fallbacks": [{"claude": ["small"]}],
    "metadata": {"user_api_key": "x"},
    "litellm_metadata": {"a": "b"},
    "litellm_logging_obj": {},
    "litellm_credential_name": "other",
    "input_cost_per_token": 0,
    "output_cost_per_token": 0,
    "custom_llm_provider": "openai",
    "timeout": 0.001,
    "num_retries": 100,
    "max_retries": 100,
    "callbacks": ["langfuse"],
    "organization": "other",
    "vertex_credentials": "/etc/passwd",
    "ssl_verify": False,
    "no-log": True,
    "prompt_id": "p",
}


def dangerous(url: str) -> dict[str, object]:
    """Body fields that would move a call, its key, its price or its answer elsewhere, if anything obeyed them."""
    addressed: dict[str, object] = {
        "api_base": url,
        "base_url": url,
        "headers": {"Host": url},
        "fallbacks": [{"model": "openai/gpt-4o", "api_base": url}],
        "model_list": [{"model_name": "claude", "litellm_params": {"api_base": url}}],
        "litellm_params": {"api_base": url},
        "client": {"base_url": url},
        "success_callback": [url],
        "azure_endpoint": url,
        "aws_bedrock_runtime_endpoint": url,
        "proxy_server_request": {"url": url},
        "guardrails": [url],
        "API_BASE": url,
        " api_base": url,
    }
    return {**PRETENCES, **addressed}


@pytest.mark.parametrize("target", ["canary", METADATA_SERVICE])
async def test_no_body_field_moves_a_translated_call(
    both: Gateway, native: AnthropicProvider, canary: Canary, target: str
) -> None:
    fields = dangerous(canary.url if target == "canary" else target)
    obeyed: dict[str, object] = {}
    for name, value in fields.items():
        for where, changed in ((name, {name: value}), (f"extra_body.{name}", {"extra_body": {name: value}})):
            answer = await both.post(CHAT, {"model": "claude", "messages": MESSAGES, **changed})
            error = answer.json().get("error", {})
            if (answer.status, error.get("param"), error.get("source")) != (400, where, "gateway"):
                obeyed[where] = answer.json()
    assert obeyed == {}
    assert (canary.connections, native.requests, both.provider.requests) == (0, [], [])
    assert [outcome.error_source for outcome in both.outcomes] == ["gateway"] * 2 * len(fields)


async def test_on_an_openai_shaped_call_such_fields_are_only_words_of_the_body(both: Gateway, canary: Canary) -> None:
    fields = dangerous(canary.url)
    answer = await both.post(CHAT, {"model": "small", "messages": MESSAGES, **fields})
    assert answer.status == 200
    assert answer.json()["choices"][0]["message"]["content"] == "Hello there, bot."
    [seen] = both.provider.requests
    assert {name: seen.json()[name] for name in fields} == fields
    assert seen.headers["authorization"] == f"Bearer {SMALL}"
    assert seen.headers["host"] == both.provider.origin.removeprefix("http://")
    assert answer.headers["x-foreword-cost-usd"] == "0.000019000"
    assert canary.connections == 0


@pytest.mark.parametrize("link", ["{canary}/a.png", METADATA_SERVICE, "file:///etc/passwd", "//127.0.0.1/a.png"])
async def test_the_gateway_fetches_no_link_of_a_message(
    both: Gateway, native: AnthropicProvider, canary: Canary, link: str
) -> None:
    image = {"type": "image_url", "image_url": {"url": link.format(canary=canary.url)}}
    answer = await both.post(CHAT, {"model": "claude", "messages": [{"role": "user", "content": [image]}]})
    error = assert_error_body(answer)
    assert (answer.status, error["param"]) == (400, "messages[0].content[0].image_url.url")
    assert (canary.connections, native.requests) == (0, [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_with_the_key(both: Gateway, canary: Canary, status: int) -> None:
    away = Reply(status=status, headers={"Location": f"{canary.url}/v1/chat/completions?k={SMALL}"})
    both.provider.always("*", away)
    for stream in (False, True):
        answer = await both.chat(f"away {status}", stream=stream)
        assert_error_body(answer)
        assert answer.status == 502
        assert canary.url not in text_of(answer)
        assert "location" not in {name.lower() for name in answer.headers}
    assert canary.connections == 0


async def test_a_redirect_of_a_native_provider_is_not_followed_either(
    both: Gateway, native: AnthropicProvider, canary: Canary
) -> None:
    native.queue(*[AnthropicReply(status=307, headers={"Location": f"{canary.url}/v1/messages"}, error={})] * 8)
    both.provider.always("up-large", Reply(status=503))  # the route's fallback
    answer = await both.chat("away", model="claude")
    assert_error_body(answer)
    assert answer.status in (502, 503)
    assert canary.url not in text_of(answer)
    assert native.requests
    assert canary.connections == 0
