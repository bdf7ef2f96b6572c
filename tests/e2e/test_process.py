"""The gateway as users run it: `python -m gateway serve` with two workers, its data directory, its command line.

One process serves all tests, and one test starts it again; each leaves a gateway that runs.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.serving import BOUND_S, POLICY, Served, is_refused, remote_provider, request, serving, until
from tests.provider import Reply


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as running:
        yield running


def samples(served: Served, name: str) -> dict[frozenset[tuple[str, str]], float]:
    """Return a metric's samples by their labels."""
    text = request(served.url, "/metrics").body
    families = text_string_to_metric_families(text)
    return {frozenset(s.labels.items()): s.value for family in families for s in family.samples if s.name == name}


def total(served: Served, name: str, **labels: str) -> float:
    found = samples(served, name)
    return sum(value for given, value in found.items() if set(labels.items()) <= given)


def test_the_banner_shows_one_key_once_and_a_line_that_works(served: Served) -> None:
    banner = served.banners[0]
    assert "SIMULATED" in banner
    assert len(re.findall(r"shown only now: sk-fw-\S+", banner)) == 1
    [line] = [line for line in banner.splitlines() if line.startswith("curl ")]
    # The port may be another one by now: a test that ran before may have started the gateway again.
    line = re.sub(r"http://127\.0\.0\.1:\d+", served.url, line)
    answer = subprocess.run(
        ["sh", "-c", line + " -s -D -"], capture_output=True, text=True, timeout=BOUND_S, check=True
    )
    assert answer.stdout.startswith("HTTP/1.1 200")
    assert served.key not in served.logged()


def test_health_needs_no_key_and_says_what_runs(served: Served) -> None:
    assert request(served.url, "/health/live").status == 200
    ready = request(served.url, "/health/ready")
    assert ready.status == 200
    assert json.loads(ready.body)["store"] == "redis up"
    assert request(served.url, "/v1/models").status == 401
    listed = request(served.url, "/v1/models", key=served.key)
    assert {"gpt-4o-mini", "pretend"} <= {entry["id"] for entry in json.loads(listed.body)["data"]}


def test_metrics_of_two_workers_add_up(served: Served) -> None:
    def counted(**labels: str) -> float:
        return total(served, "foreword_requests_total", model="counted", **labels)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: served.chat(f"count {number % 30}", model="counted"), range(60)))
    assert {answer.status for answer in answers} == {200}
    until(lambda: counted(result="ok") >= 60, "60 requests")
    told = Counter(answer.headers["x-foreword-cache"] for answer in answers)
    for _ in range(6):  # whichever worker answers, it tells of both
        assert counted() == counted(result="ok") == 60
        assert {cache: counted(cache=cache) for cache in told} == told
    assert total(served, "foreword_in_flight_requests") == 0


def test_a_killed_worker_is_replaced_and_no_count_is_lost(served: Served) -> None:
    def count() -> float:
        return total(served, "foreword_requests_total", model="pretend", result="ok")

    before = count()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: served.chat(f"before {number}", model="pretend"), range(16)))
    until(lambda: count() >= before + 16, "counts of both")
    workers = served.workers()
    assert len(workers) == 2
    victim = min(workers)
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(served.workers() - {victim}) == 2, "another worker", alive=served.process)
    until(lambda: f'"pid":{victim}' in served.logged(), "a line about it")
    until(served.is_ready, "readiness")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: served.chat(f"after {number}", model="pretend"), range(16)))
    assert {answer.status for answer in answers} == {200}
    until(lambda: count() >= before + 32, "the dead worker's counts and the new ones")


def test_policies_are_reloaded_while_it_runs_and_bad_ones_are_not(served: Served) -> None:
    def route() -> str:
        return served.chat("which route", model="pretend", seed=1).headers["x-foreword-route"]

    def put(text: str, said: str) -> None:
        """Put a policy in place in one piece, and return once both workers have said what they make of it."""
        before = served.logged().count(said)
        new = served.policy_file.with_suffix(".new")
        new.write_text(text)
        new.replace(served.policy_file)
        until(lambda: served.logged().count(said) >= before + 2, f"twice {said}")

    rejected = total(served, "foreword_policy_reloads_total", result="rejected")
    put(POLICY.replace("ROUTE", "second"), "policies reloaded")
    assert {route() for _ in range(8)} == {"second"}
    put(POLICY.replace("ROUTE", "third").replace("candidates", "canddates"), "policies not reloaded")
    assert {route() for _ in range(8)} == {"second"}
    assert "default.yaml" in served.logged()
    assert "canddates" in served.logged()
    until(lambda: total(served, "foreword_policy_reloads_total", result="rejected") == rejected + 2, "two refusals")
    put(POLICY.replace("ROUTE", "fourth"), "policies reloaded")
    assert {route() for _ in range(8)} == {"fourth"}


def test_keys_are_made_listed_and_revoked_beside_the_running_gateway(served: Served) -> None:
    where = served.flags()[:2]
    created = served.cli("keys", "create", "--tenant", "acme", "--models", "pretend", "--json", *where)
    assert created.returncode == 0, created.stderr
    made = json.loads(created.stdout)
    assert served.chat("hi", model="pretend", key=made["key"]).status == 200
    assert served.chat("hi", key=made["key"]).status == 403
    listed = served.cli("keys", "list", "--json", *where)
    assert made["id"] in {record["id"] for record in json.loads(listed.stdout)}
    assert made["key"] not in listed.stdout
    assert served.cli("keys", "revoke", made["id"], *where).returncode == 0
    until(lambda: served.chat("hi", model="pretend", key=made["key"]).status == 401, "the key's end")
    assert served.cli("keys", "revoke", "key-nobody", *where).returncode == 1
    assert served.cli("keys", "create", "--tenant", "two words", *where).returncode == 2


def test_commands_exit_with_0_1_or_2(served: Served) -> None:
    files = ["--policies", str(served.home / "lint"), "--models", str(served.home / "models.yaml")]
    (served.home / "lint").mkdir(exist_ok=True)
    (served.home / "lint" / "default.yaml").write_text(POLICY.replace("ROUTE", "good"))
    assert served.cli("policy", "lint", *files).returncode == 0
    (served.home / "lint" / "default.yaml").write_text(POLICY.replace("version: 1", "version: one"))
    bad = served.cli("policy", "lint", *files)
    assert bad.returncode == 1
    assert "default.yaml:2: version" in bad.stderr
    assert served.cli("policy", "lint", "--policies", str(served.home / "nowhere")).returncode == 2
    assert served.cli("policy", "burn").returncode == 2
    taken = served.cli("serve", "--port", "0", *served.flags())
    assert (taken.returncode, "another gateway uses it" in taken.stderr) == (1, True)


def test_print_config_shows_where_values_come_from_and_masks_secrets(served: Served) -> None:
    served.environment["FOREWORD_ADMIN_KEY"] = "the-admin-key-of-tests"
    served.environment["REDIS_URL"] = "redis://user:hidden-password@127.0.0.1:1/0"
    try:
        shown = served.cli("serve", "--print-config", "--port", "8123")
    finally:
        del served.environment["FOREWORD_ADMIN_KEY"], served.environment["REDIS_URL"]
    assert shown.returncode == 0
    assert "the-admin-key-of-tests" not in shown.stdout + shown.stderr
    assert "hidden-password" not in shown.stdout + shown.stderr
    lines = shown.stdout.splitlines()
    assert "port: 8123  # --port" in lines
    assert any(line.startswith("redis_url:") and line.endswith("# REDIS_URL") for line in lines)


def test_a_restart_keeps_key_and_cache_and_a_stop_lets_a_stream_finish(served: Served) -> None:
    """Without a provider, then with one at OPENAI_BASE_URL, then without again, on one data directory."""
    pretended = served.chat("remember me", model="pretend")
    stood_in = served.chat("a real question")
    assert stood_in.headers["x-foreword-simulated"] == "1"
    assert served.stop() == 0
    with remote_provider() as provider:
        served.start(OPENAI_BASE_URL=f"{provider.origin}/v1")
        assert "shown only now" not in served.banners[-1]
        assert "SIMULATED" not in served.banners[-1]
        again = served.chat("remember me", model="pretend")
        assert (again.headers["x-foreword-cache"], again.body) == ("hit", pretended.body)

        real = served.chat("a real question")
        assert "x-foreword-simulated" not in real.headers
        assert json.loads(real.body)["choices"][0]["message"]["content"] == "Hello there, bot."
        assert real.headers["x-foreword-cache"] == "miss"

        provider.script("gpt-4o-mini", Reply(words=("first ", "second ", "third"), gate="rest", gate_at=2))
        with open_stream(served) as streamed:
            seen = until_text(streamed, b"first ")
            assert served.process is not None
            stopping = served.process
            stopping.send_signal(signal.SIGTERM)
            until(lambda: is_refused(served.url), "the end of new connections")
            assert stopping.poll() is None
            provider.open_gate("rest")
            seen += streamed.read()
        assert b"third" in seen
        assert seen.rstrip().endswith(b"data: [DONE]")
        assert stopping.wait(BOUND_S) == 0
    served.start()
    assert served.chat("a real question").body == real.body


@contextmanager
def open_stream(served: Served) -> Iterator[http.client.HTTPResponse]:
    parts = urlsplit(served.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=BOUND_S)
    body = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "slowly"}]}
    headers = {"Authorization": f"Bearer {served.key}", "Content-Type": "application/json"}
    with closing(connection):
        connection.request("POST", "/v1/chat/completions", body=json.dumps(body).encode(), headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        yield answer


def until_text(answer: http.client.HTTPResponse, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        seen += (more := answer.read1())
        assert more, seen
    return seen
