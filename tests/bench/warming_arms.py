"""One arm over one stream, request by request: what is decided at t is decided from what came before t (prequential),
and all arms get the same requests with the same draws (paired)."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.bench.warming_data import Request, digest
from tests.bench.warming_world import WARM_TAKES_S, Budget, Counts, World, WorldBookmark, WorldNotes
from warmer.budget import Spent, left
from warmer.figures import Figures
from warmer.predictors import PREDICTORS
from warmer.recorder import Recorder
from warmer.types import Announcement, Known, PredictorName
from warmer.warmer import Warmer, WarmerPorts, WarmerRules

PLAIN = ("no cache", "fill on miss", "+ joining")
STEP_S = 600.0
LEAST_STEP_S = 10.0
BEFORE_EXPIRY_S = 55.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcing:
    """Composed, not recorded: the bot sees a transcript being posted, and says so before its run is asked for.

    `covers` of the new transcripts are announced, a lognormal lead before (`lead_s` in the middle); for every 100 of
    those, 100 * `in_vain` others that nobody runs.
    """

    covers: float = 0.8
    in_vain: float = 0.25
    lead_s: float = 90.0
    sigma: float = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What is done. `predictors` None: nothing is warmed; `is_oracle`: it knows what comes; `announcing`: the bot
    does."""

    name: str
    predictors: tuple[PredictorName, ...] | None = None
    is_oracle: bool = False
    announcing: Announcing | None = None
    keeps: bool = True
    joins: bool = True


ARMS = (
    Arm(name="no cache", keeps=False, joins=False),
    Arm(name="fill on miss", joins=False),
    Arm(name="+ joining"),
    *(Arm(name=name, predictors=(name,)) for name in PREDICTORS),
    Arm(name="all predictors", predictors=tuple(PREDICTORS)),
    Arm(name="event-driven", predictors=(), announcing=Announcing()),
    Arm(name="half announced, half in vain", predictors=(), announcing=Announcing(covers=0.5, in_vain=1.0)),
    Arm(name="all + event-driven", predictors=tuple(PREDICTORS), announcing=Announcing()),
    Arm(name="oracle", is_oracle=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of an arm; `figures` is the product's own measurement, None where nothing is warmed."""

    arm: str
    seed: int
    counts: Counts
    figures: Figures | None
    results: dict[str, int]


def announcements(requests: Sequence[Request], how: Announcing, *, seed: int) -> list[tuple[float, Request]]:
    """Return when the bot says what, in order."""
    rng = random.Random(f"announcements {seed}")
    found = []
    for request in requests:
        if not request.is_new_post:
            continue
        lead_s = how.lead_s * rng.lognormvariate(0.0, how.sigma)
        if rng.random() < how.covers:
            found.append((request.at_s - lead_s, request))
            if rng.random() < how.in_vain:
                nobodys = replace(request, key=digest("in vain", request.key))
                found.append((request.at_s + rng.uniform(-3600, 3600), nobodys))
    return sorted(found, key=lambda pair: pair[0])


def said_of(posted: Request, at_s: float) -> Announcement:
    """Return what the bot says: within the hour, most likely after the usual lead."""
    return Announcement(
        tenant="bench", recipe=Known(key=posted.key), due_at_s=at_s + Announcing().lead_s, until_s=at_s + 3600.0
    )


async def play(requests: Sequence[Request], arm: Arm, budget: Budget, *, seed: int) -> Run:
    """Play the stream."""
    world = World(seed=seed, budget=budget, keeps=arm.keeps, joins=arm.joins)
    if arm.is_oracle:
        await _oracle(requests, world)
        return Run(arm=arm.name, seed=seed, counts=world.counts, figures=None, results={})
    if arm.predictors is None:
        for request in requests:
            world.serve(request)
        return Run(arm=arm.name, seed=seed, counts=world.counts, figures=None, results={})
    return await _warmed(requests, arm, world, seed=seed)


async def _oracle(requests: Sequence[Request], world: World) -> None:
    """Have made, just in time, everything that would miss and that the same budget allows."""
    spent = Spent()
    for request in requests:
        world.now_s = request.at_s
        if not world.fresh_until_s(request.key):
            terms = await world.terms("bench")
            bound = 2 * world.warm_price(request.cost_nanousd)
            is_worth_it = world.warm_price(request.cost_nanousd) < request.cost_nanousd
            if terms is not None and is_worth_it and bound <= left(terms, spent, request.at_s):
                world.now_s = request.at_s - WARM_TAKES_S
                world.put(request, by="announced")
                spent.debit(world.warm_price(request.cost_nanousd), request.at_s)
        world.serve(request)


class _Steps:
    """When the warmer steps: after the requests of sessions that have several, every ten minutes, and before and after
    what is popular expires. The product steps every few seconds; between these times it would find little to do.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        sessions = Counter(request.session for request in requests)
        self._several = {session for session, count in sessions.items() if count > 1}
        self._last_s = requests[0].at_s
        self._due: list[float] = []
        self._seen: Counter[str] = Counter()

    def saw(self, request: Request, world: World) -> None:
        self._seen[request.key] += 1
        if request.session in self._several:
            heapq.heappush(self._due, request.at_s + 1.0)
        if self._seen[request.key] > 1:
            self.kept(world.fresh_until_s(request.key))

    def kept(self, until_s: float) -> None:
        heapq.heappush(self._due, until_s - BEFORE_EXPIRY_S)
        heapq.heappush(self._due, until_s + 1.0)

    def before(self, at_s: float) -> float | None:
        """Return the next time to step before `at_s`."""
        while self._due and self._due[0] < self._last_s + LEAST_STEP_S:
            heapq.heappop(self._due)
        due_s = min(self._due[0] if self._due else self._last_s + STEP_S, self._last_s + STEP_S)
        if due_s >= at_s:
            return None
        self._last_s = due_s
        return due_s


async def _warmed(requests: Sequence[Request], arm: Arm, world: World, *, seed: int) -> Run:
    rules = WarmerRules(
        salt=f"seed {seed}",
        save_every_s=86_400.0,
        predictors={name: PREDICTORS[name] for name in arm.predictors or ()},
    )
    recorder = Recorder(world, WorldBookmark(), capacity=2_000)
    ports = WarmerPorts(recorder=recorder, notes=WorldNotes(), asker=world, gate=world)
    warmer = Warmer(ports, rules=rules)
    said = announcements(requests, arm.announcing, seed=seed) if arm.announcing else []
    steps = _Steps(requests)
    results: Counter[str] = Counter()
    place = 0

    async def step(at_s: float) -> None:
        world.now_s = at_s
        for one in (await warmer.step(at_s)).considered:
            results[f"{one.predictor} {one.result}"] += 1
            if one.result == "warmed":
                steps.kept(world.fresh_until_s(one.key))

    for request in requests:
        while place < len(said) and said[place][0] < request.at_s:
            at_s, posted = said[place]
            place += 1
            world.know(posted)
            warmer.announce(said_of(posted, at_s))
            await step(max(at_s, world.now_s))
        while (due_s := steps.before(request.at_s)) is not None:
            await step(due_s)
        world.serve(request)
        steps.saw(request, world)
    figures = warmer.figures(world.now_s)
    return Run(arm=arm.name, seed=seed, counts=world.counts, figures=figures, results=dict(results))
