"""What a worker inherits from the parent by fork.

Must hold nothing that does not survive a fork: no thread, event loop, lock or client.
"""

from __future__ import annotations

import mmap
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.documents import Documents

_ABSENT = 2**32 - 1


class Places:
    """How many connections each worker of a generation has, in memory that they share; absent until one serves."""

    def __init__(self, workers: int) -> None:
        self._counts = memoryview(mmap.mmap(-1, 4 * workers)).cast("I")
        for number in range(workers):
            self._counts[number] = _ABSENT

    def has_fewest(self, number: int) -> bool:
        """Return whether no worker has fewer connections than worker `number`."""
        return self._counts[number] <= min(self._counts)

    def set(self, number: int, connections: int) -> None:
        """Say how many connections worker `number` has: one aligned word, written by that worker alone."""
        self._counts[number] = connections


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """The listeners, which the worker closes when it ends, its number, and what all workers read alike."""

    number: int
    sockets: Sequence[socket.socket]
    ops_sockets: Sequence[socket.socket]
    documents: Documents
    places: Places
