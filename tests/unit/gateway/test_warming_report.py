"""`foreword report --warming`: the warmer's figures and the ledger's money, and what is said where there is nothing."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gateway.cli import run
from gateway.clock import SystemClock
from gateway.history.warming import WarmingAccount
from gateway.ledger import STREAM, encode
from gateway.outcome import Outcome
from gateway.published import FIGURES, dump, load
from gateway.retained.kept import NOTES
from gateway.settings import process_environment
from gateway.stores.embedded import EmbeddedRedis
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from router.types import AttemptRecord
from warmer.calibration import Calibration, Open
from warmer.evaluate import Evaluation
from warmer.figures import Figures
from warmer.trials import Trial
from warmer.types import Event, PredictorName

NOW = SystemClock().now()


def attempt() -> AttemptRecord:
    return AttemptRecord(
        deployment_id="d", group="m", provider="p", model="m", reason="first", started_s=0, ended_s=1, result="ok"
    )


def outcome(number: int, **fields: object) -> Outcome:
    named = {"request_id": f"r{number}", "started_at": NOW, "result": "ok", "status": 200, "tenant": "t"}
    return Outcome(**{"endpoint": "chat", **named, **fields})  # type: ignore[arg-type]


SAID: PredictorName = "announced"
OUTCOMES = (
    outcome(1, origin="warmer", cost_nanousd=3_000_000, warmed_by="popularity", attempts=(attempt(),), cache="bypass"),
    outcome(2, origin="warmer", cost_nanousd=1_000_000, warmed_by=SAID, attempts=(attempt(),), is_simulated=True),
    outcome(3, origin="warmer", result="error", warmed_by="announced", cost_nanousd=None, attempts=(attempt(),)),
    outcome(4, origin="user", cache="hit", warmed_by="popularity", saved_nanousd=5_000_000),
    outcome(5, origin="pipeline", cache="hit", warmed_by="announced", saved_nanousd=2_000_000),
    outcome(6, origin="user", cache="hit", saved_nanousd=9_000_000),
    outcome(7, origin="warmer", endpoint="pipeline", warmed_by="announced", cost_nanousd=0, attempts=(attempt(),)),
    outcome(9, origin="warmer", endpoint="pipeline-step", cache="hit"),
    outcome(8, origin="user", endpoint="pipeline", cache="hit", warmed_by="announced"),
)


def event(key: str, at_s: float, *, was_hit: bool) -> Event:
    return Event(
        at_s=at_s,
        tenant="t",
        key=key,
        session="",
        route="chat",
        model="m",
        was_hit=was_hit,
        waited_s=0.1 if was_hit else 2.0,
        cost_nanousd=1000,
        ttl_s=3600.0,
    )


def measured(*, useful: int, wasted: int, held: int = 0, predictor: PredictorName = "announced") -> Figures:
    """Return what the warmer measures where so many warms were asked for afterwards, and so many were not."""
    evaluation, calibration = Evaluation(), Calibration()
    for number in range(useful + wasted + held):
        key, kind = f"k{number}", "held" if number >= useful + wasted else "warm"
        evaluation.start(
            Trial(
                name=f"t {key}",
                tenant="t",
                predictor=predictor,
                level="answer",
                kind=kind,  # type: ignore[arg-type]
                at_s=100.0,
                until_s=5000.0,
                due_s=5000.0,
                shadow_until_s=100.0,
                real_until_s=5000.0 if kind == "warm" else 100.0,
                cost_nanousd=500_000_000,
                saves_nanousd=1_000_000_000,
                saves_wait_s=2.0,
            )
        )
        calibration.expect(key, Open(from_s=0.0, until_s=5000.0, said=0.9, given=0.9))
        if number < useful or kind == "held":
            evaluation.saw(event(key, 1000.0 + number, was_hit=kind == "warm"))
            calibration.saw((key,), 1000.0)
    evaluation.expire(20_000.0)
    calibration.expire(20_000.0)
    return evaluation.figures(20_000.0, {predictor: calibration.reliability()})


@pytest.fixture
def redis_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A Redis without any other test's ledger: the report counts every tenant's."""
    for name in process_environment():
        if name.startswith("FOREWORD_"):
            monkeypatch.delenv(name)
    with tempfile.TemporaryDirectory(prefix="fw-") as directory:
        server = EmbeddedRedis.start(Path(directory))
        yield server.url
        server.stop()


def write(url: str, outcomes: Sequence[Outcome], figures: Figures | None) -> None:
    async def put() -> None:
        supervisor = Supervisor(clock=SystemClock(), on_crash=lambda _name, _error: None)
        store = RedisStore(url, supervisor=supervisor, timeout_s=5.0)
        await store.append(STREAM, [encode(one) for one in outcomes], max_entries=1000)
        if figures is not None:
            await store.hash_set(NOTES, FIGURES, dump(figures))
        await store.close()
        await supervisor.close(1.0)

    asyncio.run(put())


def report(url: str, directory: Path, *more: str) -> int:
    return run(["report", "--warming", "--redis-url", url, "--data-dir", str(directory), "--since", "1h", *more])


def test_the_report_says_what_there_is_and_what_cannot_be_said(
    redis_of_its_own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, plot = redis_of_its_own, tmp_path / "w.png"
    assert report(url, tmp_path) == 0
    assert "has published no figures yet" in capsys.readouterr().out
    assert report(url, tmp_path, "--plot", str(plot)) == 1
    assert "nothing to draw" in capsys.readouterr().err

    write(url, OUTCOMES, measured(useful=0, wasted=0))
    assert report(url, tmp_path) == 0
    assert "nothing has been warmed yet" in capsys.readouterr().out

    write(url, (), measured(useful=5, wasted=4, held=2))
    assert report(url, tmp_path, "--plot", str(plot)) == 0
    text = capsys.readouterr().out
    assert "net USD: 0.5000 [" in text
    assert "includes zero: it cannot be told from nothing" in text
    assert "hold-out: 2 keys never warmed, 9 others: too few to compare" in text
    assert "1 calls of models without a known price are in no sum" in text
    assert "1 of 3 calls were simulated" in text
    assert plot.read_bytes().startswith(b"\x89PNG")

    write(url, (), measured(useful=60, wasted=1, held=25))
    assert report(url, tmp_path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert any(line.endswith("warming has saved money") for line in told["said"])
    assert any(line.endswith("the hold-out bears it out") for line in told["said"])
    (row,) = told["figures"]["predictors"]
    assert (row["name"], row["warms"], row["useful"], row["resolved"]) == ("announced", 61, 60, 61)
    assert [line["name"] for line in told["ledger"]] == ["popularity", "announced"]
    assert told["total"]["cost_usd"] == 0.004
    assert told["total"]["saved_usd"] == 0.007
    assert told["total"]["hits"] == 2

    assert run(["report", "--plot", "x.png"]) == 2


def test_the_account_counts_calls_and_the_hits_of_what_was_warmed_and_nothing_else() -> None:
    account = WarmingAccount()
    for one in OUTCOMES:
        account.add(one)
    popularity, announced = account.lines()
    assert (popularity.calls, popularity.cost_nanousd, popularity.hits, popularity.saved_nanousd) == (
        *(1, 3_000_000),
        *(1, 5_000_000),
    )
    assert (announced.calls, announced.failed, announced.unpriced, announced.simulated) == (2, 1, 1, 1)
    assert account.total.hits == 2
    assert account.line("schedule").calls == 0


def test_figures_of_another_version_count_as_none() -> None:
    figures = measured(useful=1, wasted=1)
    assert load(dump(figures)) == figures
    assert load(b'{"v": 9}') is None
    assert load(None) is None
