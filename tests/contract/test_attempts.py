"""Every row of the fault table (reliability.md), streamed and unstreamed, whichever backend makes the calls.

Two groups, "one" and "two", of one deployment each: what the caller got, and what the provider saw.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from policies.load import ModelEntry
from policies.model import CacheRules, OnCut, Plan
from router.attempts import Attempts, Limits
from router.backends.litellm import LiteLLMBackend
from router.backends.openai_wire import OpenAIWire
from router.deployments import LiteLLMDeployments
from router.errors import AttemptsFailed
from router.ports import Backend
from router.types import AnswerEvent, AttemptRecord, Block, ChatRequest, Finished
from tests.contract.backend_bench import SECRET
from tests.provider import Reply, ScriptedProvider
from tests.unit.router.attempts_bench import SteppedClock, collect, text_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:Item .* using the `ReadOnly` qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance is deprecated:DeprecationWarning"),
]

WHOLE = "Hello there, bot."
LIMITS = Limits(
    cold_first_token_s=0.15,
    last_first_token_s=5.0,
    cold_whole_s=0.15,
    last_whole_s=5.0,
    gap_s=0.15,
    tail_s=0.15,
    drain_s=0.05,
)
PATIENT = Limits(cold_first_token_s=20.0, cold_whole_s=20.0)
BACKENDS: dict[str, tuple[str, Callable[[LiteLLMDeployments], Backend]]] = {
    "openai_wire": ("openai", lambda deployments: OpenAIWire()),
    "litellm": ("fireworks_ai", lambda deployments: LiteLLMBackend(deployments.router)),
}


class Rig:
    """An Attempts over LiteLLM's deployments and one real backend."""

    def __init__(self, deployments: LiteLLMDeployments, name: str, backend: Backend, api: ScriptedProvider) -> None:
        self.provider = api
        self.backend = backend
        self.clock = SteppedClock()
        self.journal: list[AttemptRecord] = []
        self._deployments = deployments
        self._backends = {name: backend}
        self.is_litellm = name == "litellm"

    async def run(
        self, *groups: str, stream: bool, limits: Limits = PATIENT, on_cut: OnCut = "resume"
    ) -> tuple[str, list[AnswerEvent]]:
        """Return the answer's text and all events. Raises AttemptsFailed."""
        document: dict[str, object] = {"model": "one", "messages": [{"role": "user", "content": "hi"}]}
        document |= {"stream": True} if stream else {}
        request = ChatRequest(
            dialect="chat",
            body=json.dumps(document).encode(),
            document=document,
            requested_model="one",
            stream=stream,
            include_usage=False,
        )
        plan = Plan(
            policy="p",
            policy_version="v",
            route="r",
            candidates=groups,
            deadline_s=30.0,
            max_output_tokens=None,
            assemble=False,
            cache=CacheRules(),
            reason="test",
            on_cut=on_cut,
        )
        attempts = Attempts(
            deployments=self._deployments,
            backends=self._backends,
            clock=self.clock,
            rng=random.Random(3),
            limits=limits,
        )
        events = await collect(attempts.run(request, plan, traceparent=None, journal=self.journal))
        finished = events[-1]
        assert isinstance(finished, Finished)
        if finished.body is not None:
            return str(json.loads(finished.body)["choices"][0]["message"]["content"]), events
        return text_of(events), events

    def asked(self) -> list[str]:
        """Return which models the provider was asked for, by their last letter-and-digit name."""
        return [str(seen.json()["model"]).rsplit("/", 1)[-1] for seen in self.provider.requests]


@pytest.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider() as provider:
        yield provider


@pytest.fixture(params=BACKENDS)
def wired(request: pytest.FixtureRequest, provider: ScriptedProvider) -> Rig:
    """Build deployments and backend as a start does: before any loop runs, since LiteLLM reads files."""
    name, make = BACKENDS[request.param]
    entries = [
        ModelEntry(
            model_name=group,
            litellm_params={"model": f"{name}/{model}", "api_base": provider.api_base, "api_key": SECRET},
            model_info={"mode": "chat"},
            line=1,
        )
        for group, model in (("one", "m-1"), ("two", "m-2"))
    ]
    deployments = LiteLLMDeployments(entries, environment={}, simulate_missing=False)
    return Rig(deployments, request.param, make(deployments), provider)


@pytest.fixture
async def rig(wired: Rig) -> AsyncIterator[Rig]:
    yield wired
    await wired.backend.close()


def script(rig: Rig, model: str, reply: Reply) -> None:
    """Let every call of `model` have `reply`, under the names that the backends use for it."""
    for name in (model, f"accounts/fireworks/models/{model}"):
        rig.provider.always(name, reply)


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@both
@pytest.mark.parametrize(
    ("reply", "attempts"),
    [
        (Reply(status=429), 2),
        (Reply(status=503), 2),
        (Reply(status=500), 2),
        (Reply(fault="reset"), 2),
        (Reply(status=429, headers={"Retry-After": "20"}), 1),
        (Reply(status=401), 1),
        (Reply(fault="silent"), 1),
        (Reply(fault="headers_only"), 1),
        (Reply(status=400, body='{"error": {"message": "too long", "code": "context_length_exceeded"}}'), 1),
    ],
    ids=["429", "503", "500", "reset", "429 for long", "401", "silent", "headers only", "too long"],
)
async def test_before_the_first_byte_the_fallback_answers_and_nobody_is_hammered(
    rig: Rig, reply: Reply, attempts: int, stream: bool
) -> None:
    script(rig, "m-1", reply)
    limits = LIMITS if reply.fault in ("silent", "headers_only") else PATIENT
    text, _ = await rig.run("one", "two", stream=stream, limits=limits)
    assert (text, rig.asked()) == (WHOLE, ["m-1"] * attempts + ["m-2"])
    assert rig.journal[-1].result == "ok"


@both
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ('{"error": {"message": "flagged", "code": "content_policy_violation"}}', "content_policy"),
        ('{"error": {"message": "temperature must be <= 2", "type": "invalid_request_error"}}', "bad_request"),
    ],
)
async def test_what_the_request_is_to_blame_for_is_passed_on_at_once(
    rig: Rig, body: str, kind: str, stream: bool
) -> None:
    script(rig, "m-1", Reply(status=400, body=body))
    with pytest.raises(AttemptsFailed) as caught:
        await rig.run("one", "two", stream=stream)
    assert (caught.value.error.kind, rig.asked()) == (kind, ["m-1"])


@both
async def test_a_429_is_passed_on_with_its_wish_where_nothing_is_left(rig: Rig, stream: bool) -> None:
    script(rig, "m-1", Reply(status=429, headers={"Retry-After": "40"}))
    with pytest.raises(AttemptsFailed) as caught:
        await rig.run("one", stream=stream)
    error = caught.value.error
    assert (error.status, error.retry_after_s, rig.asked()) == (429, 40.0, ["m-1"])


@pytest.mark.parametrize(
    "reply",
    [Reply(fault="cut", after_events=3), Reply(fault="clean_cut", after_events=3), Reply(error_at=2)],
    ids=["cut", "clean cut", "error event"],
)
async def test_a_stream_that_breaks_off_is_mended_or_ends_in_an_error(rig: Rig, reply: Reply) -> None:
    script(rig, "m-1", reply)
    text, events = await rig.run("one", "two", stream=True)
    assert text == WHOLE
    assert isinstance(last := events[-1], Finished)
    assert last.deployment.group == "two"
    assert rig.journal[-1].reason == "resume"
    with pytest.raises(AttemptsFailed):
        await rig.run("one", "two", stream=True, on_cut="error")


async def test_a_stream_that_stalls_is_mended(rig: Rig) -> None:
    script(rig, "m-1", Reply(fault="stall", after_events=3))
    limits = replace(PATIENT, gap_s=0.3)
    text, _ = await rig.run("one", "two", stream=True, limits=limits)
    assert (text, [record.error_code for record in rig.journal]) == (WHOLE, ["timeout", None])


async def test_held_a_broken_stream_is_never_seen(rig: Rig) -> None:
    script(rig, "m-1", Reply(fault="cut", after_events=3))
    text, events = await rig.run("one", "two", stream=True, on_cut="hold")
    assert (text, sum(isinstance(event, Block) for event in events)) == (WHOLE, 1)


async def test_a_stream_without_its_done_is_finished_with_its_usage(rig: Rig) -> None:
    script(rig, "m-1", Reply(done=False, linger=True))
    text, events = await rig.run("one", stream=True, limits=LIMITS)
    assert text == WHOLE
    assert isinstance(last := events[-1], Finished)
    # LiteLLM keeps usage back until the stream ends, which this one never does.
    assert (last.usage.output_tokens, last.usage.is_estimated) == ((5, True) if rig.is_litellm else (4, False))


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_in_a_200_body_is_the_error_that_it_is(rig: Rig, stream: bool) -> None:
    script(rig, "m-1", Reply(body='{"error": {"message": "exploded", "type": "server_error"}}'))
    text, _ = await rig.run("one", "two", stream=stream)
    assert (text, rig.asked()[-1]) == (WHOLE, "m-2")
    assert rig.journal[0].result == "error"


async def test_a_malformed_event_is_skipped_or_mended_and_the_answer_complete(rig: Rig) -> None:
    script(rig, "m-1", Reply(malformed_at=2))
    text, _ = await rig.run("one", "two", stream=True)
    assert text == WHOLE
