"""Makes all attempts of one request: the only place that retries, falls back, hedges or resumes.

Must not own the deadline (the caller does), choose models (the plan has) or log.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Mapping
from functools import partial

from policies.model import Plan
from router.books import finished_event
from router.deadlines import DEFAULT_LIMITS, Limits
from router.errors import ProviderError
from router.hedge import Entrant, Hedging, Race
from router.itinerary import Itinerary, Surroundings, Turn
from router.leg import Leg
from router.ports import Backend, BreakerHints, Clock, Deployments
from router.reading import Reading
from router.resume import Continuation, Diverged, cap_left, frame_of, ways_of, with_prefill
from router.run import Run
from router.steps import is_blameless
from router.tiers import asked_tier
from router.traffic import Traffic
from router.types import AnswerEvent, AttemptRecord, Block, Call, ChatRequest, Opened, Priority
from router.usage import BYTES_PER_TOKEN

__all__ = ["DEFAULT_LIMITS", "Attempts", "Limits"]


class Attempts:
    """Runs plans against deployments. Holds no state of a request; one instance serves them all.

    `traffic` and `hedging` are what it has learnt of the deployments. `hints` are what other processes have.
    """

    def __init__(
        self,
        *,
        deployments: Deployments,
        backends: Mapping[str, Backend],
        clock: Clock,
        rng: random.Random,
        limits: Limits = DEFAULT_LIMITS,
        hints: BreakerHints | None = None,
    ) -> None:
        self.traffic = Traffic(limits, hints=hints)
        self._deployments = deployments
        self._clock = clock
        self._limits = limits
        self._reading = Reading(backends, clock, limits, self.traffic.deadlines)
        self.hedging = Hedging(self.traffic, limits)
        self._around = Surroundings(deployments=deployments, traffic=self.traffic, clock=clock, rng=rng, limits=limits)

    async def run(
        self,
        request: ChatRequest,
        plan: Plan,
        *,
        traceparent: str | None,
        journal: list[AttemptRecord] | None = None,
        priority: Priority = "interactive",
        tenant: str = "",
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Yield Opened, Blocks and Finished for a stream, Finished alone for a whole answer.

        Until Opened any failure may move on to another attempt; after it, where the plan says `resume`, somebody else
        may go on, else a failure ends the run. Raises AttemptsFailed. What is held (`hold`, and an unstreamed request
        whose plan says `assemble`) gets its blocks at once when they are complete.
        Close with contextlib.aclosing: closing or cancelling drops the provider's connection. `journal` receives every
        attempt as it ends, also those of a run that is cancelled. `priority` and `tenant` count where there is a queue.
        """
        run = self._begin(request, plan, traceparent, journal, priority, tenant)
        try:
            leg = await self._reach(run)
            run.hedges_left = 0
            if leg.is_streamed:
                yield Opened(
                    deployment=leg.deployment,
                    attempts=tuple(run.attempts),
                    first_token_s=leg.started_s + (leg.first_token_s or 0.0) - run.started_s,
                    headers=leg.headers,
                )
                while block := await self._next_block(run):
                    yield Block(data=block)
                leg = run.leg or leg
                await self._reading.drain(leg)
            await self._close(run, leg)
            yield finished_event(leg, run.request, tuple(run.attempts), run.started_s, run.rejoined)
        finally:
            if run.leg is not None:
                await self._close(run, run.leg)

    def _begin(
        self,
        request: ChatRequest,
        plan: Plan,
        traceparent: str | None,
        journal: list[AttemptRecord] | None,
        priority: Priority,
        tenant: str,
    ) -> Run:
        now_s = self._clock.monotonic()
        self.traffic.budget.request(now_s)
        may_resume = plan.on_cut == "resume" and request.stream and request.dialect == "chat"
        return Run(
            request=request,
            plan=plan,
            traceparent=traceparent,
            started_s=now_s,
            attempts=[] if journal is None else journal,
            way=Itinerary(self._around, request, plan, started_s=now_s, priority=priority, tenant=tenant),
            keep_text_bytes=self._limits.max_held_bytes if may_resume else 0,
            hedges_left=self.hedging.begin(plan, priority, now_s) if plan.hedge is not None else 0,
        )

    # Until the first token: failures are values, and the next step is decided from them.

    async def _reach(self, run: Run) -> Leg:
        """Return the first leg that has something to give. Raises AttemptsFailed."""
        turn = await run.way.first()
        while turn is not None:
            error = await self._ask(run, turn, run.request)
            if error is None and run.leg is not None:
                return run.leg
            turn = await (run.way.beyond(turn) if error is None else run.way.after(run.turn or turn, error))
        raise run.failed()

    async def _ask(self, run: Run, turn: Turn, request: ChatRequest, *, cap: int | None = None) -> ProviderError | None:
        """Make one attempt, up to the first token (up to the end where held); return what went wrong.

        `run.leg` is then the leg that answers; None without an error: nobody was asked, there was no place.
        """
        run.leg = None
        if not await run.way.enter(turn):
            return None
        entrant = self._entrant(run, turn, request, cap)
        leg = run.leg = entrant.leg
        run.turn = turn
        if run.hedges_left and entrant.call.stream:
            leg = await self._race(run, entrant)
        else:
            await self._open(run, entrant)
        if leg.error is None and run.is_held:
            try:
                await self._reading.hold_all(leg)
            except ProviderError as error:
                await self._failed(run, leg, error)
        return leg.error

    def _entrant(self, run: Run, turn: Turn, request: ChatRequest, cap: int | None = None) -> Entrant:
        now_s, gap_s = self._clock.monotonic(), self._limits.gap_s
        call = Call(
            request=request,
            deployment=turn.deployment,
            stream=request.stream or run.is_assembled,
            max_output_tokens=run.plan.max_output_tokens if cap is None else cap,
            traceparent=run.traceparent,
            service_tier=asked_tier(run.plan, turn),
        )
        leg = Leg(turn.deployment, turn.reason, request, now_s, gap_s=gap_s, keep_text_bytes=run.keep_text_bytes)
        return Entrant(turn=turn, leg=leg, call=call)

    async def _open(self, run: Run, entrant: Entrant) -> None:
        try:
            await self._reading.open(entrant.leg, entrant.call, is_last=entrant.turn.is_last)
        except ProviderError as error:
            await self._failed(run, entrant.leg, error)

    # Two at once: whoever gives the first token becomes `run.leg`.

    async def _race(self, run: Run, first: Entrant) -> Leg:
        """Open `first` or, once it is late, whoever is faster; return the winner, or the one whose error counts."""
        after_s = self.hedging.after_s(run.plan, first.call, self._clock.monotonic())
        if after_s is None:
            await self._open(run, first)
            return first.leg
        race = Race(first, open=partial(self._open, run), join=partial(self._join, run, first, after_s))
        try:
            winner = await race.run()
            run.turn, run.leg = winner.turn, winner.leg
            run.error = winner.leg.error or run.error
        finally:
            loser = race.loser(run.leg)
            if loser is not None:
                loser.leg.is_unused = True
                await self._close(run, loser.leg)
        if loser is first and first.leg.error is None:
            self.hedging.outrun(first, self._clock.monotonic())
        return winner.leg

    async def _join(self, run: Run, first: Entrant, after_s: float) -> Entrant | None:
        await self._clock.sleep(after_s)
        turn = await self.hedging.enter(run.plan, run.way, first, self._clock.monotonic)
        if turn is None:
            return None
        run.hedges_left -= 1
        return self._entrant(run, turn, run.request)

    # After it: somebody else goes on, or it is the end of the run.

    async def _next_block(self, run: Run) -> bytes:
        """Return the next events for the client, b"" once the answer is complete. Raises AttemptsFailed."""
        while True:
            leg = run.leg
            assert leg is not None
            try:
                events = leg.take_held() or await self._reading.next(leg)
            except ProviderError as error:
                await self._failed(run, leg, error)
                await self._resume(run, leg, error)
                continue
            if run.rejoined is None:
                run.first_events = run.first_events or events
                return events
            if not events and run.rejoined.has_caught_up:
                return b""
            try:
                if not events:
                    raise Diverged
                if joined := run.rejoined.feed(events):
                    return joined
            except Diverged:
                leg.is_unused = True
                await self._close(run, leg)
                await self._resume(run, leg, None)

    async def _resume(self, run: Run, broken: Leg, error: ProviderError | None) -> None:
        """Make `run.leg` one that goes on where `broken` ended. Raises AttemptsFailed with the first cut's error.

        `error` None: the leg was well, but what it said did not fit.
        """
        shown = run.error
        sent = broken.text if run.rejoined is None else run.rejoined.sent
        if shown is None or sent is None:  # none is kept where nobody may go on
            raise run.failed()
        frame = frame_of(run.first_events)
        while (turn := await self._next_way(run, error, sent)) is not None:
            way = run.ways_left.pop(0)
            is_prefill = way == "prefill"
            request = with_prefill(run.request, turn.deployment, sent) if is_prefill else run.request
            said_tokens = len(sent.encode()) // BYTES_PER_TOKEN
            cap = cap_left(run.request, run.plan, said_tokens) if is_prefill else None
            run.rejoined = Continuation(way, sent, frame, keep_text_bytes=run.keep_text_bytes)
            error = await self._ask(run, turn, request, cap=cap)
            run.error = shown  # whatever goes wrong from here on, the client is told of the cut
            if run.leg is not None and error is None:
                return
            if run.leg is None:  # no place there
                run.turn, run.ways_left = turn, []
        raise run.failed(shown)

    async def _next_way(self, run: Run, error: ProviderError | None, sent: str) -> Turn | None:
        """Return whom to ask to go on; `run.ways_left` then begins with how."""
        turn = run.turn
        assert turn is not None
        has_not_fitted = error is None or error.kind == "bad_request"  # no fault of the deployment's: another way
        if has_not_fitted and run.ways_left and run.way.may_repeat():
            return turn
        following = await run.way.resuming(turn, error)
        if following is not None:
            run.ways_left = list(ways_of(run.request, following.deployment, sent))
        return following

    # Books.

    async def _failed(self, run: Run, leg: Leg, error: ProviderError) -> None:
        leg.error = run.error = error
        if not is_blameless(error):
            self._deployments.failed(leg.deployment, error)
        await self._close(run, leg)

    async def _close(self, run: Run, leg: Leg) -> None:
        """Release the leg and write it down, once."""
        if leg.is_closed:
            return
        now_s = self._clock.monotonic()
        record = leg.record(run.started_s, now_s)
        run.attempts.append(record)
        if run.plan.hedge is not None and not leg.is_unused:
            self.hedging.ended(run.plan, record, now_s)
        deployment, traffic = leg.deployment, self.traffic
        if record.result == "ok":
            self._deployments.succeeded(deployment)
            traffic.succeeded(
                run.request,
                deployment,
                first_token_s=leg.first_token_s or 0.0,
                is_streamed=leg.is_streamed,
                now_s=now_s,
            )
        elif leg.error is not None and not is_blameless(leg.error):
            traffic.failed(deployment, leg.error, started_s=leg.started_s, now_s=now_s)
        elif leg.error is not None or leg.has_token:
            traffic.answered(deployment, now_s)
        else:
            traffic.breakers.abandoned(deployment.id)
        traffic.places.release(deployment.id)
        await leg.close()
