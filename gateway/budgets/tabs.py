"""Who runs which meters just now: found once for a caller and a window, not for every request.

To name a caller's meters, and to find what this worker holds of them, takes longer than all else that a request asks
of budgets. Holds no unit itself: the pool does.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from gateway.budgets.books import Budgets
from gateway.budgets.meters import Meter
from gateway.budgets.pool import Pool

MOST: Final = 4096

Key = tuple[str, ...]


class Tab(msgspec.Struct, kw_only=True, eq=False):
    """The meters of a caller from `begins` until the first of their windows `ends` (Unix seconds), and their pool.

    `money` of them count nano-dollars, and they are the first ones; `others` count requests (then all
    of them do), or tokens. `limits` are what they allow, as text; `ones` is one unit of each.
    """

    tag: str
    meters: tuple[Meter, ...]
    begins: float
    ends: float
    money: int
    others: int
    is_of_requests: bool
    limits: tuple[str, ...]
    ones: tuple[int, ...]
    pool: Pool


class Tabs:
    """Remembers the tabs of who asked lately. Bounded; forgets everything when full, for windows end anyway."""

    def __init__(self, budgets: Budgets, *, most: int = MOST) -> None:
        self._budgets = budgets
        self._most = most
        self._open: dict[Key, Tab] = {}

    def find(self, key: Key, now: float) -> Tab | None:
        """Return the tab under `key`; None where there is none, a window has ended or the clock was set back."""
        tab = self._open.get(key)
        if tab is None or now >= tab.ends or now < tab.begins:
            return None
        if tab.pool.meters is not tab.meters or tab.pool.is_forgotten:
            self.renew(tab)
        return tab

    def renew(self, tab: Tab) -> None:
        """Find the tab's pool anew: while somebody waited it may have been forgotten, or given another limit."""
        if tab.meters:
            tab.pool = self._budgets.pool(tab.tag, tab.meters)
            tab.meters = tab.pool.meters

    def open(self, key: Key, tag: str, meters: tuple[Meter, ...], *, now: float) -> Tab:
        """Begin a tab under `key` with the meters of the windows that `now` is in; money first."""
        money = sum(meter.unit == "nanousd" for meter in meters)
        assert all(meter.unit == "nanousd" for meter in meters[:money])
        if len(self._open) >= self._most:
            self._open.clear()
        pool = self._budgets.pool(tag, meters) if meters else Pool(tag=tag, meters=meters)
        tab = self._open[key] = Tab(
            tag=tag,
            meters=pool.meters,
            begins=now,
            ends=min((meter.ends_at for meter in meters), default=math.inf),
            money=money,
            others=len(meters) - money,
            is_of_requests=any(meter.unit == "requests" for meter in meters),
            limits=tuple(str(meter.limit) for meter in meters),
            ones=(1,) * len(meters),
            pool=pool,
        )
        return tab
