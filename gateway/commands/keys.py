"""`foreword keys create|list|revoke`: on the gateway's own Redis, whether the gateway runs or not.

A secret is printed by `create` alone, and nowhere else.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import orjson
from rich.console import Console
from rich.table import Table

from gateway.clock import SystemClock
from gateway.commands.redis import with_store
from gateway.keys import KeyRecord, Keys
from gateway.settings import Settings

T = TypeVar("T")

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_CONFIG = 2
TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")


def create(settings: Settings, *, tenant: str, name: str, models: Sequence[str] | None, as_json: bool) -> int:
    """Make a key and print it once."""
    if TENANT.fullmatch(tenant) is None:
        sys.stderr.write(f"--tenant: {tenant!r}: must be 1 to 64 letters, digits, dots, dashes or underscores\n")
        return EXIT_CONFIG
    if models is not None and not all(models):
        sys.stderr.write("--models: an empty name: must be model names separated by commas, for example gpt-4o,small\n")
        return EXIT_CONFIG
    created = _with_keys(settings, lambda keys: keys.create(tenant, name=name, models=models))
    if created is None:
        return EXIT_FAILURE
    if as_json:
        _print_json({"key": created.secret, **_shown(created.record)})
    else:
        sys.stdout.write(f"{created.secret}\n")
        sys.stderr.write(f"{created.record.id} for tenant {tenant}; the key above is not shown again\n")
    return EXIT_OK


def make(settings: Settings, *, tenant: str, name: str) -> str | None:
    """Make a key and return its secret, None after having said on stderr why that failed."""
    created = _with_keys(settings, lambda keys: keys.create(tenant, name=name))
    return None if created is None else created.secret


def show(settings: Settings, *, as_json: bool) -> int:
    """Print every key's record, oldest first."""
    records = _with_keys(settings, lambda keys: keys.list())
    if records is None:
        return EXIT_FAILURE
    if as_json:
        _print_json([_shown(record) for record in records])
        return EXIT_OK
    table = Table("id", "tenant", "name", "models", "created", "state")
    for record in records:
        models = "every model" if record.models is None else ", ".join(record.models)
        state = "active" if record.revoked_at is None else f"revoked {_time(record.revoked_at)}"
        table.add_row(record.id, record.tenant, record.name, models, _time(record.created_at), state)
    Console().print(table)
    return EXIT_OK


def revoke(settings: Settings, *, key_id: str, as_json: bool) -> int:
    """End a key; 1 where there is no such key."""
    found = _with_keys(settings, lambda keys: _revoked(keys, key_id))
    if found is None:
        return EXIT_FAILURE
    if not found:
        sys.stderr.write(f"{key_id}: no such key; `foreword keys list` shows their ids\n")
        return EXIT_FAILURE
    if as_json:
        _print_json(_shown(found[0]))
    else:
        sys.stdout.write(f"{key_id} is revoked\n")
    return EXIT_OK


async def _revoked(keys: Keys, key_id: str) -> tuple[KeyRecord, ...]:
    record = await keys.revoke(key_id)
    return () if record is None else (record,)


def _with_keys(settings: Settings, act: Callable[[Keys], Awaitable[T]]) -> T | None:
    return with_store(settings, lambda store: act(Keys(store, SystemClock())))


def _shown(record: KeyRecord) -> dict[str, object]:
    return {
        "id": record.id,
        "tenant": record.tenant,
        "name": record.name,
        "models": record.models,
        "created_at": record.created_at,
        "revoked_at": record.revoked_at,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")


def _print_json(value: object) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")
