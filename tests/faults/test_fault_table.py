"""Every row of reliability.md's fault table on the real process: what the caller got, and what the provider saw."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.playing import check, names_of, play
from tests.faults.row import Row
from tests.faults.rows import ROWS
from tests.faults.running import Faulty, Mode, faulty_gateway
from tests.faults.stories import NAMES, STORIES, Story, warm_up

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLAYS = [pytest.param(row, mode, id=f"{row.backend}-{row.name}-{mode}") for row in ROWS for mode in row.modes]
TELLINGS = [
    pytest.param(story, mode, id=f"{story.backend}-{story.name}-{mode}") for story in STORIES for mode in story.modes
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def faulty() -> AsyncIterator[Faulty]:
    async with faulty_gateway(sorted({*names_of(ROWS), *NAMES})) as running:
        await warm_up(running)
        yield running


@pytest.mark.parametrize(("row", "mode"), PLAYS)
async def test_a_provider_that(faulty: Faulty, row: Row, mode: Mode) -> None:
    check(row, mode, await play(faulty, row, mode))


@pytest.mark.parametrize(("story", "mode"), TELLINGS)
async def test_a_story_of(faulty: Faulty, story: Story, mode: Mode) -> None:
    faulty.reset()
    assert await story.tell(faulty, story.backend, mode)
