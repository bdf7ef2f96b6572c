"""The door under arbitrary input: whatever is sent, never a 5xx, a trace or a leak, and the gateway goes on.

One gateway for all examples, asked over its real socket.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.http.routes import CLIENT, OPS
from tests.http.raw import wire_to
from tests.http.refusals import TRACES, assert_error_body
from tests.http.running import MODELS, POLICY, Answer, Gateway, running_gateway

EXAMPLES = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
IMPATIENT_S = 0.3
# What the client asked for, and a provider that answers a pipeline's step with no JSON.
NOT_THE_GATEWAYS = (b'"code":"only_if_cached"', b'"code":"schema_mismatch"')
SECRETS = (b"sk-provider", b"sk-fw-")
# What the bots of wire.md send.
REAL: tuple[dict[str, object], ...] = (
    {
        "model": "small",
        "messages": [
            {"role": "system", "content": "Today is Sunday, November 22. The time is 19:57:37."},
            {"role": "user", "content": "<@123456789>: hello", "name": "123456789"},
        ],
        "stream": True,
    },
    {
        "model": "small",
        "messages": [{"role": "user", "content": "hi"}],
        "n": 1,
        "logit_bias": {},
        "top_p": 1,
        "user": "U024BE7LH",
        "functions": [{"name": "f", "parameters": {"type": "object", "properties": {}}}],
        "stream": True,
    },
    {"model": "embed", "input": ["one", "two"], "encoding_format": "base64"},
    {
        "model": "small",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "look"}]}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "required",
        "stream_options": {"include_usage": True},
        "stream": True,
    },
    {"model": "small", "messages": [{"role": "user", "content": "debate"}], "provider": {"order": ["OpenAI"]}},
    {"model": "pipeline/debate", "messages": [{"role": "user", "content": "A: yes\nB: no"}]},
)
PATHS = sorted({path for _, path, _, _ in (*CLIENT, *OPS)})
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "BREW")

plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
)
header_names = st.sampled_from(
    (
        *("x-request-id", "x-foreword-deadline-ms", "x-foreword-tags", "x-foreword-session", "x-foreword-dry-run"),
        *("Cache-Control", "traceparent", "Authorization", "Content-Type", "Content-Encoding", "Expect", "Host"),
        *("X-Forwarded-For", "Origin", "Connection", "Upgrade", "Transfer-Encoding", "Content-Length", "Accept"),
        *("Cookie", "Range", "If-None-Match", "TE", "X-Anything"),
    )
)
visible = st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")
header_values = st.text(visible, max_size=60).map(lambda text: text.encode("latin-1")) | st.sampled_from(
    (b"1", b"0", b"-1", b"9" * 30, b"chunked", b"close", b"no-cache, max-age=9999999999999999999999", b"websocket")
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> AsyncIterator[Gateway]:
    home = Path(tmp_path_factory.mktemp("door")) / uuid.uuid4().hex
    quick: dict[str, str | bool] = {"body_read_timeout_s": "0.05", "admin_key": "the-admin-key-of-tests"}
    async with running_gateway(home, redis_url, models=MODELS, policy=POLICY, settings=quick) as running:
        yield running


async def answer_to(gateway: Gateway, data: bytes, *, patience_s: float) -> bytes:
    """Send `data` and return the first answer to it, nothing where the gateway still waits for more."""
    said = b""
    async with wire_to(gateway.url) as wire:
        await wire.send(data)
        try:
            async with asyncio.timeout(patience_s):
                while not is_whole(said) and (more := await wire.reader.read(65_536)):
                    said += more
        except (TimeoutError, ConnectionError):
            return b""
    return said


def is_whole(said: bytes) -> bool:
    head, end, body = said.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return bool(end) and length is not None and len(body) >= int(length[1])


def check(said: bytes, *, is_head: bool = False) -> None:
    """Check what came back: no 5xx, no trace, no secret, and the one error body wherever it is a 4xx."""
    assert not any(text in said for text in (*TRACES, *SECRETS)), said
    if not said:
        return  # half a request: the gateway waits for the rest
    head, _, body = said.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split()[1])
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    assert status < 500 or any(code in said for code in NOT_THE_GATEWAYS), said
    if 400 <= status < 500 and not is_head:
        body = body[: int(headers["content-length"])]
        named = {"Content-Type": headers["content-type"], "x-request-id": headers["x-request-id"]}
        assert_error_body(Answer(status=status, headers=named, body=body))


async def still_answers(gateway: Gateway) -> None:
    answer = await gateway.chat(uuid.uuid4().hex)
    assert answer.status == 200
    assert not gateway.worker.services.open_by_key


async def posted(gateway: Gateway, path: str, body: bytes) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gateway.key}\r\nConnection: close\r\n"
    data = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
    said = await answer_to(gateway, data, patience_s=10)
    assert said
    check(said)
    await still_answers(gateway)


def encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def places(node: object) -> Iterator[Callable[[object], None]]:
    """Yield a setter for everything in a document, and for fields that it may lack."""
    if isinstance(node, dict):
        for name in ("cache", "n", "stop", "x", *node):
            yield partial(node.__setitem__, name)
        for inner in node.values():
            yield from places(inner)
    elif isinstance(node, list):
        for index, inner in enumerate(node):
            yield partial(node.__setitem__, index)
            yield from places(inner)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real request with a few of its values, at any depth, replaced or added."""
    document = json.loads(json.dumps(draw(st.sampled_from(REAL))))
    for _ in range(draw(st.integers(1, 3))):
        setters = list(places(document))
        setters[draw(st.integers(0, len(setters) - 1))](draw(values))
    return encoded(document)


@pytest.mark.asyncio(loop_scope="module")
@EXAMPLES
@given(
    body=values.map(encoded), path=st.sampled_from(("/v1/chat/completions", "/v1/embeddings", "/v1/pipelines/debate"))
)
async def test_random_json_is_answered_properly(gateway: Gateway, body: bytes, path: str) -> None:
    await posted(gateway, path, body)


@pytest.mark.asyncio(loop_scope="module")
@EXAMPLES
@given(body=st.binary(max_size=300))
async def test_random_bytes_as_a_body_are_answered_properly(gateway: Gateway, body: bytes) -> None:
    await posted(gateway, "/v1/chat/completions", body)


@pytest.mark.asyncio(loop_scope="module")
@settings(EXAMPLES, max_examples=150)
@given(body=mutated())
async def test_a_mutated_real_request_is_answered_properly(gateway: Gateway, body: bytes) -> None:
    path = "/v1/embeddings" if b'"input"' in body else "/v1/chat/completions"
    await posted(gateway, path, body)


@pytest.mark.asyncio(loop_scope="module")
@EXAMPLES
@given(
    data=st.binary(max_size=300), start=st.sampled_from((b"", b"GET / HTTP/1.1\r\n", b"POST /v1/models HTTP/1.1\r\n"))
)
async def test_random_bytes_on_the_wire_are_answered_properly(gateway: Gateway, data: bytes, start: bytes) -> None:
    check(await answer_to(gateway, start + data + b"\r\n\r\n", patience_s=IMPATIENT_S))
    await still_answers(gateway)


@pytest.mark.asyncio(loop_scope="module")
@settings(EXAMPLES, max_examples=150)
@given(
    method=st.sampled_from(METHODS),
    path=st.sampled_from(PATHS),
    tail=st.sampled_from(("", "", "", "/", "//", "?a=b&a=%ff", "%ff%00", "%2f..%2f", "é", "#a", ";a", "/" + "a" * 200)),
    headers=st.lists(st.tuples(header_names, header_values), max_size=4),
    body=st.sampled_from(REAL),
)
async def test_random_headers_and_paths_are_answered_properly(
    gateway: Gateway, method: str, path: str, tail: str, headers: list[tuple[str, bytes]], body: dict[str, object]
) -> None:
    lines = [f"{method} {path}{tail} HTTP/1.1".encode()]
    given_names = {name.lower() for name, _ in headers}
    if "host" not in given_names:
        lines.append(b"Host: a")
    if "authorization" not in given_names:
        lines.append(f"Authorization: Bearer {gateway.key}".encode())
    lines += [name.encode() + b": " + value for name, value in headers]
    data = encoded(body)
    lines += [b"Content-Length: %d" % len(data), b"Connection: close", b"", b""]
    said = await answer_to(gateway, b"\r\n".join(lines) + data, patience_s=IMPATIENT_S)
    check(said, is_head=method == "HEAD")
    await still_answers(gateway)
