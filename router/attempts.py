"""Makes all attempts of one request: the only place that retries or falls back.

Must not own the deadline (the caller does), choose models (the plan has) or log.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from policies.model import Plan
from router.cost import cost_nanousd
from router.errors import AttemptsFailed, NoDeployment, ProviderError
from router.leg import Leg
from router.ports import Backend, Clock, Deployments
from router.steps import is_blameless, next_step
from router.types import AnswerEvent, AttemptRecord, Block, Call, ChatRequest, Deployment, Finished, Opened
from router.usage import estimated_usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long to wait for what, in seconds (the backend bounds connecting).

    `first_token_s`: from sending to the first token of a stream. `whole_s` and `last_whole_s`: for an unstreamed
    answer, while the plan has somewhere else to go and when not. `gap_s`: between two events of a stream. `tail_s`: for
    usage and `[DONE]` after the last finish reason. `drain_s`: for the end of the body after `[DONE]`, without which
    the connection cannot be used again. `patience_s`: the longest Retry-After that is waited for while the plan has
    somewhere else to go. `backoff_s`: the longest jittered pause before a retry.
    """

    first_token_s: float = 60.0
    whole_s: float = 60.0
    last_whole_s: float = 120.0
    gap_s: float = 15.0
    tail_s: float = 1.0
    drain_s: float = 0.05
    patience_s: float = 2.0
    backoff_s: float = 0.25


DEFAULT_LIMITS = Limits()


@dataclass(slots=True, kw_only=True)
class _Run:
    """One request on its way: what it asks, and what has been tried."""

    request: ChatRequest
    plan: Plan
    traceparent: str | None
    started_s: float
    attempts: list[AttemptRecord] = field(default_factory=list)
    error: ProviderError | None = None

    def failed(self) -> AttemptsFailed:
        assert self.error is not None
        return AttemptsFailed(self.error, tuple(self.attempts))

    def note_missing(self, missing: NoDeployment) -> None:
        """Remember that a group had nobody to ask, unless a provider has already said something better."""
        if self.error is None:
            self.error = ProviderError(
                str(missing), kind="overloaded", source="gateway", retry_after_s=missing.retry_after_s
            )


class Attempts:
    """Runs plans against deployments. Holds no state of a request; one instance serves them all."""

    def __init__(
        self,
        *,
        deployments: Deployments,
        backends: Mapping[str, Backend],
        clock: Clock,
        rng: random.Random,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._deployments = deployments
        self._backends = backends
        self._clock = clock
        self._rng = rng
        self._limits = limits

    async def run(
        self,
        request: ChatRequest,
        plan: Plan,
        *,
        traceparent: str | None,
        journal: list[AttemptRecord] | None = None,
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Yield Opened, Blocks and Finished for a stream, Finished alone for a whole answer.

        Until Opened any failure may move on to another attempt; after it a failure ends the run. Raises AttemptsFailed
        in both cases. An unstreamed request whose plan says `assemble` gets its blocks at once when they are complete.
        Close with contextlib.aclosing: closing or cancelling drops the provider's connection. `journal` receives every
        attempt as it ends, also those of a run that is cancelled.
        """
        attempts = [] if journal is None else journal
        run = _Run(
            request=request,
            plan=plan,
            traceparent=traceparent,
            started_s=self._clock.monotonic(),
            attempts=attempts,
        )
        leg = await self._reach(run)
        try:
            if leg.is_streamed:
                yield Opened(
                    deployment=leg.deployment,
                    attempts=tuple(attempts),
                    first_token_s=leg.first_token_s or 0.0,
                    headers=leg.headers,
                )
                while block := leg.take_held() or await self._next_block(run, leg):
                    yield Block(data=block)
                await self._drain(leg)
            await self._close(run, leg)
            yield self._finished(run, leg)
        finally:
            await self._close(run, leg)

    # Until the first token: failures are values, and the next step is decided from them.

    async def _reach(self, run: _Run) -> Leg:
        """Return the first leg that has something to give. Raises AttemptsFailed."""
        for position, group in enumerate(run.plan.candidates):
            leg = await self._try_group(run, group, position)
            if leg is not None:
                return leg
        raise run.failed()

    async def _try_group(self, run: _Run, group: str, position: int) -> Leg | None:
        is_last = position == len(run.plan.candidates) - 1
        reason: Literal["first", "retry", "fallback"] = "fallback" if position else "first"
        deployment = await self._first_of(run, group)
        while deployment is not None:
            leg = Leg(deployment, reason, run.request, self._clock.monotonic(), gap_s=self._limits.gap_s)
            error = await self._open(run, leg, is_last=is_last)
            if error is None:
                return leg
            step = next_step(error, is_retry=reason == "retry")
            if step == "stop":
                raise run.failed()
            deployment = await self._again(run, leg, error, is_last=is_last) if step == "retry" else None
            reason = "retry"
        return None

    async def _first_of(self, run: _Run, group: str) -> Deployment | None:
        try:
            return await self._deployments.pick(group, run.request)
        except NoDeployment as missing:
            run.note_missing(missing)
            return None

    async def _again(self, run: _Run, leg: Leg, error: ProviderError, *, is_last: bool) -> Deployment | None:
        """Pause and return whom to ask again: another of the group, else the same if it can be waited for."""
        pause_s = self._rng.uniform(0.0, self._limits.backoff_s)
        left_s = run.plan.deadline_s - (self._clock.monotonic() - run.started_s)
        tried = leg.deployment
        try:
            chosen = await self._deployments.pick(tried.group, run.request, exclude=frozenset({tried.id}))
        except NoDeployment:
            chosen = tried
            pause_s += error.retry_after_s or 0.0
        if pause_s > (left_s if is_last else min(left_s, self._limits.patience_s)):
            return None
        await self._clock.sleep(pause_s)
        return chosen

    async def _open(self, run: _Run, leg: Leg, *, is_last: bool) -> ProviderError | None:
        """Send, and read up to the first token (up to the end where assembling); return what went wrong."""
        is_open = False
        try:
            await self._read_first(run, leg, is_last=is_last)
            is_open = True
        except ProviderError as error:
            self._note_failure(run, leg, error)
        finally:
            if not is_open:
                await self._close(run, leg)
        return leg.error

    async def _read_first(self, run: _Run, leg: Leg, *, is_last: bool) -> None:
        limits, request = self._limits, run.request
        is_assembled = run.plan.assemble and request.dialect == "chat" and not request.stream
        call = Call(
            request=request,
            deployment=leg.deployment,
            stream=request.stream or is_assembled,
            max_output_tokens=run.plan.max_output_tokens,
            traceparent=run.traceparent,
        )
        whole_s = limits.last_whole_s if is_last else limits.whole_s
        limit_s = limits.first_token_s if call.stream else whole_s
        try:
            async with asyncio.timeout(limit_s):
                leg.take(await self._backends[leg.deployment.backend].send(call))
                while leg.is_streamed and not leg.has_token:
                    leg.hold(await leg.read())
        except TimeoutError as error:
            raise _silence(leg, f"no answer within {limit_s:g} s") from error
        leg.first_token_s = self._clock.monotonic() - run.started_s
        while is_assembled and leg.is_streamed and (events := await self._read_on(leg)):
            leg.hold(events)

    # After the first token: a failure is the end of the run.

    async def _next_block(self, run: _Run, leg: Leg) -> bytes:
        """Return the next events, b"" once the answer is complete. Raises AttemptsFailed."""
        try:
            return await self._read_on(leg)
        except ProviderError as error:
            self._note_failure(run, leg, error)
            await self._close(run, leg)
            raise run.failed() from error

    async def _read_on(self, leg: Leg) -> bytes:
        events = b""
        try:
            with leg.gap:  # around all of them: comments and malformed events are no progress
                while not events and not leg.is_finished and not leg.is_at_end:
                    events = await leg.read()
        except TimeoutError as error:
            raise _silence(leg, f"no event for {self._limits.gap_s:g} s") from error
        return events or await self._read_tail(leg)

    async def _read_tail(self, leg: Leg) -> bytes:
        """Return what still comes after the last finish reason; a provider that just stays there is done."""
        events = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.tail_s):
                while not events and not leg.is_at_end:
                    events = await leg.read()
        if not events:
            leg.end()
        return events

    async def _drain(self, leg: Leg) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.drain_s):
                await leg.drain()

    # Books.

    def _note_failure(self, run: _Run, leg: Leg, error: ProviderError) -> None:
        leg.error = run.error = error
        if not is_blameless(error):
            self._deployments.failed(leg.deployment, error)

    async def _close(self, run: _Run, leg: Leg) -> None:
        """Release the leg and write it down, once."""
        if leg.is_closed:
            return
        record = leg.record(run.started_s, self._clock.monotonic())
        run.attempts.append(record)
        if record.result == "ok":
            self._deployments.succeeded(leg.deployment)
        await leg.close()

    def _finished(self, run: _Run, leg: Leg) -> Finished:
        usage = leg.usage or estimated_usage(run.request, leg.output_bytes)
        return Finished(
            deployment=leg.deployment,
            attempts=tuple(run.attempts),
            body=leg.body,
            usage=usage,
            cost_nanousd=cost_nanousd(leg.deployment.price, usage),
            response_model=leg.response_model,
            finish_reasons=leg.finish_reasons,
            usage_event=leg.usage_event,
            first_token_s=leg.first_token_s if leg.is_streamed else None,
            headers=leg.headers,
        )


def _silence(leg: Leg, what: str) -> ProviderError:
    return ProviderError(f"{leg.deployment.provider} gave {what}", kind="timeout", source="gateway")
