"""Measures one row of `make report-card` on a gateway process of its own: one replay of the slice, then the throughput.

Must not judge what it finds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path

import msgspec
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from tests.bench.machine import LOAD_CORE
from tests.bench.orders import percentile
from tests.bench.report_card_bot import Done, Play, now, played, poisson
from tests.bench.report_card_provider import Counts, Known
from tests.bench.report_card_rows import Row, models_yaml
from tests.bench.report_card_samples import Samples, asks_of, summed, tiers_of, total
from tests.bench.report_card_week import MODEL, Announced, Interaction, announcements, answer_lengths, classes
from tests.bench.servers import Process, Server, gateway, telling_its_port
from tests.e2e.serving import request, until

TOLD_S = 7.0
"""The warmer tells its figures every 5 s (gateway/warming/driver.py)."""
RELOADED_S = 3.0
"""Policy files are looked at every second (gateway/worker.py)."""
WARMS = ("warms_total", "resolved_warms", "useful_warms", "misses_removed", "wasted_usd", "net_usd")
"""Of the warmer's own account (gateway/warming_series.py), what is shown here."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """How the week is played: `before_s` as history, what is measured, then `trials` of `tried` interactions each.

    Times are divided: arrivals and times to live by `arrivals`, waits by `latencies`.

    `places` are the provider's calls at once and `slo_s` the bound of the throughput, `lead_s` how long before a post
    the bot announces it; all three as they would be uncompressed.
    """

    seed: int
    begin_s: float
    end_s: float
    arrivals: float
    latencies: float
    places: int
    slo_s: float
    lead_s: float
    tried: int
    trials: int
    before_s: float


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One try of a rate: interactions per uncompressed second, P95 in uncompressed seconds, and failures.

    `later_p95_s` is the P95 of its second half: a line that grows all the time is not sustained. `full_s` are the
    provider's seconds while calls waited in line, `flex_full_s` those of them that warms held.
    """

    rate: float
    p95_s: float
    later_p95_s: float
    failed: int
    full_s: float = 0.0
    flex_full_s: float = 0.0

    def is_within(self, slo_s: float) -> bool:
        """Whether the objective was met, to the end."""
        return max(self.p95_s, self.later_p95_s) <= slo_s and not self.failed


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one row gave. `cost_usd` is all that was spent on providers during the replay, by origin."""

    row: str
    is_built: bool = True
    earlier: tuple[Done, ...] = ()
    done: tuple[Done, ...] = ()
    cost_usd: dict[str, float] = {}
    tiers: dict[str, float] = {}
    asks: float = 0.0
    interactions: float = 0.0
    models: dict[str, int] = {}
    labels: float = 0.0
    refusals: dict[str, float] = {}
    hedges: dict[str, float] = {}
    warms: dict[str, float] = {}
    provider: Counts = msgspec.field(default_factory=lambda: Counts(calls={}))
    trials: tuple[Trial, ...] = ()


@contextmanager
def provider(setup: Setup) -> Iterator[Process]:
    """Start the provider with what it must know of the questions."""
    with tempfile.TemporaryDirectory() as folder:
        known = Path(folder) / "known.json"
        known.write_bytes(msgspec.json.encode(Known(classes=dict(classes()), lengths=answer_lengths())))
        options = ("--compression", str(setup.latencies), "--seed", str(setup.seed), "--known", str(known))
        with telling_its_port("tests.bench.report_card_provider", *options, core=LOAD_CORE) as process:
            yield process


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A row's gateway and its provider, running. `can_warm`: this checkout's gateway takes announcements."""

    row: Row
    setup: Setup
    server: Server
    upstream: Process
    can_warm: bool

    def is_embedding(self) -> bool:
        """Ask something, and whether a vector has been made: the embedder starts beside the gateway, and later."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Which of the speakers began the debate?"}]}
        request(self.server.url, "/v1/chat/completions", key=self.server.key, body={**body, "temperature": 0})
        return total(self.scraped(), "foreword_embedder_duration_seconds_count") > 0

    def grown_up(self, before: Sequence[Interaction]) -> tuple[Done, ...]:
        """Play what was before the slice, thrice as fast: caches, predictors and hedging do not begin with it."""
        self.provider_counts(places=0)
        rate = 3 * len(before) * self.setup.arrivals / self.setup.before_s
        return self._played(before, poisson(len(before), rate=rate, seed=self.setup.seed))

    def replayed(self, part: Sequence[Interaction], *, before: Sequence[Interaction]) -> Measured:
        """Play the slice as it was, compressed."""
        setup = self.setup
        start = self.scraped()
        self.provider_counts(places=0)
        due_s = [(one.at_s - setup.begin_s) / setup.arrivals for one in part]
        announced = announcements(part, before=before, seed=setup.seed)
        done = self._played(part, due_s, announced)
        if self.row.warming:
            _let_pass(TOLD_S, "the warmer's account")
        return self._measured(done, start)

    def _measured(self, done: tuple[Done, ...], before: Samples) -> Measured:
        after = self.scraped()
        gained = {name: value - before.get(name, 0.0) for name, value in after.items()}
        counts = self.provider_counts(places=self.setup.places)
        return Measured(
            row=self.row.name,
            done=done,
            cost_usd=summed(gained, "foreword_cost_usd_total", by="origin"),
            tiers=tiers_of(gained),
            asks=sum(asks_of(gained).values()),
            interactions=total(gained, "foreword_interaction_duration_seconds_count"),
            models=counts.calls,
            labels=total(gained, "foreword_semantic_labels_total"),
            refusals=summed(gained, "foreword_semantic_refusals_total", by="by"),
            hedges=summed(gained, "foreword_hedges_total", by="result"),
            warms={name: total(gained, f"foreword_warmer_{name}") for name in WARMS},
            provider=counts,
        )

    def tried(self, part: Sequence[Interaction], *, before: Sequence[Interaction], rate: float) -> Trial:
        """Play `part` at a steady `rate` (uncompressed) under the cap."""
        setup = self.setup
        self.provider_counts(places=setup.places)
        due_s = poisson(len(part), rate=rate * setup.latencies, seed=setup.seed)
        done = self._played(part, due_s, announcements(part, before=before, seed=setup.seed))
        took_s = [one.took_s * setup.latencies if one.is_ok else inf for one in done]
        counts = self.provider_counts(places=setup.places)
        return Trial(
            rate=rate,
            p95_s=percentile(sorted(took_s), 0.95),
            later_p95_s=percentile(sorted(took_s[len(took_s) // 2 :]), 0.95),
            failed=took_s.count(inf),
            full_s=counts.full_s,
            flex_full_s=counts.flex_full_s,
        )

    def state_places(self) -> None:
        """Have the operator say in the policy what the provider takes at once, and wait until that is in force."""
        if self.row.warming and self.server.home is not None:
            policy = self.row.policy(arrivals=self.setup.arrivals, places=self.setup.places)
            (self.server.home / "policies" / "default.yaml").write_text(policy)
            _let_pass(RELOADED_S, "the policy's reload")

    def _played(
        self, part: Sequence[Interaction], due_s: Sequence[float], announced: Sequence[Announced] = ()
    ) -> tuple[Done, ...]:
        """Play `part`, with what is announced so long before it as the bot knows of it; wait for the end of it all."""
        lead_s = self.setup.lead_s / self.setup.latencies
        times = [one.at_s for one in part]
        warms = [(float(np.interp(one.at_s, times, due_s)) - lead_s, one) for one in announced]
        play = Play(
            url=self.server.url,
            key=self.server.key,
            week=part,
            due_s=due_s,
            lead_in_s=lead_s,
            is_sequential=self.row.is_sequential,
            announced=warms if self.row.warming and self.can_warm else (),
            ready_by_s=self.setup.lead_s,
        )
        done = played(play)
        until(lambda: total(self.scraped(), "foreword_in_flight_requests") <= 0, "the end of what is under way")
        return done

    def scraped(self) -> Samples:
        """Return every sample of /metrics."""
        families = text_string_to_metric_families(request(self.server.url, "/metrics").body)
        samples = (sample for family in families for sample in family.samples)
        return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}

    def provider_counts(self, *, places: int) -> Counts:
        """Return what the provider has counted, begin anew, and give it so many places (0: no bound)."""
        told = request(f"http://127.0.0.1:{self.upstream.port}", "/control", body={"places": places}).body
        return msgspec.json.decode(told, type=Counts)


@contextmanager
def session(row: Row, setup: Setup) -> Iterator[Session]:
    """Start a provider and `foreword serve` as the row wants it; both end with the block."""
    with provider(setup) as upstream:
        options = ["--embedder", "minilm" if row.semantic else "off", "--semantic-writes-per-minute", "100000"]
        options += ["--embedder-timeout-s", "1"]  # a busy machine is no fault of the embedder
        policy, models = row.policy(arrivals=setup.arrivals), models_yaml(upstream.port)
        with gateway(upstream, *options, policy=policy, models=models) as server:
            answer = request(server.url, "/v1/warm", key=server.key, body={})
            can_warm = answer.status not in (404, 405)
            running = Session(row=row, setup=setup, server=server, upstream=upstream, can_warm=can_warm)
            if row.semantic:
                running.provider_counts(places=0)
                until(running.is_embedding, "the embedder")
            yield running


def sustained(
    session: Session, after: Sequence[Interaction], replay: Measured, *, before: Sequence[Interaction]
) -> tuple[Trial, ...]:
    """Bisect for the highest rate within the objective, each try with what came next in the week; return every one."""
    setup = session.setup
    session.state_places()
    # What users need: warms are to take what is left.
    seconds = (replay.provider.busy_s - replay.provider.flex_s) * setup.latencies / max(1, len(replay.done))
    full = setup.places / max(seconds, 1e-9)  # a provider that never rests
    low, high = 0.35 * full, 1.4 * full
    found: list[Trial] = []
    for number in range(setup.trials):
        rate = (low * high) ** 0.5
        first = number * setup.tried
        earlier = [*before, *after[:first]]
        found.append(session.tried(after[first : first + setup.tried], before=earlier, rate=rate))
        if found[-1].is_within(setup.slo_s):
            low = rate
        else:
            high = rate
    return tuple(found)


def _let_pass(seconds: float, what: str) -> None:
    end_s = now() + seconds
    until(lambda: now() > end_s, what)
