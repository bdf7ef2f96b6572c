"""SharedSite on a real socket: who accepts while another has fewer connections, and what the end leaves open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web

from gateway.clock import SystemClock
from gateway.http.site import Crowd, SharedSite
from gateway.inherited import Places
from gateway.listening import listen
from gateway.setting_types import Address
from gateway.supervisor import Supervisor


def crashed(name: str, error: BaseException) -> None:
    raise AssertionError(name) from error


async def live(_request: web.Request) -> web.Response:
    return web.Response(text="live")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Worker 0 of two that share a listener; the other exists only by what it says of itself."""

    url: str
    places: Places
    crowd: Crowd
    site: SharedSite


@asynccontextmanager
async def shared() -> AsyncIterator[Site]:
    (listener,) = listen(Address("127.0.0.1", 0), setting="port")
    supervisor = Supervisor(clock=SystemClock(), on_crash=crashed)
    app = web.Application()
    app.router.add_get("/", live)
    runner = web.AppRunner(app)
    await runner.setup()
    places = Places(2)
    crowd = Crowd(places, 0)
    site = SharedSite(runner, listener, crowd=crowd, spawn=lambda task: supervisor.spawn(task, name="connection"))
    await site.start()
    try:
        yield Site(url=site.name, places=places, crowd=crowd, site=site)
    finally:
        await runner.cleanup()
        await supervisor.close(1.0)
        listener.close()


async def test_many_connections_at_once_are_all_served() -> None:
    async with shared() as ours, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask() -> str:
            async with session.get(ours.url) as answer:
                return await answer.text()

        assert await asyncio.gather(*(ask() for _ in range(100))) == ["live"] * 100


async def test_a_connection_that_the_emptier_worker_does_not_take_is_taken_all_the_same() -> None:
    async with shared() as ours, aiohttp.ClientSession() as session:
        ours.places.set(1, 0)
        ours.crowd.changed(5)
        assert not ours.crowd.has_fewest()
        async with session.get(ours.url) as answer:
            assert await answer.text() == "live"


async def test_after_the_stop_nobody_new_is_accepted_and_who_is_connected_is_still_answered() -> None:
    async with shared() as ours, aiohttp.ClientSession() as session:
        async with session.get(ours.url) as answer:
            assert await answer.text() == "live"
        port = int(ours.url.rpartition(":")[2])
        await ours.site.stop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        async with session.get(ours.url) as answer:
            assert await answer.text() == "live"
