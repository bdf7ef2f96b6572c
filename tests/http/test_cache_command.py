"""`foreword cache` on a running gateway's Redis: figures, one answer, and an invalidation that every worker hears."""

from __future__ import annotations

import asyncio
import re

import orjson
import pytest

from gateway.cli import run
from gateway.embedder.hashing import HashingEncoder
from tests.http.conftest import StartGateway
from tests.http.folding import until_shared
from tests.http.wordings import FIRST, policy, until_quiet

_LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[")


async def test_an_answer_is_shown_counted_and_taken_back(
    start_gateway: StartGateway, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = await start_gateway(policy=policy(), embedder=HashingEncoder())
    await gateway.chat(FIRST)
    await until_quiet(gateway)
    key = gateway.outcomes[-1].cache_key
    await until_shared(gateway, key)

    async def command(*arguments: str) -> tuple[int, str]:
        code = await asyncio.to_thread(run, ["cache", *arguments, "--redis-url", redis_url])
        # The gateway of this test runs in this process, and its log lines go the same way.
        lines = capsys.readouterr().out.splitlines(keepends=True)
        return code, "".join(line for line in lines if not _LOGGED.match(line))

    code, printed = await command("stats", "--json")
    assert code == 0
    assert orjson.loads(printed)["answers"][gateway.tenant] == 1
    code, printed = await command("stats")
    assert "semantic classes" in printed
    code, printed = await command("show", key[:10])
    assert (code, FIRST in printed, "Hello" in printed) == (0, True, False)
    code, printed = await command("invalidate", "--id", key)
    assert (code, "1 answers and 1 questions would go" in printed) == (0, True)
    assert (await gateway.chat(FIRST)).headers["x-foreword-cache"] == "hit"
    assert (await command("invalidate"))[0] == 2
    assert (await command("invalidate", "--epoch", "new"))[0] == 2
    code, printed = await command("invalidate", "--id", key, "--yes")
    assert (code, "are gone" in printed) == (0, True)
    assert (await gateway.chat(FIRST)).headers["x-foreword-cache"] == "miss"
    assert (await command("show", "0123456789"))[0] == 1
