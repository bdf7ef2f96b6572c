"""Which label values exist now: from policies, models.yaml and the HTTP routes, never from a client. Reads no file."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.series import KnownLabels
from policies.book import PolicySet
from router.types import Deployment


def known_labels(policies: PolicySet, deployments: Sequence[Deployment], *, endpoints: frozenset[str]) -> KnownLabels:
    """Return the closed sets for the metrics' labels."""
    return KnownLabels(
        models=frozenset(deployment.group for deployment in deployments),
        providers=frozenset(deployment.provider for deployment in deployments),
        deployments=frozenset((deployment.group, deployment.provider) for deployment in deployments),
        routes=frozenset(route.name for policy in policies.policies for route in policy.routes),
        policies=frozenset(policy.name for policy in policies.policies),
        endpoints=endpoints,
    )
