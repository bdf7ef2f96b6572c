"""The yardstick: the least that an aiohttp proxy can do. It checks a key, parses the body, passes bytes on.

`python -m tests.bench.bare UPSTREAM_PORT` prints its port. No policy, cache, ledger, metrics, retry or limit.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import orjson
import uvloop
from aiohttp import web

from tests.bench.payloads import chat_answer

KEY = "sk-bench-bare"
SESSION: web.AppKey[aiohttp.ClientSession] = web.AppKey("session", aiohttp.ClientSession)
UPSTREAM: web.AppKey[str] = web.AppKey("upstream", str)
STATIC = chat_answer()


async def chat(http: web.Request) -> web.StreamResponse:
    """Pass one request on and its answer back."""
    if http.headers.get("Authorization") != f"Bearer {KEY}":
        return web.json_response({"error": "unauthorized"}, status=401)
    body = await http.read()
    document = orjson.loads(body)
    headers = {"Content-Type": "application/json", "Authorization": "Bearer upstream"}
    async with http.app[SESSION].post(http.app[UPSTREAM] + http.path, data=body, headers=headers) as answer:
        if not document.get("stream"):
            return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")
        passed = web.StreamResponse(status=answer.status, headers={"Content-Type": "text/event-stream"})
        await passed.prepare(http)
        async for chunk in answer.content.iter_any():
            await passed.write(chunk)
        await passed.write_eof()
        return passed


async def static(http: web.Request) -> web.Response:
    """Answer from memory: what a hit of any cache is measured against."""
    if http.headers.get("Authorization") != f"Bearer {KEY}":
        return web.json_response({"error": "unauthorized"}, status=401)
    orjson.loads(await http.read())
    return web.Response(body=STATIC, content_type="application/json")


async def serve(upstream_port: int) -> None:
    """Serve until killed."""
    app = web.Application(client_max_size=2**24)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=600)) as session:
        app[SESSION], app[UPSTREAM] = session, f"http://127.0.0.1:{upstream_port}"
        app.router.add_post("/v1/chat/completions", chat)
        app.router.add_post("/static", static)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
        await site.start()
        sys.stdout.write(f"{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner_of_all:
        runner_of_all.run(serve(int(sys.argv[1])))
