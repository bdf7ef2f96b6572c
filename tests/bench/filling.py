"""Makes a gateway's world larger than a benchmark could by asking: keys, cache entries, ledger entries, routes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

import msgspec

from gateway.cache.exact import store_key
from gateway.clock import SystemClock
from gateway.keys import RECORDS, KeyRecord, new_secret
from gateway.ledger import STREAM, encode
from gateway.logs import report_crash
from gateway.outcome import Outcome
from gateway.stores.embedded import find_running
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from router.types import AttemptRecord, Usage

BATCH = 1_000
Command = tuple[str | bytes | int, ...]


def fill(data_dir: Path, commands: Iterator[Command], *, batch: int = BATCH) -> None:
    """Send `commands` to the Redis of a running gateway, a batch in one round trip."""
    asyncio.run(_fill(data_dir, commands, batch))


async def _fill(data_dir: Path, commands: Iterator[Command], batch: int) -> None:
    async with _redis(data_dir) as store:
        while taken := list(islice(commands, batch)):
            await store.run(*taken)


async def asked(data_dir: Path, command: Command) -> object:
    """Return the reply of a running gateway's Redis to one command."""
    async with _redis(data_dir) as store:
        return (await store.run(command))[0]


@asynccontextmanager
async def _redis(data_dir: Path) -> AsyncIterator[RedisStore]:
    url = find_running(data_dir)
    assert url is not None, f"no Redis runs in {data_dir}"
    supervisor = Supervisor(clock=SystemClock(), on_crash=report_crash)
    store = RedisStore(url, supervisor=supervisor, timeout_s=60.0)
    try:
        yield store
    finally:
        await store.close()
        await supervisor.close(1.0)


def secrets_of(count: int) -> tuple[str, ...]:
    """Return so many fresh keys."""
    return tuple(new_secret() for _ in range(count))


def keys_of(secrets: Sequence[str]) -> Iterator[Command]:
    """Yield the commands that make each secret a key of a tenant of its own."""
    for number, secret in enumerate(secrets):
        record = KeyRecord(id=f"key-{number:012x}", name="", tenant=f"tenant-{number}", models=None, created_at=0.0)
        yield "HSET", RECORDS, hashlib.sha256(secret.encode()).hexdigest(), msgspec.json.encode(record)


def cache_entries(first: int, last: int) -> Iterator[Command]:
    """Yield the commands that store small answers nobody will ask for, with a time to live as ours have."""
    for number in range(first, last):
        key = store_key(hashlib.sha256(b"%d" % number).hexdigest(), tenant="default")
        yield "SET", key, b"x" * 64, "EX", 36_000


def ledger_entries(count: int) -> Iterator[Command]:
    """Yield the commands that append so many outcomes."""
    entry = encode(outcome())
    for _ in range(count):
        yield "XADD", STREAM, "*", "d", entry


def outcome(request_id: str = "req-0123456789abcdef01234567") -> Outcome:
    """Return what became of a plain chat request."""
    attempt = AttemptRecord(
        deployment_id="deployment",
        group="gpt-4o-mini",
        provider="openai",
        model="gpt-4o-mini",
        reason="first",
        started_s=0.001,
        ended_s=0.412,
        result="ok",
        usage=Usage(input_tokens=42, output_tokens=300),
        cost_nanousd=186_300,
    )
    return Outcome(
        request_id=request_id,
        origin="user",
        endpoint="chat",
        started_at=1_767_225_600.0,
        result="ok",
        status=200,
        tenant="default",
        key_id="key-0123456789ab",
        policy="default",
        policy_version="0123456789ab",
        route="chat",
        reason="fixed:gpt-4o-mini",
        requested_model="gpt-4o-mini",
        routed_model="gpt-4o-mini",
        response_model="gpt-4o-mini-2024-07-18",
        provider="openai",
        cache="miss",
        cache_key="0" * 64,
        input_tokens_estimate=44,
        usage=Usage(input_tokens=42, output_tokens=300),
        cost_nanousd=186_300,
        interaction_cost_nanousd=186_300,
        finish_reasons=("stop",),
        attempts=(attempt,),
        total_s=0.413,
        overhead_s=0.001,
    )


CONDITIONS = (
    "{{tag: task=step-{0}}}",
    '{{tenant: "team-{0}-*"}}',
    '{{model: "local-{0}*"}}',
    "{{all: [{{tag: show=number-{0}}}, {{input_tokens: {{lt: 60000}}}}]}}",
)


def policy_of(routes: int) -> str:
    """Return a policy file in which a plain chat request passes `routes` - 1 conditions before one holds."""
    lines = ["version: 1", "policy: default", "routes:"]
    for number in range(routes - 1):
        condition = CONDITIONS[number % len(CONDITIONS)].format(number)
        lines.append(f"  - {{name: r{number}, match: {condition}, candidates: [requested]}}")
    lines.append(
        "  - {name: chat, match: {any: true}, candidates: [requested], cache: {exact_ttl: 1h, max_temperature: 0.3}}"
    )
    return "\n".join(lines) + "\n"
