"""What operators may see and take from the cache: figures of classes, single answers, and withdrawals.

For `foreword cache` and /admin/cache alike. A withdrawal is a dry run unless told otherwise. Must not check who asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from typing import Final
from urllib.parse import unquote

import msgspec

from gateway.cache.semantic.classes import ClassName
from gateway.cache.semantic.figures import ClassFigures, figures_of
from gateway.cache.semantic.index.feed import Feed
from gateway.cache.semantic.index.records import PREFIX as ENTRIES
from gateway.cache.semantic.index.records import Records, decode
from gateway.cache.semantic.shared_state import SharedState
from gateway.cache.semantic.types import Entry
from gateway.cache.withdraw import MIN_ID, FoundAnswer, Heard, Notice, Selection, answers, tell
from gateway.ports import Clock
from gateway.retained.forgetting import forget
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore
from policies.book import PolicySet
from policies.rules import SemanticRules

CLASSES: Final = "foreword:class:{"
AnyStore = RedisStore | MemoryStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """One class and its figures. `is_current`: the route still asks for just these bounds."""

    tenant: str
    policy: str
    route: str
    mark: str
    is_current: bool
    figures: ClassFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The cache as a whole: answers and their bytes by tenant, and the semantic classes."""

    answers: dict[str, int]
    size_bytes: dict[str, int]
    classes: tuple[ClassRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """What was meant, and what became of it; `heard` is None for a dry run."""

    selection: Selection
    is_dry_run: bool
    answers: int
    questions: int
    classes: int = 0
    keys: tuple[str, ...] = field(default=())
    heard: Heard | None = None


async def stats(store: AnyStore, policies: PolicySet, *, clock: Clock) -> Stats:
    """Return the figures of every class and what is stored. Raises StoreUnavailable."""
    count: dict[str, int] = {}
    size: dict[str, int] = {}
    async for found in answers(store):
        count[found.tenant] = count.get(found.tenant, 0) + 1
        size[found.tenant] = size.get(found.tenant, 0) + found.answer.size_bytes
    rows = []
    if isinstance(store, RedisStore):
        for name in await _class_names(store):
            rules = _rules_of(policies, name)
            shared = SharedState(store, str(name), rules or SemanticRules())
            await shared.refresh()
            figures = await asyncio.to_thread(figures_of, shared.state, shared.rules, at_s=clock.now())
            rows.append(
                ClassRow(
                    tenant=name.tenant,
                    policy=name.policy,
                    route=name.route,
                    mark=name.mark,
                    is_current=rules is not None,
                    figures=figures,
                )
            )
    return Stats(answers=count, size_bytes=size, classes=tuple(rows))


async def show(store: AnyStore, answer_id: str) -> tuple[FoundAnswer, tuple[Entry, ...]] | None:
    """Return an answer by its key or the beginning of it, and the questions that lead to it.

    Raises StoreUnavailable.
    """
    async for found in answers(store):
        if len(answer_id) >= MIN_ID and found.key.startswith(answer_id):
            entries = [one async for one in _entries(store, found.tenant) if one.answer_id == found.key]
            return found, tuple(entries)
    return None


async def withdraw(store: AnyStore, selection: Selection, *, by: str, is_dry_run: bool, clock: Clock) -> Withdrawal:
    """Find what is meant, and unless `is_dry_run` delete it everywhere. Raises StoreUnavailable.

    A selection of nothing but a tenant erases what its classes have learned too.
    """
    entries = [one async for one in _entries(store, selection.tenant)]
    in_scope = frozenset(one.answer_id for one in entries if one.scope == selection.scope)
    found = [
        one
        async for one in answers(store, tenant=selection.tenant)
        if selection.holds(one.key, one.answer, in_scope=in_scope) and selection.tenant in (None, one.tenant)
    ]
    keys = {(one.tenant, one.key) for one in found}
    doomed = [one for one in entries if (one.tenant, one.answer_id) in keys or _is_of(one, selection)]
    erased = selection == Selection(tenant=selection.tenant)
    names = [one for one in await _class_names(store) if erased and one.tenant == selection.tenant]
    shown = tuple(sorted(one.key for one in found))
    done = Withdrawal(
        selection=selection,
        is_dry_run=is_dry_run,
        answers=len(found),
        questions=len(doomed),
        classes=len(names),
        keys=shown,
    )
    if is_dry_run:
        return done
    await store.delete([one.name for one in found])
    if isinstance(store, RedisStore):
        await forget(store, selection, frozenset(keys), in_scope=in_scope)
        await _remove(store, doomed)
    for name in names:
        await store.delete([f"{CLASSES}{name}}}:log", f"{CLASSES}{name}}}:snapshot"])
    notice = Notice(selection=selection, by=by, in_scope=tuple(in_scope) if selection.scope else ())
    heard = await tell(store, notice, clock=clock)
    return Withdrawal(
        selection=selection,
        is_dry_run=False,
        answers=len(found),
        questions=len(doomed),
        classes=len(names),
        keys=shown,
        heard=heard,
    )


def shown_answer(found: FoundAnswer, entries: tuple[Entry, ...], *, now: float) -> dict[str, object]:
    """Return an answer's origin and the questions that lead to it, for JSON; never the answer's text."""
    answer = found.answer
    return {
        "id": found.key,
        "tenant": found.tenant,
        "route": answer.route,
        "epoch": answer.epoch,
        "routed_model": answer.routed_model,
        "response_model": answer.response_model,
        "provider": answer.provider,
        "writer": answer.writer,
        "policy_version": answer.policy_version,
        "tags": answer.tags,
        "transcript": answer.transcript,
        "age_s": round(now - answer.created_at, 1),
        "ttl_s": answer.ttl_s,
        "stale_s": answer.stale_s,
        "cost_nanousd": answer.cost_nanousd,
        "size_bytes": answer.size_bytes,
        "questions": [{"id": one.entry_id, "scope": one.scope, "text": one.text} for one in entries],
    }


def shown_stats(found: Stats) -> dict[str, object]:
    """Return the figures for JSON."""
    return asdict(found)


def shown_withdrawal(done: Withdrawal) -> dict[str, object]:
    """Return what a withdrawal did, for JSON and for the log; keys are hashes."""
    heard = done.heard
    return {
        "selection": msgspec.to_builtins(done.selection),
        "dry_run": done.is_dry_run,
        "answers": done.answers,
        "questions": done.questions,
        "classes": done.classes,
        "acknowledged": list(heard.acknowledged) if heard is not None else [],
        "silent": list(heard.silent) if heard is not None else [],
    }


def _is_of(entry: Entry, selection: Selection) -> bool:
    """Whether a question goes by itself, its answer gone or not: with its whole scope, or its whole tenant."""
    if selection == Selection(tenant=selection.tenant):
        return entry.tenant == selection.tenant
    only_scope = selection in (Selection(scope=selection.scope), Selection(scope=selection.scope, tenant=entry.tenant))
    return only_scope and entry.scope == selection.scope


async def _remove(store: RedisStore, doomed: list[Entry]) -> None:
    records, feed = Records(store), Feed(store, worker="operator")
    places = {(one.tenant, one.scope) for one in doomed}
    for tenant, scope in sorted(places):
        ids = [one.entry_id for one in doomed if (one.tenant, one.scope) == (tenant, scope)]
        # Named by nobody's worker: every worker hears it.
        await records.remove(tenant, scope, ids, extra=(feed.telling("remove", tenant, scope, ids),))


async def _entries(store: AnyStore, tenant: str | None) -> AsyncIterator[Entry]:
    if isinstance(store, MemoryStore):
        return
    async for name in store.scan(f"{ENTRIES}:{{"):
        tag, found, entry_id = name.removeprefix(f"{ENTRIES}:{{").partition("}:entry:")
        if not found or (tenant is not None and unquote(tag.rpartition(":")[0]) != tenant):
            continue
        value = await store.get(name)
        entry = decode(entry_id, value) if value is not None else None
        if entry is not None:
            yield entry


async def _class_names(store: AnyStore) -> list[ClassName]:
    found = set()
    if isinstance(store, RedisStore):
        async for name in store.scan(CLASSES):
            parsed = ClassName.parse(name.removeprefix(CLASSES).rpartition("}:")[0])
            if parsed is not None:
                found.add(parsed)
    return sorted(found, key=str)


def _rules_of(policies: PolicySet, name: ClassName) -> SemanticRules | None:
    for policy in policies.policies:
        for route in policy.routes:
            if (policy.name, route.name) == (name.policy, name.route):
                return route.cache.semantic
    return None
