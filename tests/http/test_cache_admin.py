"""What operators see of the cache and take back from it, over HTTP and by command, with several workers listening."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from gateway.cache.withdraw import Notice, Selection, tell
from gateway.embedder.hashing import HashingEncoder
from tests.http.conftest import StartGateway
from tests.http.folding import Json, until_shared
from tests.http.running import Answer, Gateway
from tests.http.wordings import AGAIN, FIRST, open_class, policy, until_quiet

ADMIN = "a-key-of-operators"


@pytest.fixture
async def gateway(start_gateway: StartGateway, tmp_path: object) -> Gateway:
    return await start_gateway(policy=policy(), embedder=HashingEncoder(), admin_key=ADMIN)


async def admin(gateway: Gateway, body: Json | None = None, *, path: str = "") -> Answer:
    """Ask /admin/cache as an operator."""
    headers = {"Authorization": f"Bearer {ADMIN}"}
    method = "GET" if body is None else "POST"
    url = f"{gateway.url}/admin/cache{path}"
    async with gateway.session.request(method, url, json=body, headers=headers) as answer:
        return Answer(status=answer.status, headers=answer.headers, body=await answer.read())


async def stored(gateway: Gateway, text: str, **fields: object) -> str:
    """Ask, and return the key under which the answer is stored."""
    await gateway.chat(text, **fields)  # type: ignore[arg-type]  # headers too
    await until_quiet(gateway)
    key = [one for one in gateway.outcomes if one.origin == "user"][-1].cache_key
    await until_shared(gateway, key)
    return key


async def test_only_operators_see_the_cache(gateway: Gateway) -> None:
    for path in ("/admin/cache", "/admin/cache/0123456789"):
        async with gateway.session.get(gateway.url + path) as answer:
            assert answer.status == 401


async def test_figures_of_classes_and_of_what_is_stored(gateway: Gateway) -> None:
    await open_class(gateway)
    found = (await admin(gateway)).json()
    (row,) = [one for one in found["classes"] if one["tenant"] == gateway.tenant]
    assert (row["route"], row["is_current"], row["figures"]["mode"]) == ("chat", True, "serving")
    assert row["figures"]["wrong_per_hit_upper"] <= 0.05
    assert found["answers"][gateway.tenant] == 1
    assert found["size_bytes"][gateway.tenant] > 0


async def test_an_answer_is_shown_with_its_origin_and_questions_but_without_its_text(gateway: Gateway) -> None:
    key = await stored(gateway, FIRST)
    shown = await admin(gateway, path=f"/{key[:12]}")
    found = shown.json()
    assert (found["id"], found["tenant"], found["routed_model"]) == (key, gateway.tenant, "small")
    assert [one["text"] for one in found["questions"]] == [FIRST]
    assert b"Hello" not in shown.body
    assert (await admin(gateway, path="/0123456789abcdef")).status == 404


async def test_a_withdrawal_is_a_dry_run_unless_it_says_otherwise(gateway: Gateway) -> None:
    key = await stored(gateway, FIRST)
    counted = (await admin(gateway, {"id": key})).json()
    assert (counted["dry_run"], counted["answers"], counted["questions"]) == (True, 1, 1)
    assert (await gateway.chat(FIRST)).headers["x-foreword-cache"] == "hit"
    assert (await admin(gateway, {})).status == 400
    assert (await admin(gateway, {"dry_run": False})).status == 400
    assert (await admin(gateway, {"modle": "small"})).status == 400


@pytest.mark.parametrize("what", ["id", "tag", "model", "epoch", "transcript", "scope", "tenant"])
async def test_what_is_withdrawn_is_gone_from_every_tier_and_nothing_else(gateway: Gateway, what: str) -> None:
    transcript = "Ann: taxes should rise for the rich. Bob: no, they should fall, as history has shown. " * 12
    about = f"{transcript}\n\nQuestion: {FIRST}"
    tagged = {"x_foreword_tags": "kind=tagged"}
    key = await stored(gateway, about, headers=tagged)
    other = await stored(gateway, "where do whales usually sleep in the winter", model="large")
    shown = (await admin(gateway, path=f"/{key}")).json()
    chosen = {
        "id": key,
        "tag": "kind=tagged",
        "model": "small",
        "epoch": 0,
        "transcript": shown["transcript"],
        "scope": shown["questions"][0]["scope"],
        "tenant": gateway.tenant,
    }
    body: Json = {what: chosen[what], "tenant": gateway.tenant, "dry_run": False}
    done = (await admin(gateway, body)).json()
    assert done["silent"] == []
    assert len(done["acknowledged"]) >= 1
    spares = what not in ("epoch", "tenant")
    assert (done["answers"], done["questions"]) == ((1, 1) if spares else (2, 2))
    again = await gateway.chat(about, headers=tagged)
    assert again.headers["x-foreword-cache"] == "miss"
    assert (await admin(gateway, path=f"/{other}")).status == (200 if spares else 404)


async def test_a_worker_that_does_not_answer_is_named(gateway: Gateway) -> None:
    store, clock = gateway.worker.services.store, gateway.worker.services.clock
    await store.hash_set("foreword:withdrawals:workers", "mute", f"{clock.now():.3f} 0-0".encode())
    notice = Notice(selection=Selection(id="0123456789"), by="test")
    heard = await tell(store, notice, clock=clock, wait_s=0.4)
    assert "mute" in heard.silent
    await store.hash_delete("foreword:withdrawals:workers", "mute")


async def test_workers_learn_of_each_others_entries_and_a_restart_keeps_them(
    gateway: Gateway, start_gateway: StartGateway
) -> None:
    await open_class(gateway)
    other = await start_gateway(policy=policy(), embedder=HashingEncoder(), admin_key=ADMIN)
    ours = {"Authorization": f"Bearer {gateway.key}"}
    await other.chat("how do bees find their way home", headers=ours)  # the scope is open there before the entry comes
    await until_quiet(other)
    await stored(gateway, FIRST)
    restarted = await start_gateway(policy=policy(), embedder=HashingEncoder())
    for worker, wording in ((other, AGAIN), (restarted, AGAIN.replace("very", "really"))):
        # Nothing but the cache may answer, so that asking until it does changes nothing.
        asked = {**ours, "Cache_Control": "only-if-cached"}
        async with asyncio.timeout(30):
            while (answer := await worker.chat(wording, headers=asked)).status == 504:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert answer.headers["x-foreword-cache"] == "semantic-hit"


async def test_withdrawing_at_one_worker_empties_the_memory_of_the_other(
    gateway: Gateway, start_gateway: StartGateway
) -> None:
    other = await start_gateway(policy=policy(), embedder=HashingEncoder(), admin_key=ADMIN)
    ours = {"Authorization": f"Bearer {gateway.key}"}
    key = await stored(gateway, FIRST)
    assert (await other.chat(FIRST, headers=ours)).headers["x-foreword-cache"] == "hit"
    done = orjson.loads((await admin(gateway, {"id": key, "dry_run": False})).body)
    assert len(done["acknowledged"]) >= 2
    assert (await other.chat(FIRST, headers=ours)).headers["x-foreword-cache"] == "miss"
