"""Deletes what is kept of requests whose answers are withdrawn, and all of a tenant's that is erased."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from gateway.announced.shelf import prefix as announced_prefix
from gateway.cache.withdraw import Selection
from gateway.retained.kept import NOTES, PREFIX, decode, due_key, learnt_of, sizes_key, split_key
from gateway.stores.redis import RedisStore

_AT_ONCE: Final = 64


async def forget(
    store: RedisStore, selection: Selection, gone: frozenset[tuple[str, str]], *, in_scope: frozenset[str]
) -> int:
    """Delete the kept requests that `selection` means, and those with an answer in `gone` (tenant, key).

    Returns how many. A selection of nothing but a tenant leaves nothing of that tenant. Raises StoreUnavailable.
    """
    prefix = PREFIX if selection.tenant is None else f"{PREFIX}{selection.tenant}}}:"
    if selection == Selection(tenant=selection.tenant):
        names = [name async for name in store.scan(prefix)]
        tenant = selection.tenant or ""
        announced = [name async for name in store.scan(announced_prefix(tenant))]
        await store.delete([*names, *announced, due_key(tenant), sizes_key(tenant)])
        await store.hash_delete(NOTES, learnt_of(tenant))
        return len(names)
    found, names = 0, []
    async for name in store.scan(prefix):
        names.append(name)
        if len(names) == _AT_ONCE:
            found += await _forget(store, names, selection, gone, in_scope=in_scope)
            names = []
    return found + await _forget(store, names, selection, gone, in_scope=in_scope)


async def _forget(
    store: RedisStore,
    names: Sequence[str],
    selection: Selection,
    gone: frozenset[tuple[str, str]],
    *,
    in_scope: frozenset[str],
) -> int:
    values = await asyncio.gather(*(store.get(name) for name in names))
    doomed = []
    for name, value in zip(names, values, strict=True):
        tenant, key = split_key(name)
        kept = decode(value)
        if kept is None:
            continue
        is_part = any((tenant, part.key) in gone for part in kept.parts)
        if is_part or selection.holds(key, kept, in_scope=in_scope):
            doomed.append(name)
    return await store.delete(doomed)
