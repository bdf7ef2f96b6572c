"""What a gateway finds before it serves: models, providers, policies, and its first key. Runs in a forked child.

Must not serve anything; what it opens dies with the child.
"""

from __future__ import annotations

import asyncio

import msgspec

from gateway.clock import SystemClock
from gateway.documents import Documents
from gateway.findings import Findings
from gateway.keys import Keys
from gateway.logs import report_crash
from gateway.ports import StoreUnavailable
from gateway.settings import Settings
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from policies.load import ModelsFile
from router.deployments import LiteLLMDeployments

REDIS_TIMEOUT_S = 2.0
"""Nobody waits behind this; a Redis that is still loading is worth a moment."""
CLOSE_S = 1.0


def examine(settings: Settings, documents: Documents, *, may_make_key: bool) -> Findings:
    """Find the models that can be used, and make the first key if there is none (without a Redis `settings` brings it).

    Without `may_make_key` no key is made or shown.
    """
    found = asyncio.run(_find(settings, documents.models, may_make_key=may_make_key))
    policies = tuple(f"{policy.name} ({policy.version})" for policy in documents.book.current().policies)
    return msgspec.structs.replace(found, policies=policies, ignored_sections=documents.models.ignored_sections)


async def _find(settings: Settings, models: ModelsFile, *, may_make_key: bool) -> Findings:
    deployments = LiteLLMDeployments(models.entries, environment=settings.environment, simulate_missing=True)
    catalogue = deployments.catalogue()
    if not catalogue:
        reasons = (f"{one.group} ({one.model}): {one.reason}" for one in deployments.left_out)
        return Findings(problems=(f"{settings.models}: no model can be used", *reasons))
    chat = [group for group, card in catalogue.items() if card.mode == "chat"]
    secret, trouble = await _first_key(settings) if may_make_key else (None, "")
    return Findings(
        providers=deployments.found,
        left_out=tuple(f"{one.group} ({one.model}): {one.reason}" for one in deployments.left_out),
        unread=tuple(f"{name}: {', '.join(keys)}" for name, keys in deployments.unread.items()),
        is_simulated=all(card.is_simulated for card in catalogue.values()),
        models=tuple(catalogue),
        example_model=(chat or list(catalogue))[0],
        secret=secret,
        key_trouble=trouble,
    )


async def _first_key(settings: Settings) -> tuple[str | None, str]:
    if settings.redis_url is None:
        return (settings.first_secret.get_secret_value() if settings.first_secret else None), ""
    clock = SystemClock()
    supervisor = Supervisor(clock=clock, on_crash=report_crash)
    store = RedisStore(settings.redis_url, supervisor=supervisor, timeout_s=REDIS_TIMEOUT_S)
    try:
        created = await Keys(store, clock).ensure_first()
        return (None if created is None else created.secret), ""
    except StoreUnavailable as error:
        return None, str(error)
    finally:
        await store.close()
        await supervisor.close(CLOSE_S)
