"""warmer.ports.SpendGate over the gateway's budgets: one meter a policy and day, debited before the call.

Must not decide what is worth it. The meter is in Redis, in the slot and by the script of all other budgets, so that the
day's sum is never passed however many warmers there are, and what a crashed one held is charged in full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.budgets.books import Budgets
from gateway.budgets.meters import Calendar, Meter, daily_meter, tag
from gateway.budgets.pool import Reservation
from gateway.ports import Clock
from gateway.warming.day import DaySpend
from policies.book import PolicySet
from policies.model import Policy
from policies.rules import WarmingRules
from warmer.types import Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Debit:
    """What one warm may cost, taken already."""

    reservation: Reservation


class BudgetGate:
    """See the module. `policies` are those in force; `may_spend` is whether this warmer leads, right now."""

    def __init__(
        self,
        budgets: Budgets,
        clock: Clock,
        *,
        policies: Callable[[], PolicySet],
        day: DaySpend,
        may_spend: Callable[[], bool],
    ) -> None:
        self._budgets = budgets
        self._clock = clock
        self._policies = policies
        self._day = day
        self._may_spend = may_spend
        self._calendar = Calendar()

    async def terms(self, tenant: str) -> Terms | None:
        """Return what the tenant's policy allows now; None: warming is off, or another warmer leads."""
        found = self._found(tenant)
        if found is None:
            return None
        policy, rules, meter = found
        (left,) = self._budgets.remaining(tag(policy.name), (meter,))
        return Terms(
            policy=policy.name,
            left_nanousd=left,
            spent_nanousd_day=self._day.of(tenant, self._clock.now()),
            max_share_of_spend=rules.max_share_of_spend,
            wait_value_nanousd=rules.wait_value_nanousd,
            holdout=rules.holdout,
        )

    async def debit(self, tenant: str, bound_nanousd: int) -> Debit | None:
        """Take the most that a call may cost; None where that is more than is left, or cannot be known."""
        found = self._found(tenant)
        if found is None:
            return None
        policy, _, meter = found
        taken = await self._budgets.reserve(tag(policy.name), (meter,), (bound_nanousd,))
        return Debit(reservation=taken) if isinstance(taken, Reservation) else None

    def settle(self, debit: Debit, cost_nanousd: int) -> None:
        """Give back what a call did not cost."""
        self._budgets.settle(debit.reservation, (cost_nanousd,))

    def _found(self, tenant: str) -> tuple[Policy, WarmingRules, Meter] | None:
        policy = self._policies().for_tenant(tenant)
        rules = policy.warming
        if rules is None or not self._may_spend():
            return None
        limit, now = rules.limit_nanousd_day, self._clock.now()
        return policy, rules, daily_meter(policy.name, "warming", limit, now=now, calendar=self._calendar)
