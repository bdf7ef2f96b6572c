"""What every refusal has in common: the one error body, one Outcome, no call to a provider. No product code."""

from __future__ import annotations

import json

from gateway.outcome import Outcome
from tests.http.running import Answer, Gateway

ERROR_FIELDS = {"message", "type", "param", "code", "source"}
TRACES = (b"Traceback", b'File "', b".py", b"site-packages", b"<html", b"object at 0x")


def assert_error_body(answer: Answer) -> dict[str, object]:
    """Check the one error body (wire.md) and return what is in it."""
    document = json.loads(answer.body)
    assert set(document) == {"error"}
    error: dict[str, object] = document["error"]
    assert set(error) == ERROR_FIELDS
    for name in ("message", "type", "code"):
        assert isinstance(error[name], str)
        assert error[name]
    assert error["param"] is None or isinstance(error["param"], str)
    assert error["source"] in ("gateway", "provider")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["x-request-id"]
    assert not any(trace in answer.body for trace in TRACES)
    return error


def assert_refused(
    gateway: Gateway, answer: Answer, status: int, code: str, *, param: str | None = None
) -> dict[str, object]:
    """Check that the gateway itself refused: body, exactly one Outcome that says the same, no call to the provider."""
    error = assert_error_body(answer)
    assert (answer.status, error["code"], error["param"], error["source"]) == (status, code, param, "gateway"), error
    assert gateway.provider.requests == []
    [outcome] = gateway.outcomes
    assert told(outcome) == ("error", status, code, "gateway")
    assert outcome.request_id == answer.headers["x-request-id"]
    return error


def told(outcome: Outcome) -> tuple[str, int, str, str]:
    """Return what an Outcome says of a failure."""
    return outcome.result, outcome.status, outcome.error_code, outcome.error_source
