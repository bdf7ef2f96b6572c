"""Plays a row of the fault table on the running gateway and holds what was seen against it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from tests.anthropic_provider import Reply as AnthropicReply
from tests.e2e.serving import BOUND_S
from tests.faults.row import AnyReply, Row
from tests.faults.running import LETTERS, UPSTREAM, Asked, Faulty, Got, Mode, fallback_of
from tests.provider import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What the caller got, and what the providers saw: all requests for the row's model, for its fallback, for any."""

    got: Got
    primary: Sequence[Asked]
    then: Sequence[Asked]
    all: int


def names_of(rows: Sequence[Row]) -> set[str]:
    """Return the names of the model groups that the rows ask for."""
    return {f"{row.name}-{mode}" for row in rows for mode in row.modes}


async def play(faulty: Faulty, row: Row, mode: Mode) -> Played:
    """Make the provider do it, ask, and return what was seen once the gateway has hung up where it must."""
    letter, upstream = LETTERS[row.backend], f"{UPSTREAM[row.backend]}-{row.name}-{mode}"
    second = fallback_of(row.route, row.backend)
    faulty.reset()
    script(faulty, upstream, row.replies)
    script(faulty, second, row.then)
    match row.always:
        case Reply():
            faulty.openai.always(upstream, row.always)
        case AnthropicReply():
            faulty.anthropic.always(upstream, row.always)
        case None:
            pass
    route = row.route if row.route in ("", "alone") else f"{row.route}-{letter}"
    got = await faulty.chat(f"{letter}-{row.name}-{mode}", stream=mode == "stream", route=route)
    primary = faulty.asked(upstream)
    if row.hangs_up:
        async with asyncio.timeout(BOUND_S):
            await primary[0].hung_up.wait()
    return Played(got=got, primary=primary, then=faulty.asked(second), all=len(faulty.asked()))


def script(faulty: Faulty, model: str, replies: Sequence[AnyReply]) -> None:
    """Queue replies at the provider whose kind they are."""
    for reply in replies:
        match reply:
            case Reply():
                faulty.openai.script(model, reply)
            case AnthropicReply():
                faulty.anthropic.script(model, reply)


def check(row: Row, mode: Mode, played: Played) -> None:
    """Hold what was seen against the row."""
    check_answer(row, mode, played.got)
    assert (len(played.primary), len(played.then)) == (row.asked, row.fell_back)
    assert played.all == row.asked + row.fell_back  # and nobody else
    if row.prefills:
        assert tuple(asked.is_prefill for asked in played.then) == row.prefills
    if row.apart_s:
        assert played.primary[1].at_s - played.primary[0].at_s >= row.apart_s


def check_answer(row: Row, mode: Mode, got: Got) -> None:
    """Hold what the caller got against the row; nothing truncated may look complete."""
    plain = row.text_in(mode)
    assert not got.broke_off
    assert b"sk-provider" not in got.body
    if row.wanted == "complete":
        assert got.is_complete, got.body
        assert got.text == plain
        return
    assert not got.is_complete, got.body
    assert got.status == row.status, got.body
    assert "[DONE]" not in got.events
    assert set(got.error) == {"message", "type", "param", "code", "source"}
    assert row.code in ("", got.error["code"])
    assert row.source in ("", got.error["source"])
    assert row.said in got.error["message"]
    if row.wanted == "error event":
        assert got.text
        assert plain.startswith(got.text)
        assert got.text != plain
    elif got.status >= 500:
        assert got.headers["x-should-retry"] == "false"
