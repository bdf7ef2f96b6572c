"""What a tenant budget and a rate limit add to a plain request whose worker has a share at hand.

Admit, hold, put down what was left, settle, and say so in headers. Redis is stood for by one that grants everything;
nothing waits for it once the shares are there.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine

from gateway.budgets.books import Budgets
from gateway.budgets.desk import Desk
from gateway.budgets.meters import Who
from gateway.budgets.spending import Spending
from gateway.waiting import Command
from policies.decide import choose, match
from policies.decision import budgeted, decided
from policies.load import load_policy
from policies.model import ModelCard, Plan, RequestFacts, View
from router.types import ChatRequest, Usage
from tests.clock import FakeClock

LIMITED = """
version: 1
policy: limited
defaults: {max_output_tokens: 4096}
routes: [{name: chat, match: {any: true}, candidates: [requested]}]
budgets: [{scope: tenant, limit_usd: 1000000, window: day}]
rate_limits: [{scope: key, requests_per_minute: 1000000, tokens_per_minute: 1000000000}]
"""
PLENTY = 10**15
MOST_ATTEMPTS = 6
KEY = "key-1"


class Granting:
    """A store that grants whatever it is asked for."""

    async def run(self, *commands: Command) -> list[object]:
        """Answer as the budgets' script would with plenty left."""
        replies: list[object] = []
        for command in commands:
            meters = int(command[2]) - 3
            replies.append([1, *([PLENTY] * 2 * meters)])
        return replies


def spending_step(request: ChatRequest, facts: RequestFacts, card: ModelCard) -> Callable[[], object]:
    """Return the step: everything that limits add to one request, without I/O."""
    policy = load_policy(LIMITED, source="bench.yaml", groups=(card.group,))
    catalogue, clock = {card.group: card}, FakeClock()  # no minute, and no limit of one, may end in between
    route_class, view = match(policy, facts), View(catalogue=catalogue, draw=0.5)
    plan = choose(route_class, view)
    assert isinstance(plan, Plan)
    decision = decided(facts, view, plan, catalogue="0123456789ab")
    desk = Desk(Budgets(Granting(), clock), clock, catalogue=lambda: catalogue, max_attempts=MOST_ATTEMPTS)
    usage = Usage(input_tokens=20, output_tokens=50)

    async def begin() -> None:
        """Have shares of everything at hand."""
        await desk.admit(policy, Who(tenant=facts.tenant, key_id=KEY, session=""), Spending())
        hold = await desk.hold(policy, route_class, plan, request, key_id=KEY, spending=Spending())
        desk.settle(hold, cost_nanousd=33_000, usage=usage)

    def spend() -> dict[str, str]:
        spending = Spending()
        assert desk.admit_at_hand(policy, tenant=facts.tenant, key_id=KEY, spending=spending)
        hold = desk.hold_at_hand(policy, route_class, plan, request, key_id=KEY, spending=spending)
        assert hold is not None
        assert hold.headroom is not None
        budgeted(decision, hold.headroom, hold.cut)
        desk.settle(hold, cost_nanousd=33_000, usage=usage)
        return spending.headers(now=clock.now())

    at_once(begin())
    return spend


def at_once(work: Coroutine[object, None, None]) -> None:
    """Run what never waits."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waited")
