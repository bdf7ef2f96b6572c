"""A run as a stream of events; formats nothing and sends nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from gateway.pipelines.ports import AskStep
from gateway.pipelines.report import PipelineReport
from gateway.pipelines.request import RunRequest
from gateway.pipelines.run import run_pipeline
from router.ports import Clock

Event = tuple[str, dict[str, object]]


class RunEvents:
    """`async with RunEvents(...) as run: async for name, data in run.events()`: the run's events, until it is done.

    The run lives inside the block: leaving it early, or being cancelled in it, gives up every ask. The last event is
    `pipeline.completed`, its data the result. `report` is there after the last event.
    """

    def __init__(self, request: RunRequest, *, ask: AskStep, clock: Clock) -> None:
        self._request = request
        self._ask = ask
        self._clock = clock
        self._group = asyncio.TaskGroup()
        # Bounded by the run itself: a few events per ask.
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.report: PipelineReport | None = None

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._task = self._group.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
        # The group gets to know nothing of the block's own error, or it would wrap it: a client that hung up would be
        # an ExceptionGroup.
        await self._group.__aexit__(None, None, None)

    async def _run(self) -> None:
        def put(name: str, data: dict[str, object]) -> None:
            self._queue.put_nowait((name, data))

        self.report = await run_pipeline(self._request, ask=self._ask, clock=self._clock, emit=put)
        self._queue.put_nowait(None)

    async def events(self) -> AsyncIterator[Event]:
        """Yield each event once, as it happens, until the run is done."""
        while (event := await self._queue.get()) is not None:
            yield event
