"""Helpers beside the workers: what SIGHUP leaves running, what it replaces, what it tries again. Real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, sys, time
import structlog
from gateway.clock import SystemClock
from gateway.crew import Crew
from gateway.forking import watching
from gateway.job import Hooks, Job, RestartRules

# Not between what is said: a log line and its line feed are two writes.
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

def say(*words):
    os.write(1, " ".join(map(str, (*words, os.getpid()))).encode() + b"\\n")

def serve(tell_ready):
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    tell_ready()
    say("worker")
    signal.pause()

def helper(words):
    def run(tell_ready):
        tell_ready()
        say(*words)
        if words == ("useless",):
            return 2
        signal.pause()
    return run

def jobs(words):
    return [
        Job(name="worker", run=serve, is_vital=True),
        Job(name="helper", run=helper(words), is_vital=False, overlaps=False, kept=words),
    ]

plans = [tuple(plan.split()) for plan in sys.argv[1].split(",")]
hooks = Hooks(
    on_end=lambda pid: say("ended", pid), on_stop=lambda: None, tick=lambda: None,
    reload=lambda: jobs(plans.pop(0)), is_hangup=lambda: False,
)
rules = RestartRules(first_wait_s=0.01, longest_wait_s=0.02, tick_s=0.02)
with watching() as signals:
    sys.exit(Crew(jobs(plans.pop(0)), clock=SystemClock(), drain_s=lambda: 5.0, rules=rules, hooks=hooks).run(signals))
"""


class Crew:
    """A crew in a process of its own, and what its members said."""

    def __init__(self, plans: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, plans],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path.cwd(),
        )
        self.said: list[list[str]] = []

    def hears(self, *words: str, times: int = 1) -> int:
        """Read until that was said so often, counting what was said before; return who said it last."""
        assert self.process.stdout is not None
        while len(found := self.who_said(*words)) < times:
            line = self.process.stdout.readline()
            assert line, f"not said {times} times: {words}; but {self.said}"
            self.said.append(line.split())
        return found[times - 1]

    def who_said(self, *words: str) -> list[int]:
        return [int(line[-1]) for line in self.said if tuple(line[:-1]) == words]

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)


@pytest.fixture
def crew(request: pytest.FixtureRequest) -> Iterator[Crew]:
    running = Crew(request.param)
    try:
        yield running
    finally:
        running.process.terminate()
        running.process.communicate(timeout=30)


@pytest.mark.parametrize("crew", ["small model,small model,large model"], indirect=True)
def test_a_helper_stays_through_a_reload_until_other_words_make_it(crew: Crew) -> None:
    helper, worker = crew.hears("small", "model"), crew.hears("worker")
    crew.reload()
    crew.hears("worker", times=2)
    crew.hears("ended", str(worker))
    crew.reload()
    crew.hears("ended", str(helper))
    assert crew.hears("large", "model") != helper
    assert crew.who_said("small", "model") == [helper]


@pytest.mark.parametrize("crew", ["useless,useful"], indirect=True)
def test_a_helper_that_no_restart_would_help_is_tried_again_at_the_next_reload(crew: Crew) -> None:
    helper = crew.hears("useless")
    crew.hears("ended", str(helper))
    crew.reload()
    crew.hears("useful")
    assert crew.who_said("useless") == [helper]


@pytest.mark.parametrize("crew", ["small model"], indirect=True)
def test_a_helper_that_crashes_comes_back(crew: Crew) -> None:
    helper = crew.hears("small", "model")
    os.kill(helper, signal.SIGKILL)
    assert crew.hears("small", "model", times=2) != helper
