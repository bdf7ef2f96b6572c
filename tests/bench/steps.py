"""The pure steps of a plain request, each as a function without arguments, for `make bench-micro`. Does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway import ledger
from gateway.cache import codec
from gateway.cache.codec import StoredAnswer
from gateway.cache.key import exact_key
from gateway.metrics import MAX_ENDED, KnownLabels, Metrics
from gateway.settings import SHIPPED
from policies.decide import choose, match
from policies.load import load_policy
from policies.model import ModelCard, Policy, RequestFacts, RouteClass, View
from policies.prices import Price, Rates
from router.facts import DoorLimits, facts_of, read_request
from router.rewrite import provider_body
from router.sse import StreamReader
from router.types import Call, ChatRequest, Deployment, Usage
from router.usage import read_answer
from tests.bench.keeping import keep
from tests.bench.payloads import COUNTER, MODEL, big_text, chat_answer, chat_body, events
from tests.bench.samples import outcome, policy_of
from tests.bench.spending import spending_step

Step = Callable[[], object]
LIMITS = DoorLimits()
RATES = Rates(input=150_000, cached_input=75_000, cache_write=150_000, output=600_000, reasoning=600_000)


def _body(text: str = "") -> bytes:
    before, after = chat_body(text=text)
    return before + COUNTER % 1 + after


def _request(body: bytes) -> ChatRequest:
    return read_request(body, dialect="chat", limits=LIMITS)


def _facts(request: ChatRequest) -> RequestFacts:
    return facts_of(request, tenant="default", session="", tags=frozenset(), allowed_models=None)


def _policy(text: str) -> Policy:
    return load_policy(text, source="bench.yaml", groups=(MODEL,))


def _read(body: bytes) -> Step:
    return lambda: _facts(_request(body))


def _match(text: str) -> Step:
    policy, facts = _policy(text), _facts(_request(_body()))
    return lambda: match(policy, facts)


def _route_class(request: ChatRequest) -> RouteClass:
    return match(_policy((SHIPPED / "default.yaml").read_text()), _facts(request))


CARD = ModelCard(
    group=MODEL,
    providers=("openai",),
    mode="chat",
    price=Price(base=RATES),
    context_window=128_000,
    max_output_tokens=16_384,
    capabilities=frozenset({"tools", "json_schema"}),
    is_simulated=False,
)


def _choose() -> Step:
    view = View(catalogue={MODEL: CARD}, unhealthy=frozenset(), draw=0.5)
    route_class = _route_class(_request(_body()))
    return lambda: choose(route_class, view)


def _key(body: bytes) -> Step:
    request = _request(body)
    route_class = _route_class(request)
    return lambda: exact_key(request.document, route_class, namespace="", identity=None)


def _rewrite(body: bytes) -> Step:
    deployment = Deployment(
        id="d",
        group=MODEL,
        provider="openai",
        model=MODEL,
        backend="openai_wire",
        api_base="http://127.0.0.1/v1",
        secret="",
        price=Price(base=RATES),
    )
    request = _request(body)
    call = Call(request=request, deployment=deployment, stream=False, max_output_tokens=None, traceparent=None)
    return lambda: provider_body(call)


def _stored() -> StoredAnswer:
    return StoredAnswer(
        form="json",
        payload=chat_answer(),
        usage_event=None,
        usage=Usage(input_tokens=42, output_tokens=300),
        finish_reasons=("stop",),
        routed_model=MODEL,
        response_model="gpt-4o-mini-2024-07-18",
        provider="openai",
        is_simulated=False,
        cost_nanousd=186_300,
        created_at=1_767_225_600.0,
        ttl_s=3600.0,
        writer="key-0123456789ab",
        policy_version="0123456789ab",
    )


def _encode() -> Step:
    answer = _stored()
    return lambda: codec.encode(answer)


def _decode() -> Step:
    raw = codec.encode(_stored())
    return lambda: codec.decode(raw)


def _keep(body: bytes, *, is_on: bool) -> Step:
    request, policy = _request(body), _policy((SHIPPED / "default.yaml").read_text())
    return keep(request, policy, _route_class(request), _stored(), is_on=is_on)


def _feed() -> Step:
    reader, event = StreamReader(), events()[1]
    return lambda: reader.feed(event)


def _usage() -> Step:
    body = chat_answer()
    return lambda: read_answer(body, "chat")


def _book() -> Step:
    ended = outcome()
    return lambda: ledger.encode(ended)


def _record() -> Step:
    known = KnownLabels(
        models=frozenset({MODEL}),
        providers=frozenset({"openai"}),
        deployments=frozenset({(MODEL, "openai")}),
        routes=frozenset({"chat"}),
        endpoints=frozenset({"chat"}),
    )
    metrics, ended = Metrics(version="0", known=known), outcome()

    def step() -> None:  # a whole batch: one alone would be counted later
        for _ in range(MAX_ENDED):
            metrics.record(ended)

    return step


def _spend() -> Step:
    request = _request(_body())
    return spending_step(request, _facts(request), CARD)


STEPS: Mapping[str, Callable[[], Step]] = {
    "read and facts, 0.4 KB": lambda: _read(_body()),
    "read and facts, 32 KB": lambda: _read(_body(big_text())),
    "match, shipped policy": lambda: _match((SHIPPED / "default.yaml").read_text()),
    "match, last of 1,000 routes": lambda: _match(policy_of(1_000)),
    "choose": _choose,
    "budget and limits, at hand": _spend,
    "exact key, 0.4 KB": lambda: _key(_body()),
    "exact key, 32 KB": lambda: _key(_body(big_text())),
    "rewrite for the provider, 0.4 KB": lambda: _rewrite(_body()),
    "rewrite for the provider, 32 KB": lambda: _rewrite(_body(big_text())),
    "usage of a whole answer": _usage,
    "one event of a stream": _feed,
    "stored answer, encode": _encode,
    "stored answer, decode": _decode,
    "keep a request, 0.4 KB": lambda: _keep(_body(), is_on=True),
    "keep a request, 32 KB": lambda: _keep(_body(big_text()), is_on=True),
    "keep a request, warming off": lambda: _keep(_body(), is_on=False),
    "outcome to ledger entry": _book,
    f"outcome to metrics, {MAX_ENDED} of them": _record,
}
