"""One process embeds for all: over a real socket, in batches, and its clients notice at once when it goes or hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from gateway.cache.semantic.types import Embedded, EmbedderUnavailable, TooLong
from gateway.clock import SystemClock
from gateway.embedder.client import MOST_SILENT, EmbedderClient
from gateway.embedder.frames import MAX_TEXT_BYTES, Greeting
from gateway.embedder.hashing import HashingEncoder
from gateway.embedder.home import CannotEmbed, EmbedderHome, expected_greeting
from gateway.embedder.process import bind, listen
from gateway.lane import Transition
from gateway.supervisor import Supervisor

WINDOW = 20


class Recording(HashingEncoder):
    """Remembers what it was asked at once."""

    def __init__(self) -> None:
        super().__init__(window=WINDOW)
        self.batches: list[int] = []

    def encode_tokens(self, read: Sequence[Sequence[int]]) -> Sequence[Embedded | TooLong]:
        if read:
            self.batches.append(len(read))
        return super().encode_tokens(read)


@pytest.fixture
def path() -> Iterator[Path]:
    # Not pytest's tmp_path: a unix socket's path may have 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="fw-") as directory:
        yield Path(directory) / "embedder.sock"


def _crashed(name: str, error: BaseException) -> None:
    raise AssertionError(f"task {name} crashed") from error


@asynccontextmanager
async def _client(
    path: Path, greeting: Greeting, *, timeout_s: float = 20.0, told: list[Transition] | None = None
) -> AsyncIterator[EmbedderClient]:
    clock = SystemClock()
    supervisor = Supervisor(clock=clock, on_crash=_crashed)
    client = EmbedderClient(
        path,
        expected=greeting,
        supervisor=supervisor,
        clock=clock,
        timeout_s=timeout_s,
        retry_s=0.01,
        on_transition=(told if told is not None else []).append,
    )
    client.start()
    yield client
    assert await supervisor.close(1.0) == ()


@asynccontextmanager
async def _listening(encoder: HashingEncoder, path: Path) -> AsyncIterator[None]:
    server = await listen(encoder, await asyncio.to_thread(bind, path), clock=SystemClock())
    yield
    server.close()


def _greeting(encoder: HashingEncoder) -> Greeting:
    return Greeting(embedder_id=encoder.id, dim=encoder.dim, window=encoder.window)


async def _until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not check():  # noqa: ASYNC110 - another process's work sends no event
            await asyncio.sleep(0.005)


async def test_questions_of_many_at_once_share_runs_and_each_gets_its_own_answer(path: Path) -> None:
    encoder = Recording()
    greeting = _greeting(encoder)
    texts = [f"question {number} of many" for number in range(40)]
    async with _listening(encoder, path), _client(path, greeting) as one, _client(path, greeting) as other:
        await _until(lambda: one.state == other.state == "up")
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task((one, other)[at % 2].embed(text)) for at, text in enumerate(texts)]
    for text, task in zip(texts, asked, strict=True):
        answer, (expected,) = task.result(), encoder.encode([text])
        assert isinstance(answer, Embedded)
        assert isinstance(expected, Embedded)
        assert np.array_equal(answer.vector, expected.vector)
        assert answer.tokens == expected.tokens == 6
    assert sum(encoder.batches[:-40]) == 40
    assert len(encoder.batches) - 40 < 20


class Counting(asyncio.Protocol):
    """Greets as an embedder, answers nothing and keeps what each read brought."""

    def __init__(self, greeting: Greeting) -> None:
        self.reads: list[bytes] = []
        self._greeting = greeting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._greeting.pack())

    def data_received(self, data: bytes) -> None:
        self.reads.append(data)


async def test_questions_of_one_turn_travel_together_and_time_out_each(path: Path) -> None:
    greeting = _greeting(HashingEncoder())
    heard = Counting(greeting)
    server = await asyncio.get_running_loop().create_unix_server(lambda: heard, str(path))
    async with server, _client(path, greeting, timeout_s=0.05) as client:
        await _until(lambda: client.state == "up")
        asked = [client.embed(f"question {number}") for number in range(MOST_SILENT - 2)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [str(one) for one in answers] == ["no vector within 50 ms"] * (MOST_SILENT - 2)
        assert len(heard.reads) == 1
        with pytest.raises(EmbedderUnavailable, match="no vector within"):  # the timer was set anew
            await client.embed("one more")
        assert len(heard.reads) == 2


async def test_a_text_beyond_the_window_is_told_so_with_its_tokens(path: Path) -> None:
    encoder = Recording()
    async with _listening(encoder, path), _client(path, _greeting(encoder)) as client:
        await _until(lambda: client.state == "up")
        assert await client.embed("word " * WINDOW) == TooLong(tokens=WINDOW + 2, window=WINDOW)
        fits = await client.embed("word " * (WINDOW - 2))
        assert isinstance(fits, Embedded)
        huge = await client.embed("word " * MAX_TEXT_BYTES)
        assert isinstance(huge, TooLong)
    assert encoder.batches == [1]


@pytest.mark.parametrize("text", ["", "\ud800 lone surrogate", "ünïcödé 東京 🤖\x00"])
async def test_any_text_has_an_answer(path: Path, text: str) -> None:
    encoder = Recording()
    async with _listening(encoder, path), _client(path, _greeting(encoder)) as client:
        await _until(lambda: client.state == "up")
        assert isinstance(await client.embed(text), Embedded)


async def test_a_caller_that_leaves_loses_only_its_own_answer(path: Path) -> None:
    encoder = Recording()
    async with _listening(encoder, path), _client(path, _greeting(encoder)) as client:
        await _until(lambda: client.state == "up")
        async with asyncio.TaskGroup() as group:
            leaver = group.create_task(client.embed("one who leaves"))
            stayer = group.create_task(client.embed("one who stays"))
            await asyncio.sleep(0)
            leaver.cancel()
        assert leaver.cancelled()
        (expected,) = encoder.encode(["one who stays"])
        answer = stayer.result()
        assert isinstance(answer, Embedded)
        assert isinstance(expected, Embedded)
        assert np.array_equal(answer.vector, expected.vector)


async def test_without_a_process_nobody_waits(path: Path) -> None:
    told: list[Transition] = []
    async with _client(path, _greeting(HashingEncoder()), told=told) as client:
        with pytest.raises(EmbedderUnavailable, match=r"starting|connect"):
            await client.embed("anything")
    assert told == []


async def test_a_process_with_another_model_is_refused(path: Path) -> None:
    encoder, told = HashingEncoder(), list[Transition]()
    wanted = Greeting(embedder_id="another", dim=encoder.dim, window=encoder.window)
    async with _listening(encoder, path), _client(path, wanted, told=told) as client:
        await _until(lambda: "not by another" in client.reason)
        with pytest.raises(EmbedderUnavailable, match=r"it embeds by hashing.*, not by another"):
            await client.embed("anything")


async def test_whoever_speaks_something_else_is_left_and_others_go_on(path: Path) -> None:
    encoder = Recording()
    async with _listening(encoder, path), _client(path, _greeting(encoder)) as client:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"\xff" * 64)
        assert (await reader.read()).startswith(b"FWE1")
        writer.close()
        await _until(lambda: client.state == "up")
        assert isinstance(await client.embed("still here"), Embedded)


async def test_a_killed_process_is_noticed_at_once_and_its_successor_found(path: Path) -> None:
    told: list[Transition] = []
    script = (
        "import asyncio, sys; from pathlib import Path; from gateway.clock import SystemClock;"
        "from gateway.embedder.hashing import HashingEncoder; from gateway.embedder.process import bind, listen\n"
        "async def main():\n"
        "    await listen(HashingEncoder(), bind(Path(sys.argv[1])), clock=SystemClock())\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())"
    )

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", script, str(path)])

    async with _client(path, _greeting(HashingEncoder()), timeout_s=0.05, told=told) as client:
        process = await asyncio.to_thread(start)
        await _until(lambda: client.state == "up")
        process.kill()
        await _until(lambda: client.state == "down")
        await asyncio.to_thread(process.wait)
        process = await asyncio.to_thread(start)
        await _until(lambda: client.state == "up")
        # A process that hangs takes connections and questions, and answers nothing.
        os.kill(process.pid, signal.SIGSTOP)
        for _ in range(MOST_SILENT):
            with pytest.raises(EmbedderUnavailable):
                await client.embed("anything")
        await _until(lambda: client.state == "down")
        os.kill(process.pid, signal.SIGCONT)
        await _until(lambda: client.state == "up")
        process.kill()
        await asyncio.to_thread(process.wait)
        await _until(lambda: len(told) == 6)
    assert [one.state for one in told] == ["up", "down"] * 3


async def test_the_real_process_embeds_and_ends_when_asked(minilm_directory: Path, path: Path) -> None:
    home = EmbedderHome(folder=minilm_directory, socket=path, precision="float32")
    await asyncio.to_thread(home.prepare)
    process = await asyncio.to_thread(subprocess.Popen, home.command())
    async with _client(path, await asyncio.to_thread(expected_greeting, "float32")) as client:
        await _until(lambda: client.state == "up" or process.poll() is not None)
        answer = await client.embed("This is an example sentence")
        assert isinstance(answer, Embedded)
        assert np.abs(answer.vector[:3] - (0.06765686, 0.06349593, 0.04871311)).max() < 1e-5
        assert answer.tokens == 7
        assert await client.embed("x " * 300) == TooLong(tokens=302, window=256)
        process.terminate()
        assert await asyncio.to_thread(process.wait) == 0
        await _until(lambda: client.state == "down")


def test_a_data_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "embedder").write_text("a file")
    with pytest.raises(CannotEmbed, match="embedder"):
        EmbedderHome.of(tmp_path).prepare()


def test_a_path_too_long_for_a_socket_gives_way_to_a_short_one(tmp_path: Path) -> None:
    home = EmbedderHome.of(tmp_path / ("long" * 40))
    assert len(os.fsencode(home.socket)) <= 103
    assert home.folder.is_relative_to(tmp_path)
