"""What every connection of one store has in common, and how a server's Node is made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.lane import Lane, Transition
from gateway.redis_link import Connection
from gateway.redis_node import Node
from gateway.supervisor import Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """`timeout_s` bounds every call; a server that is away is tried every `probe_interval_s`."""

    supervisor: Supervisor
    timeout_s: float
    probe_interval_s: float
    on_transition: Callable[[Transition], None] | None

    def node(self, url: str, *, name: str = "") -> Node:
        """Return a Node for one server's URL; `name` tells it from others in reasons. Raises ValueError."""
        link = Connection(url, ping_timeout_s=self.timeout_s)
        return Node(
            lambda moved: Lane(
                link,
                supervisor=self.supervisor,
                timeout_s=self.timeout_s,
                probe_interval_s=self.probe_interval_s,
                on_transition=moved,
            ),
            on_transition=self.on_transition,
            name=name,
        )
