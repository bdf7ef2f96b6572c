"""An announcement's way to a scripted warmer and back, on a real Redis, for the tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.announced.records import Announcement, Item, ItemResult, Kept, announcement_id
from gateway.announced.shelf import Shelf
from gateway.ports import StoreUnavailable
from gateway.retained.kept import Kept as KeptRequest
from gateway.stores.redis import RedisStore
from gateway.takeup.ports import TakeupPorts
from gateway.takeup.preparing import Prepared
from gateway.takeup.serving import Takeup
from gateway.takeup.sketching import NotAllowed
from gateway.waiting import Command
from tests.clock import FakeClock
from warmer.results import Considered, Result
from warmer.types import Announcement as Prediction
from warmer.types import Known, Quote


def quote(key: str, fresh_until_s: float) -> Quote:
    return Quote(
        key=key,
        live_nanousd=100,
        warm_nanousd=50,
        bound_nanousd=200,
        wait_s=1.0,
        ttl_s=3600.0,
        fresh_until_s=fresh_until_s,
        prefix_ttl_s=300.0,
    )


@dataclass(slots=True, kw_only=True)
class Script:
    """Everything that items go through, written down; a key is its item's body here."""

    announced: list[Prediction] = field(default_factory=list)
    kept: list[tuple[str, float]] = field(default_factory=list)
    fresh: dict[str, float] = field(default_factory=dict)
    unpriced: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    told: list[ItemResult] = field(default_factory=list)
    has_room: bool = True
    cheap_s: float | None = None

    async def prepare(self, announcement: Announcement, item: Item) -> Prepared:
        body = item.body.decode()
        if body in self.failing:
            raise ZeroDivisionError
        if body.startswith("tools"):
            raise NotAllowed("it has tools")
        kept = KeptRequest(
            kind="chat",
            body=item.body,
            dialect="chat",
            tenant=announcement.tenant,
            key_id=announcement.key_id,
            allowed_models=None,
            session="",
            tags=(),
            namespace="",
            parts=(),
            wait_s=0.0,
            ttl_s=0.0,
            cost_nanousd=0,
        )
        return Prepared(key=body, kept=kept, cheap_s=self.cheap_s)

    async def keep(self, prepared: Prepared, *, ttl_s: float) -> None:
        self.kept.append((prepared.key, ttl_s))

    async def quote(self, tenant: str, recipe: Known) -> Quote | None:
        if recipe.key in self.unpriced:
            return None
        return quote(recipe.key, self.fresh.get(recipe.key, 0.0))

    def announce(self, prediction: Prediction) -> bool:
        if self.has_room:
            self.announced.append(prediction)
        return self.has_room

    @property
    def keys(self) -> list[str]:
        return [one.recipe.key for one in self.announced if isinstance(one.recipe, Known)]


@dataclass(slots=True, kw_only=True)
class Lane:
    """A Redis that can be switched off."""

    store: RedisStore
    is_away: bool = False

    async def run(self, *commands: Command) -> list[object]:
        if self.is_away:
            raise StoreUnavailable("away")
        return await self.store.run(*commands)


@dataclass(slots=True, kw_only=True)
class Bench:
    shelf: Shelf
    lane: Lane
    clock: FakeClock
    tenant: str
    script: Script = field(default_factory=Script)

    def announcement(self, *bodies: str, ready_by_s: float | None = None) -> Announcement:
        now, content = self.clock.now(), ",".join(bodies)
        return Announcement(
            id=announcement_id(self.tenant, content),
            tenant=self.tenant,
            key_id="key-1",
            allowed_models=None,
            session="",
            tags=frozenset({"task=x"}),
            level="answer",
            created_at=now,
            ready_by=None if ready_by_s is None else now + ready_by_s,
            content=content,
            count=len(bodies),
            items=tuple(Item(body=body.encode()) for body in bodies),
        )

    async def post(self, *bodies: str, ready_by_s: float | None = None) -> Announcement:
        announced = self.announcement(*bodies, ready_by_s=ready_by_s)
        assert await self.shelf.post(announced) == "new"
        return announced

    async def found(self, announcement: Announcement) -> Kept:
        kept = await self.shelf.find(self.tenant, announcement.id)
        assert kept is not None
        return kept

    async def results(self, announcement: Announcement) -> list[str]:
        return [status.result or status.state for status in (await self.found(announcement)).statuses]

    def takeup(self) -> Takeup:
        script = self.script
        ports = TakeupPorts(
            prepares=script, keeps=script, quotes=script, announce=script.announce, tell=script.told.append
        )
        return Takeup(self.shelf, ports, clock=self.clock)

    def considered(self, key: str, result: Result, cost_nanousd: int = 0) -> Considered:
        return Considered(
            tenant=self.tenant,
            recipe=Known(key=key),
            predictor="announced",
            level="answer",
            result=result,
            probability=0.9,
            key=key,
            cost_nanousd=cost_nanousd,
        )
