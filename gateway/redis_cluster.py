"""The way to all keys of a Redis Cluster: a lane to each primary, commands routed by their key, redirections followed.

One task reads the map of slots: at the start, after a MOVED, and again and again while a server is away, so that a
failover needs nobody. No caller waits longer than the store's bound, redirections included. Never logs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from gateway.lane import Refused, Standing, Transition
from gateway.ports import StoreUnavailable
from gateway.redis_node import Node
from gateway.redis_reach import Reach
from gateway.redis_slots import Address, owners_of, redirected, seeds_of, shown, slot_map, slot_of_command
from gateway.supervisor import SupervisorClosed
from gateway.waiting import Command, Told

_REDIRECTIONS: Final = frozenset({"MOVED", "ASK"})
_MAP_IS_OLD: Final = frozenset({"MOVED", "CLUSTERDOWN"})
_MOST_HOPS: Final = 3
Found = TypeVar("Found")


class Cluster:
    """A Road over a Cluster. Connects on first use. Raises ValueError where the URL is none."""

    def __init__(self, url: str, reach: Reach) -> None:
        self._seeds, self._url = seeds_of(url)
        self._on_transition = reach.on_transition
        self._reach = replace(reach, on_transition=self._moved)
        self._nodes: dict[Address, Node] = {}
        self._owners: Sequence[Address | None] = ()
        self._task: asyncio.Task[None] | None = None
        self._stale: asyncio.Event | None = None
        self._waiters: dict[asyncio.Future[None], None] = {}  # in the order they came
        self._early: deque[tuple[Command, Told]] = deque()
        self._is_closed = False
        self._reason = ""
        for seed in self._seeds:
            self._node(seed)

    @property
    def state(self) -> Standing:
        """Return "down" while a primary is away or no map could be read, else "full" while one is, else "up"."""
        if not self._owners:
            return "down" if self._reason else "up"
        states = {self._node(owner).state for owner in owners_of(self._owners)}
        return "down" if "down" in states else "full" if "full" in states else "up"

    async def ask(self, *commands: Command) -> Sequence[object]:
        """See Road. Where one server fails, what went to the others may have been done."""
        if not self._owners:
            due = asyncio.get_running_loop().time() + self._reach.timeout_s
            await self._mapped()
            return await self._bounded(self._routed(commands), due)
        return await self._routed(commands)

    def post(self, *commands: Command, told: Told) -> None:
        """See Road."""
        if not self._owners:
            try:
                self._wake()
            except StoreUnavailable:
                told(None)
            else:
                self._early.extend((command, told) for command in commands)
            return
        for command in commands:
            self._post(command, told)

    async def each(self) -> Sequence[Node]:
        """Return the primaries."""
        if not self._owners:
            await self._mapped()
        return [self._node(owner) for owner in owners_of(self._owners)]

    async def close(self) -> None:
        """End every lane; whoever waits gets StoreUnavailable. Idempotent."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._refuse("the store is closed")
        for node in tuple(self._nodes.values()):
            await node.close()

    async def _routed(self, commands: Sequence[Command]) -> Sequence[object]:
        due = asyncio.get_running_loop().time() + self._reach.timeout_s
        asked = [self._owner(command) for command in commands]
        if len(set(asked)) == 1:
            replies = list(await self._node(asked[0]).ask(*commands))
        else:
            replies = await self._spread(commands, asked)
        if any(isinstance(reply, Refused) for reply in replies):
            await self._bounded(self._follow(commands, asked, replies), due)
        return replies

    async def _spread(self, commands: Sequence[Command], asked: Sequence[Address]) -> list[object]:
        """Send to several servers at once."""
        parts: dict[Address, list[int]] = {}
        for at, owner in enumerate(asked):
            parts.setdefault(owner, []).append(at)
        replies: list[object] = [None] * len(commands)
        sent: list[asyncio.Future[Sequence[object] | None]] = []
        try:
            for owner, places in parts.items():
                sent.append(self._node(owner).begin(*(commands[at] for at in places)))
            for future, (owner, places) in zip(sent, parts.items(), strict=True):
                mine = [commands[at] for at in places]
                for at, reply in zip(places, self._node(owner).taken(mine, await future), strict=True):
                    replies[at] = reply
        finally:
            for future in sent:
                future.cancel()
        return replies

    async def _follow(self, commands: Sequence[Command], asked: list[Address], replies: list[object]) -> None:
        """Ask again, in order, what was sent to a server that does not have it; puts the answers into `replies`."""
        for at, command in enumerate(commands):
            for _ in range(_MOST_HOPS):
                reply = replies[at]
                target = self._target(reply, asked[at])
                if target is None:
                    break
                asked[at] = target
                if isinstance(reply, Refused) and reply.code == "ASK":
                    _, replies[at] = await self._node(target).ask(("ASKING",), command)
                else:
                    (replies[at],) = await self._node(target).ask(command)

    def _target(self, reply: object, asked: Address) -> Address | None:
        """Return where a redirection points, None for any other reply; learns what it says of the map."""
        if not isinstance(reply, Refused):
            return None
        if reply.code in _MAP_IS_OLD and self._stale is not None:
            self._stale.set()
        if reply.code not in _REDIRECTIONS:
            return None
        found = redirected(reply.to, asked=asked)
        if found is None:
            return None
        slot, target = found
        if reply.code == "MOVED":
            owners = list(self._owners)
            owners[slot] = target
            self._owners = owners
        return target

    def _post(self, command: Command, told: Told, hops: int = 0) -> None:
        try:
            owner = self._owner(command)
        except StoreUnavailable:
            told(None)
            return
        self._node(owner).post(command, told=lambda replies: self._posted(command, owner, replies, told, hops))

    def _posted(
        self, command: Command, asked: Address, replies: Sequence[object] | None, told: Told, hops: int
    ) -> None:
        reply = replies[0] if replies else None
        target = self._target(reply, asked)
        if target is None or hops >= _MOST_HOPS or self._is_closed:
            told(replies)
        elif isinstance(reply, Refused) and reply.code == "ASK":
            self._node(target).post(("ASKING",), command, told=lambda both: told(None if both is None else both[1:]))
        else:
            self._post(command, told, hops + 1)

    def _owner(self, command: Command) -> Address:
        slot = slot_of_command(command)
        owner = self._owners[slot] if slot is not None else next(iter(owners_of(self._owners)), None)
        if owner is None:
            if self._stale is not None:
                self._stale.set()
            raise StoreUnavailable("no server of the Cluster has this key's slot")
        return owner

    def _node(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            name = shown(address)
            node = self._nodes[address] = self._reach.node(self._url.format(name), name=name)
        return node

    async def _bounded(self, asking: Awaitable[Found], due: float) -> Found:
        try:
            async with asyncio.timeout_at(due):
                return await asking
        except TimeoutError:
            raise StoreUnavailable(f"no answer within {self._reach.timeout_s * 1000:g} ms") from None

    async def _mapped(self) -> None:
        """Wait for a first map. Raises StoreUnavailable."""
        self._wake()
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        try:
            async with asyncio.timeout(self._reach.timeout_s):
                await waiter
        except TimeoutError:
            raise StoreUnavailable(f"no map of the Cluster within {self._reach.timeout_s * 1000:g} ms") from None
        finally:
            del self._waiters[waiter]

    def _wake(self) -> None:
        if self._is_closed:
            raise StoreUnavailable("the store is closed")
        if self._task is None or self._task.done():
            self._stale = asyncio.Event()
            try:
                self._task = self._reach.supervisor.spawn(self._keep_map(), name="cluster map")
            except SupervisorClosed as error:
                raise StoreUnavailable("the gateway is closing") from error
        if self._reason:
            raise StoreUnavailable(self._reason)

    async def _keep_map(self) -> None:
        """Read the map now, whenever it is known to be old, and at every interval while something is away."""
        stale = self._stale
        while stale is not None:
            stale.clear()
            await self._read_map()
            await asyncio.sleep(self._reach.probe_interval_s)  # MOVED comes in swarms: one reading serves them all
            if self.state != "down":
                await stale.wait()

    def _moved(self, transition: Transition) -> None:
        if transition.state == "down" and self._stale is not None:
            self._stale.set()
        if self._on_transition is not None and not self._is_closed:
            self._on_transition(transition)

    async def _read_map(self) -> None:
        addresses = dict.fromkeys((*owners_of(self._owners), *self._seeds, *self._nodes))
        for address in sorted(addresses, key=lambda address: self._node(address).state == "down"):
            try:
                (reply,) = await self._node(address).ask(("CLUSTER", "SLOTS"))
                owners = slot_map(reply, asked=address)
            except (StoreUnavailable, ValueError) as error:
                self._reason = f"no map of the Cluster: {shown(address)}: {error}"
                continue
            if any(owners):
                await self._take(owners)
                return
            self._reason = f"no map of the Cluster: {shown(address)}: it has no slots"
        if not self._owners:
            self._refuse(self._reason)

    async def _take(self, owners: Sequence[Address | None]) -> None:
        self._owners, self._reason = owners, ""
        kept = {*owners_of(owners), *self._seeds}
        while self._early:
            self._post(*self._early.popleft())
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        for address in [address for address in self._nodes if address not in kept]:
            await self._nodes.pop(address).close()

    def _refuse(self, reason: str) -> None:
        self._reason = reason
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(StoreUnavailable(reason))
        while self._early:
            self._early.popleft()[1](None)
