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


class admitted:  # noqa: N801 - used as `async with admitted(...)`; contextlib's own would cost 15 us a request
    """Hold one of the caller's places while its request is served. Entering raises RequestFailed (401, 429, 503)."""

    __slots__ = ("_http", "_key_id", "_services")

    def __init__(self, http: web.Request, services: Services) -> None:
        self._http = http
        self._services = services
        self._key_id = ""

    async def __aenter__(self) -> Caller:
        http, services = self._http, self._services
        caller = known_caller(http, services) or await caller_of(http, services)
        http[CALLER_TENANT] = caller.tenant
        limit, open_by_key = services.settings.max_connections_per_key, services.open_by_key
        already_open = open_by_key.get(caller.key_id, 0)
        if already_open >= limit:
            raise overloaded(f"this key has {limit} requests open, the most allowed", retry_after_s=1.0)
        open_by_key[caller.key_id] = already_open + 1
        self._key_id = caller.key_id
        services.metrics.in_flight_changed(1)
        policy = services.book.current().for_tenant(caller.tenant)
        if policy.rates or policy.budgets:
            try:
                spending = http[SPENDING] = Spending()
                desk, tenant, key_id = services.desk, caller.tenant, caller.key_id
                if policy.rates and not desk.admit_at_hand(policy, tenant=tenant, key_id=key_id, spending=spending):
                    await desk.admit(policy, Who(tenant=tenant, key_id=key_id, session=""), spending)
            except BaseException:  # whatever it is: `async with` will not call __aexit__
                self._leave()
                raise
        return caller

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        services, key_id = self._services, self._key_id
        services.metrics.in_flight_changed(-1)
        services.open_by_key[key_id] -= 1
        if not services.open_by_key[key_id]:
            del services.open_by_key[key_id]
