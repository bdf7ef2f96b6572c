"""Questions in other words, the policy that lets them share answers, and a class that has earned its bound."""

from __future__ import annotations

import asyncio

from gateway.cache.semantic.classes import OpenClass
from gateway.cache.semantic.cuts import CUTS
from gateway.cache.semantic.events import AskedTwice, Counted, Labelled
from gateway.cache.semantic.features import NAMES
from gateway.semantic.build import Semantic
from tests.http.running import Gateway

POLICY = """
version: 1
policy: default
routes:
  - {name: plain, match: {tag: "plain=*"}, candidates: [requested], cache: {exact_ttl: 1h}}
  - {name: chat, match: {any: true}, candidates: [requested], fallbacks: [large], on_cut: error,
     cache: {exact_ttl: 1h, semantic: {wrong_per_hit: 0.05, wrong_per_request: 0.05, sample: SAMPLE}}}
"""
FIRST = "what is the best way to learn the guitar quickly"
AGAIN = "what is the best way to learn the guitar very quickly"
DOUBTFUL = ("failed_scope", "failed_wording", "failed_form", "failed_tense")
"""Guards whose refusal the class's model weighs: here it has learned that such pairs were wrong."""


def policy(*, sample: float = 0.001) -> str:
    """Return POLICY with this share of hits asked again."""
    return POLICY.replace("SAMPLE", str(sample))


def semantic_of(gateway: Gateway) -> Semantic:
    """Return the tier of the gateway's worker."""
    return gateway.worker.semantic


async def until_quiet(gateway: Gateway) -> None:
    """Return once nothing is being learned here and every class has told and heard."""
    semantic = semantic_of(gateway)
    async with asyncio.timeout(30):
        while semantic.hook.background.running:  # noqa: ASYNC110 - the product has no event for tests
            await asyncio.sleep(0.005)
    if semantic.classes is not None:
        await semantic.classes.turn()


async def the_class(gateway: Gateway, *, tenant: str | None = None) -> OpenClass:
    """Return the one class of a tenant in this worker, once it is open."""
    semantic = semantic_of(gateway)
    assert semantic.classes is not None
    async with asyncio.timeout(30):
        while True:
            found = [one for one in semantic.classes if one.name.tenant == (tenant or gateway.tenant)]
            if found and found[0].opening is None:
                return found[0]
            await asyncio.sleep(0.005)


async def open_class(gateway: Gateway, *, labels: int = 400) -> OpenClass:
    """Ask once, so that the class is there, and tell it of so many right answers that it serves."""
    await gateway.chat("how many legs does an ordinary garden spider have", max_tokens=77)
    await until_quiet(gateway)
    found = await the_class(gateway)
    await found.shared.append(right_answers(labels))
    await found.shared.refresh()
    assert found.state.mode == "serving", found.state.totals
    return found


def right_answers(count: int) -> list[Labelled | AskedTwice | Counted]:
    """Return labels: near rewordings were right at every score, refused pairs wrong, and there is no noise."""
    near = {"one": 1.0, "similarity": 0.5, "content_jaccard": 1.0, "word_jaccard": 0.9, "unrefused": 1.0}
    features = tuple(near.get(name, 0.0) for name in NAMES)
    refused = {"one": 1.0, "similarity": 0.9, "content_jaccard": 0.4, "word_jaccard": 0.4}
    lessons = [tuple({**refused, name: 1.0}.get(one, 0.0) for one in NAMES) for name in DOUBTFUL]
    labels: list[Labelled | AskedTwice | Counted] = [AskedTwice(different=0.0, at_s=0.0) for _ in range(200)]
    labels.append(Counted(requests=10 * count, hits=(0,) * 16, saved_nanousd=0, at_s=0.0))
    labels += [
        Labelled(
            answer_id=f"seed-{number}",
            question=f"question-{number}",
            features=features,
            log_odds=CUTS[number % len(CUTS)] + 0.01,
            different=0.0,
            was_hit=False,
            at_s=0.0,
        )
        for number in range(count)
    ]
    labels += [
        Labelled(
            answer_id=f"wrong-{number}",
            question=f"question-{number}",
            features=lessons[number % len(lessons)],
            log_odds=-2.0,
            different=1.0,
            was_hit=False,
            at_s=0.0,
        )
        for number in range(count // 4)
    ]
    return labels
