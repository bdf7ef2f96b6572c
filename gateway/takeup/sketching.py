"""What one answer that nobody has made yet will be kept as, and is taken to cost and to take. Calls nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.flow import Flow
from gateway.part import Part
from gateway.retained.bound import size_for
from gateway.retained.keepable import retains
from gateway.takeup.experience import Expected, Experience
from gateway.trail import Ask
from policies.expected_cost import EXPECTED_OUTPUT_TOKENS
from policies.model import Catalogue, RouteClass
from router.cost import cost_nanousd
from router.types import Usage


class NotAllowed(Exception):
    """It may not be warmed; the text is for the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """One answer that is not there yet. `cost_nanousd` is what a caller would pay, `cheap_s` what it takes at the
    cheap tier, None where that was never seen."""

    part: Part
    cost_nanousd: int
    wait_s: float
    cheap_s: float | None
    route_class: RouteClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketcher:
    """Matches, keys and plans a request as the flow would; holds no state."""

    flow: Flow
    catalogue: Callable[[], Catalogue]
    experience: Experience

    def sketch(self, ask: Ask) -> Sketch:
        """Raises NotAllowed, and RequestFailed where no model may serve it."""
        trail = self.flow.trail(ask)
        model = self.flow.plan(ask, trail).candidates[0]
        route_class = trail.route_class
        assert route_class is not None
        if not retains(trail.policy, route_class):
            raise NotAllowed(f"route {route_class.route.name} keeps no answers, or no requests for the warmer")
        key = self.flow.key(ask, trail)
        if not key:
            warmest = route_class.route.cache.max_temperature
            raise NotAllowed(f"route {route_class.route.name} keeps no answers sampled above temperature {warmest}")
        size = size_for(ask.request, trail)
        if size is None:
            raise NotAllowed("what it may cost has no bound: a file by its id, or a tool that runs at the provider")
        seen = self.experience.of_request(ask.caller.tenant, route=route_class.route.name, tags=ask.tags, model=model)
        usage = Usage(
            input_tokens=route_class.facts.input_tokens,
            output_tokens=_output_tokens(seen, size.output),
            is_estimated=True,
        )
        card = self.catalogue().get(model)
        cost = cost_nanousd(card.price, usage) if card is not None else None
        if cost is None:
            raise NotAllowed(f"the price of {model} is unknown")
        part = Part(
            key=key,
            model=model,
            usage=usage,
            most_input=size.input,
            most_output=size.output,
        )
        return Sketch(
            part=part,
            cost_nanousd=cost,
            wait_s=seen.wait_s or 0.0,
            cheap_s=seen.cheap_s,
            route_class=route_class,
        )


def _output_tokens(seen: Expected, cap: int | None) -> int:
    expected = EXPECTED_OUTPUT_TOKENS if seen.output_tokens is None else round(seen.output_tokens)
    return expected if cap is None else min(expected, cap)
