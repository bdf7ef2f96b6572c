"""What providers say went wrong becomes the right kind of error, and no key comes with it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.provider_errors import error_of_document, error_of_response, redact, retry_after_s


def body_of(message: str = "", **more: object) -> bytes:
    return json.dumps({"error": {"message": message, **more}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, body_of("bad temperature"), "bad_request"),
        (422, b'{"detail": "field required"}', "bad_request"),
        (400, body_of("long", code="context_length_exceeded"), "context_length"),
        (400, body_of("This model's maximum context length is 8192 tokens."), "context_length"),
        (400, body_of("prompt is too long: 210000 tokens > 200000 maximum"), "context_length"),
        (413, b'{"message": "input token count (9) exceeds the maximum"}', "context_length"),
        (400, body_of("no", code="content_policy_violation"), "content_policy"),
        (400, body_of("filtered due to the content management policy", code="content_filter"), "content_policy"),
        (403, body_of("Your input was flagged as violence"), "content_policy"),
        (401, body_of("Incorrect API key provided: sk-abc"), "auth"),
        (402, body_of("no credits"), "auth"),
        (403, body_of("forbidden"), "auth"),
        (404, body_of("no such model"), "not_found"),
        (400, body_of("x", code="model_not_found"), "not_found"),
        (408, b"", "timeout"),
        (429, body_of("slow down"), "rate_limited"),
        (429, body_of("context length of your tier"), "rate_limited"),
        (500, b"<html>oops", "server_error"),
        (502, b"", "server_error"),
        (503, body_of("busy"), "overloaded"),
        (504, b"", "timeout"),
        (529, body_of("overloaded", type="overloaded_error"), "overloaded"),
        (307, b"", "server_error"),
        (400, b'[{"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}]', "bad_request"),
        (400, b'{"error": "model requires more memory"}', "bad_request"),
    ],
)
def test_status_code_and_words_decide_the_kind(status: int, body: bytes, kind: str) -> None:
    error = error_of_response(status, {}, body, secret="")
    assert (error.kind, error.status) == (kind, status)
    assert error.message


def test_code_type_and_param_are_passed_on_as_text() -> None:
    error = error_of_response(400, {}, body_of("no", code=7, type="invalid_request_error", param="n"), secret="")
    assert (error.code, error.type, error.param, error.source) == ("7", "invalid_request_error", "n", "provider")


@pytest.mark.parametrize(
    ("document", "kind", "status"),
    [
        ({"error": {"message": "x", "code": 503}}, "overloaded", 503),
        ({"error": {"message": "x", "type": "rate_limit_error"}}, "rate_limited", None),
        ({"error": {"message": "x", "type": "overloaded_error"}}, "overloaded", None),
        ({"error": {"message": "x", "type": "invalid_request_error"}}, "bad_request", None),
        ({"error": "x"}, "server_error", None),
        ({"error": True}, "server_error", None),
        ([], "server_error", None),
    ],
)
def test_an_error_without_a_status_is_read_from_its_words(document: object, kind: str, status: int | None) -> None:
    error = error_of_document(document)
    assert (error.kind, error.status) == (kind, status)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT", "date": "Sun, 06 Nov 1994 08:49:37 GMT"}, 10.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:27 GMT", "date": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_the_key_is_in_no_message_whatever_the_provider_repeats(status: int) -> None:
    said = (
        "your key my.very.own-key, header 'Bearer my.very.own-key', or sk-proj-abc***wxyz, gsk_12345678, AIzaSyA-123456"
    )
    error = error_of_response(status, {}, body_of(said), secret="my.very.own-key")
    for piece in ("own-key", "sk-proj", "wxyz", "gsk_1", "AIza"):
        assert piece not in error.message


def test_plain_words_are_not_taken_for_keys() -> None:
    words = "Invalid 'messages[0].role': task-based, risk-averse, key: value, mask-generation, sk"
    assert redact(words) == words


@given(
    st.binary(max_size=80)
    | st.recursive(st.text(max_size=4), st.lists, max_leaves=4).map(lambda x: json.dumps(x).encode())
)
def test_any_error_body_gives_an_error(body: bytes) -> None:
    assert error_of_response(400, {}, body, secret="").status == 400
