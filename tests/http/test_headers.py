"""What requests may say in headers, what answers say in theirs, and the codes that errors keep on their way through."""

from __future__ import annotations

import json

import pytest

from tests.http.conftest import StartGateway
from tests.http.folding import folded
from tests.http.running import Gateway
from tests.provider import Reply

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TAGGED = """
version: 1
policy: tagged
routes:
  - {name: fallacy, match: {tag: "task=fallacy"}, candidates: [large]}
  - {name: other, match: {any: true}, candidates: [requested]}
"""


async def test_a_fit_request_id_is_kept(gateway: Gateway) -> None:
    for given in ("a", "Bot-7_run.42", "x" * 64):
        answer = await gateway.chat(headers={"x-request-id": given})
        assert answer.headers["x-request-id"] == given
        assert gateway.outcomes[-1].request_id == given


async def test_an_unfit_request_id_is_replaced(gateway: Gateway) -> None:
    for given in ("", "x" * 65, "a b", "ä", 'a"b', "a/b", "<script>"):
        answer = await gateway.chat(headers={"x-request-id": given})
        assert answer.headers["x-request-id"].startswith("req-"), given
        assert answer.headers["x-request-id"] == gateway.outcomes[-1].request_id


async def test_an_error_and_a_stream_carry_the_request_id_too(gateway: Gateway) -> None:
    streamed = await gateway.chat(headers={"x-request-id": "s-1"}, stream=True)
    refused = await gateway.chat(headers={"x-request-id": "e-1"}, temperature="hot")
    listed = await gateway.session.get(gateway.url + "/v1/models", headers={"x-request-id": "m-1"})
    assert [answer.headers["x-request-id"] for answer in (streamed, refused, listed)] == ["s-1", "e-1", "m-1"]


async def test_a_whole_answer_says_everything_about_itself(gateway: Gateway) -> None:
    miss, hit = await gateway.chat("told"), await gateway.chat("told")
    version = gateway.worker.services.book.current().policies[0].version
    for answer, expected in (
        (miss, {"cache": "miss", "reason": "fixed:small", "attempts": "1", "cost-usd": "0.000019000"}),
        (hit, {"cache": "hit", "reason": "hit", "attempts": "0", "saved-usd": "0.000019000"}),
    ):
        said = {k.removeprefix("x-foreword-"): v for k, v in answer.headers.items() if k.startswith("x-foreword-")}
        assert float(said.pop("overhead-ms")) >= 0
        always = {"model": "small", "route": "chat", "policy": f"default@{version}", "provider": "openai"}
        money = {"cost-usd": "0.000000000", "saved-usd": "0.000000000"}
        assert said == {**always, **money, **expected}


async def test_a_stream_says_all_that_is_known_at_its_beginning(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(gate="rest", gate_at=3))
    body = {"model": "small", "messages": [{"role": "user", "content": "x"}], "stream": True}
    async with gateway.session.post(gateway.url + "/v1/chat/completions", json=body) as answer:
        gateway.provider.open_gate("rest")
        headers = answer.headers
    assert headers["x-foreword-model"] == "small"
    assert headers["x-foreword-cache"] == "miss"
    assert headers["x-foreword-attempts"] == "1"
    # Nobody knows yet what it will cost.
    assert "x-foreword-cost-usd" not in headers
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert headers["Cache-Control"] == "no-cache"
    assert headers["X-Accel-Buffering"] == "no"


async def test_a_model_without_a_price_costs_an_unknown_amount_not_nothing(start_gateway: StartGateway) -> None:
    models = """
model_list:
  - {{model_name: small, litellm_params: {{model: openai/nobody-knows-its-price, api_base: "{base}", api_key: sk-x}}}}
  - {{model_name: large, litellm_params: {{model: openai/nor-its, api_base: "{base}", api_key: sk-x}}}}
"""
    gateway = await start_gateway(models=models)
    assert (await gateway.chat()).headers["x-foreword-cost-usd"] == "unknown"
    assert gateway.outcomes[0].cost_nanousd is None


async def test_a_providers_rate_limit_figures_are_passed_on_and_its_other_headers_are_not(gateway: Gateway) -> None:
    headers = {"x-ratelimit-remaining-requests": "7", "Set-Cookie": "a=b", "x-request-id": "theirs", "X-Their": "1"}
    gateway.provider.script("up-small", Reply(headers=headers))
    answer = await gateway.chat()
    assert answer.headers["x-ratelimit-remaining-requests"] == "7"
    assert answer.headers["x-provider-request-id"] == "theirs"
    assert answer.headers["x-request-id"].startswith("req-")
    assert "Set-Cookie" not in answer.headers
    assert "X-Their" not in answer.headers


@pytest.mark.parametrize("stream", [False, True])
async def test_a_traceparent_is_passed_on(gateway: Gateway, stream: bool) -> None:
    await gateway.chat(headers={"traceparent": TRACE}, stream=stream)
    assert gateway.provider.requests[0].headers["traceparent"] == TRACE


async def test_a_broken_traceparent_is_dropped(gateway: Gateway) -> None:
    for broken in ("", "00-short-01", TRACE.upper(), TRACE + "-x"):
        assert (await gateway.chat(f"with {broken}", headers={"traceparent": broken})).status == 200
        assert "traceparent" not in gateway.provider.requests[-1].headers, broken
    assert len(gateway.provider.requests) == 4


async def test_a_clients_own_headers_reach_no_provider(gateway: Gateway) -> None:
    await gateway.chat(headers={"x-foreword-tags": "a=b", "Cookie": "c=d", "x-forwarded-for": "1.2.3.4", "x-mine": "1"})
    sent = gateway.provider.requests[0].headers
    assert not {"x-foreword-tags", "cookie", "x-forwarded-for", "x-mine", "x-request-id"} & set(sent)


async def test_tags_choose_a_route(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=TAGGED)
    tagged = await gateway.chat(headers={"x-foreword-tags": "show=weekly, task=fallacy"})
    plain = await gateway.chat(headers={"x-foreword-tags": "show=weekly"})
    assert [(a.headers["x-foreword-route"], a.headers["x-foreword-model"]) for a in (tagged, plain)] == [
        ("fallacy", "large"),
        ("other", "small"),
    ]
    assert gateway.outcomes[0].tags == ("show=weekly", "task=fallacy")


async def test_a_deadline_that_passes_is_a_504_that_nobody_retries(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(gate="never"))
    answer = await gateway.chat(headers={"x-foreword-deadline-ms": "300"})
    error = answer.json()["error"]
    assert (answer.status, error["code"], error["source"]) == (504, "deadline_exceeded", "gateway")
    assert error["message"] == "no complete answer within the caller's own deadline"
    assert answer.headers["x-should-retry"] == "false"
    await gateway.provider.wait_for_hang_up()
    assert (gateway.outcomes[0].status, gateway.outcomes[0].error_code) == (504, "deadline_exceeded")


async def test_a_deadline_that_passes_in_a_stream_is_an_error_event(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(gate="never", gate_at=3))
    answer = await gateway.chat(headers={"x-foreword-deadline-ms": "400"}, stream=True)
    *_, last = answer.events()
    assert json.loads(last)["error"]["code"] == "deadline_exceeded"
    await gateway.provider.wait_for_hang_up()


async def test_a_rate_limit_is_not_waited_for_beyond_the_callers_own_deadline(gateway: Gateway) -> None:
    gateway.provider.always("*", Reply(status=429, headers={"retry-after-ms": "30000"}))
    answer = await gateway.chat(headers={"x-foreword-deadline-ms": "4500"})
    assert answer.status == 429
    assert answer.headers["retry-after-ms"] == "30000"
    assert [attempt.group for attempt in gateway.outcomes[0].attempts] == ["small", "large"]


async def test_a_dry_run_shows_the_plan_and_calls_nobody(gateway: Gateway) -> None:
    answer = await gateway.chat("plan", headers={"x-foreword-dry-run": "1", "x-foreword-deadline-ms": "1500"})
    plan = answer.json()
    assert plan["object"] == "foreword.plan"
    assert (plan["policy"], plan["route"], plan["candidates"]) == ("default", "chat", ["small", "large"])
    assert plan["deadline_s"] == 1.5
    assert gateway.provider.requests == []
    embeddings = {"model": "embed", "input": "x"}
    again = await gateway.post("/v1/embeddings", embeddings, **{"x-foreword-dry-run": "1"})
    assert again.json()["candidates"] == ["embed"]
    assert gateway.provider.requests == []


@pytest.mark.parametrize(
    ("status", "error", "code", "asked"),
    [
        (400, {"message": "This model's maximum context length is 8192", "code": "context_length_exceeded"}, None, 1),
        (400, {"message": "flagged", "code": "content_policy_violation"}, None, 1),
        (400, {"message": "Invalid 'tools[0]'", "type": "invalid_request_error", "param": "tools[0]"}, "", 1),
        (422, {"message": "unknown field", "type": "invalid_request_error"}, "", 1),
    ],
)
async def test_a_providers_refusal_keeps_its_words_and_code(
    gateway: Gateway, status: int, error: dict[str, str], code: str | None, asked: int
) -> None:
    gateway.provider.always("*", Reply(status=status, body=json.dumps({"error": error})))
    answer = await gateway.chat()
    told = answer.json()["error"]
    assert answer.status == status
    assert told["source"] == "provider"
    assert told["message"].startswith(error["message"])
    assert told["code"] == (code or error.get("code") or "invalid_request")
    assert told["param"] == error.get("param")
    assert len(gateway.provider.requests) == asked


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_provider_that_refuses_our_key_is_no_401_of_the_callers(gateway: Gateway, status: int) -> None:
    body = json.dumps(
        {"error": {"message": "Incorrect API key provided: sk-provider-small", "code": "invalid_api_key"}}
    )
    gateway.provider.always("*", Reply(status=status, body=body))
    answer = await gateway.chat()
    assert (answer.status, answer.json()["error"]["code"]) == (502, "invalid_api_key")
    assert answer.json()["error"]["source"] == "provider"
    assert b"sk-provider" not in answer.body


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(fault="cut", after_events=3), "stream_cut"),
        (Reply(fault="clean_cut", after_events=3), "stream_cut"),
        (Reply(error_at=2), "502"),
    ],
    ids=["cut", "ended", "error event"],
)
async def test_a_failure_after_the_first_byte_is_an_error_event_without_done(
    gateway: Gateway, reply: Reply, code: str
) -> None:
    gateway.provider.script("up-small", reply)
    answer = await gateway.chat(stream=True)
    assert answer.status == 200
    events = answer.events()
    error = json.loads(events[-1])["error"]
    assert set(error) == {"message", "type", "param", "code", "source"}
    assert error["code"] == code
    assert "[DONE]" not in events
    assert (gateway.outcomes[0].result, gateway.outcomes[0].error_code) == ("error", code)


@pytest.mark.parametrize("stream", [False, True])
async def test_after_a_fallback_the_answer_names_who_gave_it(gateway: Gateway, stream: bool) -> None:
    gateway.provider.always("up-small", Reply(status=404))
    answer = await gateway.chat(stream=stream)
    assert folded(answer).model == "up-large"
    assert answer.headers["x-foreword-model"] == "large"
    assert answer.headers["x-foreword-attempts"] == "2"
    [outcome] = gateway.outcomes
    assert (outcome.requested_model, outcome.routed_model, outcome.response_model) == ("small", "large", "up-large")


async def test_a_stream_that_its_provider_forgot_to_end_is_ended(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(done=False, usage=None))
    answer = await gateway.chat(stream=True, stream_options={"include_usage": True})
    said = folded(answer)
    assert said.text == "Hello there, bot."
    assert said.usage is not None
    assert said.usage["completion_tokens"] > 0
    assert gateway.outcomes[0].usage.is_estimated


async def test_comments_and_line_ends_of_the_provider_are_made_plain(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(comments=True, crlf=True, piece_bytes=7, malformed_at=2))
    answer = await gateway.chat(stream=True)
    assert folded(answer).text == "Hello there, bot."
    assert b"\r" not in answer.body
