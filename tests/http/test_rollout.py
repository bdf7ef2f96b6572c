"""One whole round on a running gateway: edit the file, canary, a bad version reverts by itself, sessions stay put."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from gateway.ports import StoreUnavailable
from policies.book import Reloaded
from tests.http.conftest import StartGateway
from tests.http.running import Gateway
from tests.provider import Reply

POLICY = """
version: 1
policy: {name}
{rollout}
routes: [{{name: chat, match: {{any: true}}, candidates: [{model}], cache: {{exact_ttl: 1h}}}}]
"""
ROLLOUT = """
rollout: {salt: a, steps: [50, 100], hold_min: 0,
  guard: [{metric: error_rate, worse_by_abs: 0.01, min_n: 30}]}
"""


def default_file(gateway: Gateway) -> Path:
    """Return the policy file of a gateway."""
    return gateway.worker.services.settings.policies / "default.yaml"


async def edit(gateway: Gateway, text: str) -> None:
    """Change the file and let the gateway read it, as its own task does every second."""
    await asyncio.to_thread(default_file(gateway).write_text, text)
    found = await asyncio.to_thread(gateway.worker.services.book.refresh)
    assert isinstance(found, Reloaded)
    await gateway.worker.spend.loaded(found.policies, is_change=True)


async def until_in_force(gateway: Gateway) -> None:
    """Wait until the state's last change is in force, a tenth of a second by its setting."""
    (state,) = (state for state in gateway.worker.spend.rollouts.states)
    clock = gateway.worker.services.clock
    await clock.sleep(max(0.0, state.effective_at - clock.now()))


async def asked(gateway: Gateway, session: int, text: str = "hi") -> tuple[str, str, int]:
    """Ask in a session; return (model, cache, status)."""
    answer = await gateway.chat(text, headers={"x_foreword_session": f"s{session}"})
    return answer.headers.get("x-foreword-model", ""), answer.headers.get("x-foreword-cache", ""), answer.status


async def shown_by_command(gateway: Gateway, *options: str) -> str:
    """Return what `foreword policy show` prints beside the gateway."""
    settings = gateway.worker.services.settings
    assert settings.redis_url is not None
    files = ("--policies", str(settings.policies), "--models", str(settings.models), "--redis-url", settings.redis_url)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "policy", "show", *files, *options, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def test_a_bad_version_serves_its_share_and_is_reverted_by_itself(start_gateway: StartGateway) -> None:
    name = "rollout-test"
    gateway = await start_gateway(policy=POLICY.format(name=name, model="small", rollout=""), policy_switch_s="0.1")
    assert {(await asked(gateway, n))[0] for n in range(4)} == {"small"}
    await edit(gateway, POLICY.format(name=name, model="large", rollout=ROLLOUT))
    await until_in_force(gateway)

    served = {n: (await asked(gateway, n, text=f"q{n}"))[0] for n in range(24)}
    assert set(served.values()) == {"small", "large"}
    again = {n: (await asked(gateway, n, text=f"again {n}"))[0] for n in range(24)}
    assert again == served

    # The same question in both arms: neither is served the other's answer.
    one = next(n for n, model in served.items() if model == "small")
    other = next(n for n, model in served.items() if model == "large")
    assert await asked(gateway, one, text="shared") == ("small", "miss", 200)
    assert await asked(gateway, other, text="shared") == ("large", "miss", 200)

    gateway.provider.always("up-large", Reply(status=500))
    statuses = [(await asked(gateway, n, text=f"now {n}"))[2] for n in range(60)]
    assert any(status >= 500 for status in statuses)
    try:
        await gateway.worker.spend.rollouts.poll()
        await gateway.worker.spend.rollouts.poll()
    except StoreUnavailable:
        raise AssertionError("Redis must be there") from None
    (state,) = gateway.worker.spend.rollouts.states
    assert (state.status, state.percent) == ("rolled_back", 0.0)
    assert "error_rate" in state.reason
    ready = await gateway.session.get(gateway.url + "/health/ready")
    (on_page,) = (await ready.json())["rollouts"]
    (on_screen,) = json.loads(await shown_by_command(gateway, "--json"))["rollouts"]
    assert on_page["status"] == on_screen["status"] == "rolled_back"
    assert (on_screen["stable"], on_screen["candidate"], on_screen["step"]) == (state.stable, state.candidate, 1)
    assert on_screen["reason"] == state.reason
    assert f"rollout of {name}: rolled_back" in await shown_by_command(gateway)
    await until_in_force(gateway)
    assert {(await asked(gateway, n, text=f"after {n}"))[:1] for n in range(24)} == {("small",)}
    scraped = await gateway.session.get(gateway.url + "/metrics")
    assert 'foreword_rollout_percent{policy="rollout-test"} 0.0' in await scraped.text()


QUALITY = """
rollout: {salt: a, steps: [50, 100], hold_min: 0, guard: [{metric: quality, worse_by_abs: 0.1, min_n: 20}]}
"""


async def test_answers_that_clients_find_worse_take_a_version_back(start_gateway: StartGateway) -> None:
    name = "rollout-quality"
    gateway = await start_gateway(policy=POLICY.format(name=name, model="small", rollout=""), policy_switch_s="0.1")
    await asked(gateway, 0)
    unknown = await gateway.post("/v1/feedback", {"request_id": gateway.outcomes[-1].request_id, "thumbs": "up"})
    assert unknown.status == 404  # nothing is compared yet, so there is nothing to learn
    await edit(gateway, POLICY.format(name=name, model="large", rollout=QUALITY))
    await until_in_force(gateway)
    for n in range(120):
        model, _, _ = await asked(gateway, n, text=f"question {n}")
        thumbs = {"request_id": gateway.outcomes[-1].request_id, "thumbs": "up" if model == "small" else "down"}
        assert (await gateway.post("/v1/feedback", thumbs)).status == 200
        await gateway.worker.spend.rollouts.poll()
        if gateway.worker.spend.rollouts.states[0].status != "running":
            break
    (state,) = gateway.worker.spend.rollouts.states
    assert state.status == "rolled_back"
    assert "quality" in state.reason
