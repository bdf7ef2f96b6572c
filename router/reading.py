"""Reads one leg's answer, each part within its limit. Must not decide what a failure means for the request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from router.deadlines import Deadlines, Limits, Measure
from router.errors import ProviderError
from router.leg import Leg
from router.ports import Backend, Clock
from router.time_limits import TimeLimits
from router.types import Call


class Reading:
    """The limits of reading, the same for all legs. Every method raises ProviderError; cancelling is passed on."""

    def __init__(self, backends: Mapping[str, Backend], clock: Clock, limits: Limits, deadlines: Deadlines) -> None:
        self._backends = backends
        self._clock = clock
        self._limits = limits
        self._deadlines = deadlines
        self._waits = TimeLimits()

    async def open(self, leg: Leg, call: Call, *, is_last: bool) -> None:
        """Send, and read up to the first token, or all of an unstreamed answer."""
        now_s = self._clock.monotonic()
        limit_of = self._deadlines.first_token_s if call.stream else self._deadlines.whole_s
        limit_s = limit_of(call.request, leg.deployment, now_s, is_last=is_last)
        measure: Measure = "first_token" if call.stream else "whole"
        try:
            with self._waits.within(limit_s):
                leg.take(await self._backends[leg.deployment.backend].send(call))
                while leg.is_streamed and not leg.has_token:
                    leg.hold(await leg.read())
        except TimeoutError as error:
            self._deadlines.took(call.request, leg.deployment, measure, limit_s, self._clock.monotonic())
            raise _silence(leg, f"no answer within {limit_s:g} s") from error
        now_s = self._clock.monotonic()
        leg.first_token_s = now_s - leg.started_s
        self._deadlines.took(call.request, leg.deployment, measure, leg.first_token_s, now_s)

    async def hold_all(self, leg: Leg) -> None:
        """Read a stream to its end and keep it, up to the bound."""
        while leg.is_streamed and (events := await self.next(leg)):
            leg.hold(events)
            if leg.held_bytes > self._limits.max_held_bytes:
                raise ProviderError(
                    f"{leg.deployment.provider} sent an answer of more than {self._limits.max_held_bytes} bytes",
                    kind="malformed",
                    source="gateway",
                )

    async def next(self, leg: Leg) -> bytes:
        """Return the next events, b"" once the answer is complete."""
        limits = self._limits
        if leg.waited_s >= leg.drip_due_s and leg.is_dripping(limits.drip_window_s, limits.drip_bytes_per_s):
            raise _silence(leg, f"less than {limits.drip_bytes_per_s:g} bytes of text a second")
        events = b""
        before_s = self._clock.monotonic()
        assert leg.gap is not None  # it is streamed
        try:
            with leg.gap:  # around all of them: comments and malformed events are no progress
                while not events and not leg.is_finished and not leg.is_at_end:
                    events = await leg.read()
        except TimeoutError as error:
            raise _silence(leg, f"no event for {limits.gap_s:g} s") from error
        leg.waited_s += self._clock.monotonic() - before_s
        return events or await self._tail(leg)

    async def drain(self, leg: Leg) -> None:
        """Read what follows the end for a moment, so that the connection can serve again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.drain_s):
                await leg.drain()

    async def _tail(self, leg: Leg) -> bytes:
        """Return what still comes after the last finish reason; a provider that just stays there is done, at once
        where it has stated its usage."""
        events = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.tail_s) as scope:
                while not events and not leg.is_at_end:
                    if leg.usage_event is not None:
                        soon_s = asyncio.get_running_loop().time() + self._limits.drain_s
                        scope.reschedule(min(soon_s, scope.when() or soon_s))
                    events = await leg.read()
        if not events:
            leg.end()
        return events


def _silence(leg: Leg, what: str) -> ProviderError:
    return ProviderError(f"{leg.deployment.provider} gave {what}", kind="timeout", source="gateway")
