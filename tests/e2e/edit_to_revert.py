"""`make demo-rollout`: one whole round on a running gateway, as a console shows it; half a minute.

edit -> lint -> replay -> diff -> canary -> watch -> automatic revert, by the real process with simulated models. Exits
1 where the round does not end as deploy/edit-to-revert.md says.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from gateway.clock import SystemClock
from tests.e2e.serving import COMMAND, Served, request, serving

MODELS = """\
model_list:
  - {model_name: gpt-4o-mini, litellm_params: {model: simulated/gpt-4o-mini}}
  - {model_name: gpt-4o, litellm_params: {model: simulated/gpt-4o}}
"""
POLICY = """\
version: 1
policy: default
defaults: {max_output_tokens: 400}
routes:
  - name: chat
    match: {any: true}
    candidates: [gpt-4o-mini]
    cache: {exact_ttl: 0}
budgets:
  - {scope: tenant, limit_usd: 5, window: day, on_exceed: [downgrade_to_floor, refuse]}
rate_limits:
  - {scope: key, requests_per_minute: 100000}
rollout:
  salt: first
  steps: [20, 50, 100]
  hold_min: 1
  guard:
    - {metric: error_rate, worse_by_abs: 0.02, min_n: 100, action: rollback}
    - {metric: p95_total_ms, worse_by_rel: 0.15, min_n: 100, action: rollback}
"""
BEFORE, TYPO, BAD = "candidates: [gpt-4o-mini]", "candidates: [gpt-4o-mni]", "candidates: [gpt-4o]"
# A machine with much else to do must not look like a Redis that is away.
OPTIONS = ("--simulated-latency-scale", "0.2", "--redis-timeout-s", "5")
CLIENTS = 8
SESSIONS = 400
BEFORE_THE_EDIT = 300
PATIENCE_S = 120.0


class Traffic:
    """Clients that ask in sessions, without end; what each was answered by, since it was last counted."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._lock = threading.Lock()
        self._asked = 0
        self._counts: Counter[str] = Counter()
        self.is_over = threading.Event()

    def run(self) -> None:
        """Ask until `is_over`."""
        while not self.is_over.is_set():
            with self._lock:
                self._asked += 1
                number = self._asked
            got = request(
                self._served.url,
                "/v1/chat/completions",
                key=self._served.key,
                body={
                    "model": "gpt-4o-mini",
                    "messages": [{"role": "user", "content": f"argument {number}: is this a straw man?"}],
                },
                x_foreword_session=f"s{number % SESSIONS}",
            )
            with self._lock:
                self._counts[got.headers.get("x-foreword-model", "") or f"status {got.status}"] += 1

    def taken(self) -> Counter[str]:
        """Return who answered since the last call."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        return counts

    def until(self, number: int) -> None:
        """Wait for so many requests."""
        while self._asked < number:
            time.sleep(0.05)


class Console:
    """Runs commands in the gateway's directory and shows them as they were typed."""

    def __init__(self, served: Served) -> None:
        self._home = served.home
        files = {"FOREWORD_POLICIES": "policies", "FOREWORD_MODELS": "models.yaml", "FOREWORD_DATA_DIR": "data"}
        self._environment = {**served.environment, **files}

    def say(self, text: str) -> None:
        """Show a remark."""
        sys.stdout.write(f"\n# {text}\n")
        sys.stdout.flush()

    def run(self, *arguments: str, keep: Callable[[str], bool] = bool) -> int:
        """Run a command of foreword, show its lines that `keep` wants, return its exit code."""
        code, lines = self.lines(*arguments)
        sys.stdout.write(f"$ foreword {' '.join(arguments)}\n")
        for line in filter(keep, lines):
            sys.stdout.write(f"{line}\n")
        sys.stdout.write(f"(exit {code})\n")
        sys.stdout.flush()
        return code

    def lines(self, *arguments: str) -> tuple[int, list[str]]:
        """Run a command quietly."""
        done = subprocess.run(
            [*COMMAND, *arguments], cwd=self._home, env=self._environment, capture_output=True, text=True, check=False
        )
        return done.returncode, [line.rstrip() for line in (done.stdout + done.stderr).splitlines()]


@contextmanager
def traffic_on(served: Served) -> Iterator[Traffic]:
    """Let clients ask until the end."""
    traffic = Traffic(served)
    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(traffic.run) for _ in range(CLIENTS)]
        try:
            yield traffic
        finally:
            traffic.is_over.set()
    for one in asking:
        one.result()


def play(served: Served, traffic: Traffic, plot: Path | None) -> list[str]:
    """Play the round; return what went otherwise than it should."""
    console = Console(served)
    draft = served.home / "draft"
    draft.mkdir()
    new = draft / "default.yaml"
    edited = POLICY.replace("salt: first", "salt: second")
    traffic.until(BEFORE_THE_EDIT)
    console.say("requests come all the time; somebody edits a copy, with a slip of the pen")
    new.write_text(edited.replace(BEFORE, TYPO))
    wrong = _unless(console.run("policy", "lint", "--policies", "draft") == 1, "lint took a name that is none")
    new.write_text(edited.replace(BEFORE, BAD))
    wrong += _unless(console.run("policy", "lint", "--policies", "draft") == 0, "lint refused a good file")
    console.say("what would it have done with the traffic of the last hour, and does the one in force repeat itself?")
    extra = () if plot is None else ("--plot", str(plot.resolve()))
    replay = ("policy", "replay", "draft/default.yaml", "--since", "1h", *extra)
    wrong += _unless(console.run(*replay, keep=_is_telling) == 0, "replay found a violation")
    again = ("policy", "replay", "policies/default.yaml", "--since", "1h")
    wrong += _unless(console.run(*again, keep=lambda line: "repeated" in line) == 0, "a decision was not repeated")
    console.run("policy", "diff", "policies/default.yaml", "draft/default.yaml")
    console.say("sixteen times dearer, and nobody knows how slow. It is put in force all the same")
    sys.stdout.write("$ cp draft/default.yaml policies/default.yaml\n")
    served.policy_file.write_text(new.read_text())
    traffic.taken()
    wrong += _watch(console, traffic)
    return wrong


def _unless(is_right: bool, text: str) -> list[str]:
    return [] if is_right else [text]


def _watch(console: Console, traffic: Traffic) -> list[str]:
    clock = SystemClock()
    began, seen = clock.monotonic(), ""
    while clock.monotonic() - began < PATIENCE_S:
        _, lines = console.lines("policy", "show")
        line = next((line for line in lines if line.startswith("rollout of")), "")
        if line and line != seen:
            seen, waited_s = line, clock.monotonic() - began
            answered = ", ".join(f"{count} {name}" for name, count in sorted(traffic.taken().items()))
            sys.stdout.write(f"$ foreword policy show | grep rollout    # after {waited_s:.0f} s: {answered}\n{line}\n")
            sys.stdout.flush()
        if "rolled_back, 0 %" in line:
            time.sleep(2.0)  # what was under way under the bad version
            traffic.taken()
            time.sleep(1.0)
            after = traffic.taken()
            sys.stdout.write(f"# answers of one second after: {dict(after)}\n")
            return _unless(set(after) == {"gpt-4o-mini"}, f"after the revert: {dict(after)}")
        time.sleep(0.2)
    return ["the bad version was not reverted"]


def _is_telling(line: str) -> bool:
    """Leave out most of the twenty most changed requests: they say the same."""
    return bool(line) and (not line.startswith("│ req-") or line.startswith("│ req-0"))


def main() -> int:
    """Start a gateway, play the round, say what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="keep the replay's plot")
    options = parser.parse_args()
    with serving(policy=POLICY, models=MODELS, options=OPTIONS) as served:
        sys.stdout.write("$ foreword serve    # FOREWORD_POLICIES=policies, simulated models, 2 workers\n")
        with traffic_on(served) as traffic:
            wrong = play(served, traffic, options.plot)
        time.sleep(1.0)  # the ledger's last page
        console = Console(served)
        console.say("everybody is under the version before; the file waits for the next edit")
        console.run("report", "--by", "model", "--since", "1h")
        ready = json.loads(request(served.url, "/health/ready").body)
        sys.stdout.write(f"$ curl {served.url}/health/ready\n{json.dumps(ready.get('rollouts'))}\n")
    for line in wrong:
        sys.stderr.write(f"WRONG: {line}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
