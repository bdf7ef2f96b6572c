"""Serving: one socket, forked workers that come back when they die and end together. Real processes, real signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, socket, sys, threading, asyncio
from gateway.job import RestartRules
from gateway.findings import Findings
from gateway.settings import load_settings
from gateway.orders import Parts
from gateway.workers import serve

behaviour, folder = sys.argv[1:3]

def in_parent_only():
    tasks = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 1
    assert threading.active_count() == 1 and tasks == 1, "a thread before the fork"
    assert asyncio._get_running_loop() is None, "an event loop before the fork"

os.register_at_fork(before=in_parent_only)

def run_worker(settings, inherited, *, tell_ready):
    if behaviour == "dies at boot":
        print("the reason", file=sys.stderr)
        return 3
    if behaviour == "bad configuration":
        return 2
    if behaviour == "crashes":
        raise RuntimeError("boom")
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    tell_ready()
    listener = inherited.sockets[0]
    listener.settimeout(0.02)
    while not stopping:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        connection.setblocking(True)
        word = connection.recv(100)
        if word == b"slow":
            connection.sendall(b"begun")
            while not stopping:
                connection.settimeout(0.02)
                try:
                    connection.recv(1)
                except TimeoutError:
                    pass
            if behaviour == "stubborn":
                connection.sendall(b"told")
                while True:
                    signal.pause()
        connection.settimeout(5)
        connection.sendall(f"{os.getpid()} {inherited.number} {len(inherited.ops_sockets)}".encode())
        connection.close()
    return 0

def run_warmer(settings, documents):
    sys.stderr.write("warmer runs\\n")
    signal.pause()
    return 0

def examine(settings, documents, *, may_make_key):
    if behaviour == "bad files":
        return Findings(problems=("default.yaml:3: routes: must not be empty",))
    if behaviour == "examination fails":
        raise RuntimeError("boom")
    return Findings(models=("small",), example_model="small", providers=("openai",), secret="sk-fw-first")

flags = {"port": "0", "data_dir": folder, "redis_url": "redis://127.0.0.1:1", "drain_s": "30", "workers": sys.argv[3]}
flags["embedder"] = "off"
flags.update(pair.split("=") for pair in sys.argv[4:])
rules = RestartRules(
    first_wait_s=0.02, longest_wait_s=0.05, kill_after_s=0.1, tick_s=0.05, most_boot_failures=3,
    impatience_s=0.0 if behaviour == "stubborn" else 30.0,
)
loaded = load_settings(flags=flags, environment={})
parts = Parts(run_worker=run_worker, run_warmer=run_warmer, examine=examine)
sys.exit(serve(loaded.settings, parts=parts, rules=rules))
"""


class Running:
    """A gateway in a process of its own, with what it printed so far."""

    def __init__(self, folder: str, behaviour: str, *, workers: int = 1, **flags: str) -> None:
        changes = [f"{name}={value}" for name, value in flags.items()]
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, behaviour, folder, str(workers), *changes],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path.cwd(),
        )
        self.printed = ""

    def port(self) -> int:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed += line
            if " listens on http://" in line:
                return int(line.split("http://127.0.0.1:")[1].split()[0])
        raise AssertionError(self.process.communicate()[1])

    def ask(self, port: int, word: str = "who") -> str:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(word.encode())
            return connection.recv(100).decode()

    def wait(self) -> tuple[int, str]:
        """Return (exit code, stderr)."""
        code = self.process.wait(timeout=60)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        # From the objects that `port` has read from: they may hold what communicate() would no longer find.
        self.printed += self.process.stdout.read()
        return code, self.process.stderr.read()


Start = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Running] = []
    with tempfile.TemporaryDirectory(prefix="fw-") as folder:

        def make(behaviour: str = "serves", **options: object) -> Running:
            started.append(Running(folder, behaviour, **options))  # type: ignore[arg-type]
            return started[-1]

        yield make
        for running in started:
            running.process.kill()
            running.process.communicate()


def test_sigterm_ends_every_process_and_exits_0(start: Start) -> None:
    running = start(workers=2)
    port = running.port()
    assert running.process.stderr is not None
    assert any(line == "warmer runs\n" for line in running.process.stderr)
    pid = int(running.ask(port).split()[0])
    assert pid != running.process.pid
    running.process.send_signal(signal.SIGTERM)
    assert running.wait()[0] == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_killed_worker_comes_back_on_the_same_socket(start: Start) -> None:
    running = start(warmer="false")
    port = running.port()
    first = int(running.ask(port).split()[0])
    os.kill(first, signal.SIGKILL)
    second = int(running.ask(port).split()[0])
    assert second != first
    running.process.send_signal(signal.SIGINT)
    code, err = running.wait()
    assert code == 0
    assert "killed by SIGKILL" in err
    assert "warmer runs" not in err


def test_the_answer_in_flight_is_finished_first(start: Start) -> None:
    running = start()
    port = running.port()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"slow")
        assert connection.recv(100) == b"begun"
        running.process.send_signal(signal.SIGTERM)
        assert connection.recv(100).split()[1:] == [b"0", b"0"]
    assert running.wait()[0] == 0


@pytest.mark.parametrize("how", ["second signal", "drain time is over"])
def test_a_worker_that_does_not_end_is_killed(start: Start, how: str) -> None:
    running = start("stubborn", drain_s="0.1" if how == "drain time is over" else "3000")
    port = running.port()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"slow")
        assert connection.recv(100) == b"begun"
        running.process.send_signal(signal.SIGTERM)
        if how == "second signal":
            assert connection.recv(100) == b"told"
            running.process.send_signal(signal.SIGTERM)
        assert running.wait()[0] == 1


def test_two_signals_within_moments_are_one_wish(start: Start) -> None:
    running = start()
    port = running.port()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"slow")
        assert connection.recv(100) == b"begun"
        for _ in range(3):
            running.process.send_signal(signal.SIGTERM)
        assert connection.recv(100).split()[1:] == [b"0", b"0"]
    assert running.wait()[0] == 0


def test_a_worker_that_never_boots_ends_the_gateway_with_the_reason(start: Start) -> None:
    code, err = start("dies at boot").wait()
    assert code == 1
    assert err.count("the reason") == 3
    assert "exit code 3" in err
    assert "giving up" in err


def test_a_worker_that_crashes_shows_its_traceback(start: Start) -> None:
    code, err = start("crashes").wait()
    assert code == 1
    assert "RuntimeError: boom" in err


def test_a_worker_with_a_bad_configuration_is_not_tried_again(start: Start) -> None:
    code, err = start("bad configuration").wait()
    assert code == 2
    assert err.count("process ended") == 1


def test_bad_files_are_named_before_any_worker_starts(start: Start) -> None:
    running = start("bad files")
    code, err = running.wait()
    assert code == 2
    assert "default.yaml:3: routes: must not be empty" in err
    assert "listens on" not in running.printed


def test_a_failing_examination_is_said(start: Start) -> None:
    code, err = start("examination fails").wait()
    assert code == 1
    assert "RuntimeError: boom" in err
    assert "looking at the configuration failed (exit code 1)" in err


def test_workers_die_with_a_killed_parent(start: Start) -> None:
    running = start()
    port = running.port()
    running.ask(port)
    running.process.kill()
    # Their common stderr ends only when the last process that inherited it is gone.
    running.process.communicate(timeout=30)
    with pytest.raises(ConnectionRefusedError):
        running.ask(port)


def test_one_data_directory_has_one_gateway(start: Start) -> None:
    first = start()
    first.port()
    code, err = start().wait()
    assert code == 1
    assert "another gateway uses it" in err
    first.process.send_signal(signal.SIGTERM)
    assert first.wait()[0] == 0


def test_metric_files_of_the_last_run_are_removed(start: Start) -> None:
    running = start()
    running.port()
    running.process.send_signal(signal.SIGTERM)
    running.wait()
    folder = Path(running.process.args[4] if isinstance(running.process.args, list) else "")
    stale = folder / "metrics" / "counter_1.db"
    stale.write_bytes(b"old")
    again = start()
    again.port()
    assert not stale.exists()
    again.process.send_signal(signal.SIGTERM)
    assert again.wait()[0] == 0


def test_the_key_is_printed_once_with_a_line_that_uses_it_and_the_ops_address(start: Start) -> None:
    running = start(ops_bind="127.0.0.1:0")
    port = running.port()
    assert running.ask(port).endswith(" 0 1")
    running.process.send_signal(signal.SIGTERM)
    _, err = running.wait()
    assert running.printed.count("sk-fw-first") == 2
    assert f"curl http://127.0.0.1:{port}/v1/chat/completions" in running.printed
    assert f"127.0.0.1:{port}/metrics" not in running.printed
    assert "sk-fw-first" not in err


def test_importing_everything_starts_no_thread_and_no_loop() -> None:
    code = (
        "import os, gateway.workers, asyncio; gateway.workers._real_parts();"
        "assert asyncio._get_running_loop() is None;"
        "assert len(os.listdir('/proc/self/task')) == 1, os.listdir('/proc/self/task')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path.cwd())
