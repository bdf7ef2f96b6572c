"""When an announced item is given to the warmer: the earliest due first, not too early, not too late."""

from __future__ import annotations

from gateway.announced.shelf import LIFE_S
from gateway.takeup.serving import AGAIN_S, AT_ONCE, SILENT_S
from tests.unit.gateway.takeup.scripted import Bench


async def test_what_is_fresh_now_and_not_when_it_is_wanted_is_taken_up_once_it_is_not(bench: Bench) -> None:
    bench.script.fresh["a"] = bench.clock.now() + 50.0
    announced, takeup = await bench.post("a", ready_by_s=100.0), bench.takeup()
    await takeup.look()
    assert bench.script.keys == []
    assert await bench.results(announced) == ["queued"]
    bench.clock.wind(51.0)
    bench.script.fresh.clear()
    await takeup.look()
    assert bench.script.keys == ["a"]


async def test_what_would_be_stale_when_it_is_wanted_is_not_made_yet(bench: Bench) -> None:
    await bench.post("a", ready_by_s=5000.0)
    takeup = bench.takeup()
    await takeup.look()
    assert bench.script.keys == []
    bench.clock.wind(5000.0 - 0.9 * 3600.0)
    await takeup.look()
    assert bench.script.keys == ["a"]


async def test_who_cannot_wait_for_the_cheap_tier_is_in_a_hurry(bench: Bench) -> None:
    bench.script.cheap_s = 20.0
    await bench.post("soon", ready_by_s=29.0)
    await bench.post("later", "late", ready_by_s=31.0)
    await bench.post("unsaid")
    takeup = bench.takeup()
    await takeup.look()
    hurried = [key for key in ("soon", "later", "late", "unsaid") if takeup.is_hurried(bench.tenant, key)]
    assert hurried == ["soon"]
    assert not takeup.is_hurried("another", "soon")
    bench.clock.wind(2.0)
    takeup.heard([bench.considered("late", "crowded_out")])
    await takeup.look()
    assert takeup.is_hurried(bench.tenant, "later")
    assert not takeup.is_hurried(bench.tenant, "late")


async def test_a_warmer_that_began_anew_is_told_again(bench: Bench) -> None:
    await bench.post("a")
    takeup = bench.takeup()
    await takeup.look()
    bench.clock.wind(AGAIN_S - 1)
    await takeup.look()
    assert bench.script.keys == ["a"]
    bench.clock.wind(1.0)
    await takeup.look()
    assert bench.script.keys == ["a", "a"]


async def test_who_does_not_lead_lets_go_of_everything(bench: Bench) -> None:
    announced, takeup = await bench.post("a"), bench.takeup()
    await takeup.look()
    takeup.heard([bench.considered("a", "crowded_out")])
    takeup.forget()
    assert not takeup.is_hurried(bench.tenant, "a")
    await takeup.look()
    assert bench.script.keys == ["a", "a"]
    assert await bench.results(announced) == ["warming"]


async def test_the_earliest_due_goes_first_whoever_came_first(bench: Bench) -> None:
    for body, ready_by_s in (("unsaid", None), ("later", 400.0), ("soon", 20.0), ("soonest", 10.0)):
        await bench.post(body, ready_by_s=ready_by_s)
    await bench.takeup().look()
    assert bench.script.keys == ["soonest", "soon", "unsaid", "later"]


async def test_the_warmer_has_so_many_at_once_and_its_silence_makes_room(bench: Bench) -> None:
    announced, takeup = await bench.post(*"abcdefghij"), bench.takeup()
    await takeup.look()
    await takeup.look()
    assert bench.script.keys == list("abcdefghij")[:AT_ONCE]
    takeup.heard([bench.considered("b", "crowded_out")])
    await takeup.look()
    assert len(bench.script.keys) == AT_ONCE + 1
    bench.clock.wind(SILENT_S + 1)
    await takeup.look()
    assert bench.script.keys == list("abcdefghi")
    assert (await bench.results(announced))[1] == "crowded_out"


async def test_a_warmer_without_room_is_asked_again(bench: Bench) -> None:
    bench.script.has_room = False
    await bench.post("a")
    takeup = bench.takeup()
    await takeup.look()
    bench.script.has_room = True
    await takeup.look()
    await takeup.look()
    assert bench.script.keys == ["a"]


async def test_what_is_wanted_earlier_after_all_moves_forward(bench: Bench) -> None:
    first = await bench.post("a", ready_by_s=500.0)
    second = await bench.post("b", ready_by_s=100.0)
    await bench.shelf.queue_again(bench.announcement("a", ready_by_s=50.0))
    await bench.shelf.queue_again(bench.announcement("b", ready_by_s=900.0))
    assert [name for _, name, _ in await bench.shelf.first(9)] == [first.id, second.id]


async def test_what_nothing_came_of_in_time_is_too_late_unless_the_cache_has_it(bench: Bench) -> None:
    announced, takeup = await bench.post("a", "b", ready_by_s=30.0), bench.takeup()
    await takeup.look()
    bench.clock.wind(31.0)
    bench.script.fresh["b"] = bench.clock.now() + 100.0
    await takeup.look()
    await takeup.look()
    assert await bench.results(announced) == ["too_late", "fresh"]
    unsaid = await bench.post("c")
    await takeup.look()
    bench.clock.wind(LIFE_S)
    await takeup.look()
    await takeup.look()
    assert await bench.results(unsaid) == ["too_late"]
