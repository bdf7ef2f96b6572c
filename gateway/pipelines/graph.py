"""Runs work that depends on other work, each piece as soon as it can start; knows nothing of models or steps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node(Generic[T]):
    """One piece of work. `run` gets the values of `needs` and returns a value for every outcome, failures too.

    When a `required` node fails, the nodes that are not done yet are given up.
    """

    name: str
    needs: tuple[str, ...]
    required: bool
    run: Callable[[Mapping[str, T]], Awaitable[T]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules(Generic[T]):
    """What the graph asks of values: has it failed, and what stands for a node that could not or should not run."""

    has_failed: Callable[[T], bool]
    skipped: Callable[[str, Sequence[str]], T]
    given_up: Callable[[str, str], T]


async def run_graph(nodes: Sequence[Node[T]], rules: Rules[T]) -> dict[str, T]:
    """Return every node's value, in the order of `nodes`, which must hold no circle and every need.

    A node whose needs failed is `skipped`; no failure cancels another node unless its own node is `required`.
    Cancelling cancels all of them. What `run` raises is a bug and ends the graph.
    """
    values: dict[str, T] = {}
    done = {node.name: asyncio.Event() for node in nodes}
    tasks: dict[str, asyncio.Task[None]] = {}

    async def one(node: Node[T]) -> None:
        for need in node.needs:
            await done[need].wait()
        failed = [need for need in node.needs if rules.has_failed(values[need])]
        if failed:
            value = rules.skipped(node.name, failed)
        else:
            value = await node.run({need: values[need] for need in node.needs})
        values[node.name] = value
        done[node.name].set()
        if node.required and rules.has_failed(value):
            for name, task in tasks.items():
                # Two required nodes may fail together: the first one's name is the reason.
                if name not in values:
                    values[name] = rules.given_up(name, node.name)
                    task.cancel()

    async with asyncio.TaskGroup() as group:
        for node in nodes:
            tasks[node.name] = group.create_task(one(node))
    return {node.name: values[node.name] for node in nodes}
