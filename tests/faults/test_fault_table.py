"""Every row of reliability.md's fault table on the real process: what the caller got, and what the provider saw."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults.rows import ANTHROPIC_TEXT, LITELLM_ROWS, OPENAI_TEXT, ROWS, LiteLLMRow, Mode, Row, text_of
from tests.faults.running import BACKUP_TEXT, Faulty, Got, faulty_gateway
from tests.provider import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPENAI = [pytest.param(row, mode, id=f"{row.name}-{mode}") for row in ROWS for mode in row.modes]
LITELLM = [pytest.param(row, mode, id=f"{row.name}-{mode}") for row in LITELLM_ROWS for mode in row.modes]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def faulty() -> AsyncIterator[Faulty]:
    names = {f"{row.name}-{mode}" for row in ROWS for mode in row.modes}
    names |= {f"{row.name}-{mode}" for row in LITELLM_ROWS for mode in row.modes}
    async with faulty_gateway(sorted({*names, "plain", "spaced", "endless"})) as running:
        await running.chat("a-plain", stream=True)  # LiteLLM loads a provider's code on its first call
        yield running


@pytest.fixture(autouse=True)
def fresh(faulty: Faulty) -> None:
    faulty.openai.reset()
    faulty.openai.always("up-backup", Reply(words=(BACKUP_TEXT,)))
    faulty.anthropic.requests.clear()


def check(got: Got, row: Row | LiteLLMRow, *, plain: str) -> None:
    """Hold what the caller got against the row; nothing truncated may look complete."""
    assert not got.broke_off
    assert b"sk-provider" not in got.body
    if row.wanted in ("complete", "backup"):
        assert got.is_complete, got.body
        assert got.text == text_of(row.wanted, plain)
        return
    assert not got.is_complete
    assert got.status == row.status
    assert "[DONE]" not in got.events
    assert set(got.error) == {"message", "type", "param", "code", "source"}
    assert row.code in ("", got.error["code"])
    assert row.said in got.error["message"]
    if row.wanted == "error event":
        assert got.text
        assert plain.startswith(got.text)
        assert got.text != plain
    elif got.status >= 500:
        assert got.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(("row", "mode"), OPENAI)
async def test_an_openai_shaped_provider_that(faulty: Faulty, row: Row, mode: Mode) -> None:
    model = f"up-{row.name}-{mode}"
    faulty.openai.script(model, *row.replies)
    faulty.openai.always(model, row.always)
    got = await faulty.chat(f"o-{row.name}-{mode}", stream=mode == "stream", route=row.route)
    check(got, row, plain=OPENAI_TEXT)
    assert row.source in ("", got.error.get("source"))
    assert (faulty.asked(model), faulty.asked("up-backup")) == (row.asked, row.backup)
    if row.hangs_up:
        await faulty.openai.wait_for_hang_up(0)


@pytest.mark.parametrize(("row", "mode"), LITELLM)
async def test_a_provider_behind_litellm_that(faulty: Faulty, row: LiteLLMRow, mode: Mode) -> None:
    faulty.anthropic.forget()
    faulty.anthropic.queue(*row.replies)
    got = await faulty.chat(f"a-{row.name}-{mode}", stream=mode == "stream", route=row.route)
    check(got, row, plain=ANTHROPIC_TEXT[mode])
    assert (len(faulty.anthropic.requests), faulty.asked("up-backup")) == (row.asked, row.backup)
    if row.hangs_up:
        async with asyncio.timeout(10):
            await faulty.anthropic.requests[0].hung_up.wait()


@pytest.mark.parametrize("stream", [True, False])
async def test_nobody_listening_is_tried_twice_and_then_the_fallback_answers(faulty: Faulty, stream: bool) -> None:
    got = await faulty.chat("refused", stream=stream, text=f"streamed {stream}")
    assert (got.is_complete, got.text) == (True, BACKUP_TEXT)
    assert got.headers["x-foreword-attempts"] == "3"
    assert got.headers["x-foreword-model"] == "backup"


async def test_a_retry_comes_no_sooner_than_the_provider_asked_for(faulty: Faulty) -> None:
    faulty.openai.script("up-spaced", Reply(status=429, headers={"retry-after-ms": "150"}))
    assert (await faulty.chat("o-spaced", stream=False)).text == OPENAI_TEXT
    first, second = faulty.openai.requests
    assert second.at_s - first.at_s >= 0.15


async def test_a_retry_after_that_nothing_can_wait_for_is_passed_on(faulty: Faulty) -> None:
    faulty.openai.always("up-spaced", Reply(status=429, headers={"Retry-After": "30"}))
    got = await faulty.chat("o-spaced", stream=False, route="alone")
    assert (got.status, got.headers["Retry-After"]) == (429, "30")


async def test_usage_is_told_where_the_provider_left_done_out(faulty: Faulty) -> None:
    faulty.openai.always("up-plain", Reply(done=False))
    got = await faulty.chat("o-plain", stream=True, stream_options={"include_usage": True})
    assert got.documents[-1]["usage"]["completion_tokens"] == 4


async def test_an_endless_answer_is_read_no_faster_than_its_reader_and_ends_with_it(faulty: Faulty) -> None:
    faulty.openai.always("up-endless", Reply(words=("x" * 16384,) * 1024, fault="endless"))
    body = {"model": "o-endless", "stream": True, "messages": [{"role": "user", "content": "on and on"}]}
    url, size = faulty.served.url + "/v1/chat/completions", 0
    await faulty.chat("o-plain", stream=True)
    before_kib = await asyncio.to_thread(resident_kib, faulty)
    async with faulty.session.post(url, json=body) as answer:
        while size < 12 << 20:
            size += len(await answer.content.readany())
        grown_kib = await asyncio.to_thread(resident_kib, faulty) - before_kib
        answer.close()
    await faulty.openai.wait_for_hang_up(-1)
    assert grown_kib < 8 << 10


def resident_kib(faulty: Faulty) -> int:
    """Return the memory that the workers hold."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in faulty.served.workers()]
    return sum(int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("VmRSS"))
