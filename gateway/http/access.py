"""One door for every client endpoint: who calls, and whether that key has too many requests open already."""

from __future__ import annotations

from types import TracebackType

from aiohttp import web

from gateway.budgets.meters import Who
from gateway.budgets.spending import Spending
from gateway.errors import overloaded
from gateway.http.auth import caller_of, known_caller
from gateway.http.state import CALLER_TENANT, SPENDING, Services
from gateway.keys import Caller


class Place:
    """One of the caller's places, held in a `with` block while its request is served."""

    __slots__ = ("_caller", "_http", "_services")

    def __init__(self, http: web.Request, services: Services, caller: Caller) -> None:
        self._http = http
        self._services = services
        self._caller = caller

    def __enter__(self) -> Caller:
        return self._caller

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        if kind is not None:  # a refusal's Outcome names the tenant
            self._http[CALLER_TENANT] = self._caller.tenant

    def leave(self) -> None:
        """Give the place back."""
        services, key_id = self._services, self._caller.key_id
        services.metrics.in_flight_changed(-1)
        services.open_by_key[key_id] -= 1
        if not services.open_by_key[key_id]:
            del services.open_by_key[key_id]


def admitted_at_hand(http: web.Request, services: Services) -> Place | None:
    """Admit a caller for whom nobody has to be asked, as nearly all are; None: ask `admitted`.

    Raises RequestFailed (429).
    """
    caller = known_caller(http, services)
    if caller is None:
        return None
    place = _place(http, services, caller)
    policy = services.book.current().for_tenant(caller.tenant)
    if not policy.rates and not policy.budgets:
        return place
    spending = http[SPENDING] = Spending()
    desk, tenant, key_id = services.desk, caller.tenant, caller.key_id
    try:
        if not policy.rates or desk.admit_at_hand(policy, tenant=tenant, key_id=key_id, spending=spending):
            return place
    except BaseException:  # whatever it is: nobody holds the place yet
        place.leave()
        raise
    place.leave()
    return None


async def admitted(http: web.Request, services: Services) -> Place:
    """Admit the caller. Raises RequestFailed (401, 429, 503)."""
    caller = known_caller(http, services) or await caller_of(http, services)
    place = _place(http, services, caller)
    policy = services.book.current().for_tenant(caller.tenant)
    if policy.rates or policy.budgets:
        spending = http[SPENDING] = Spending()
        try:
            if policy.rates:
                who = Who(tenant=caller.tenant, key_id=caller.key_id, session="")
                await services.desk.admit(policy, who, spending)
        except BaseException:  # whatever it is: nobody holds the place yet
            place.leave()
            http[CALLER_TENANT] = caller.tenant
            raise
    return place


def _place(http: web.Request, services: Services, caller: Caller) -> Place:
    limit, open_by_key = services.settings.max_connections_per_key, services.open_by_key
    already_open = open_by_key.get(caller.key_id, 0)
    if already_open >= limit:
        http[CALLER_TENANT] = caller.tenant
        raise overloaded(f"this key has {limit} requests open, the most allowed", retry_after_s=1.0)
    open_by_key[caller.key_id] = already_open + 1
    services.metrics.in_flight_changed(1)
    return Place(http, services, caller)
