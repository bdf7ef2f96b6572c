"""The mixed work of `make soak-long`: every way in which a request can end, and the gateway that meets it."""

from __future__ import annotations

from tests.bench.orders import Kind
from tests.bench.payloads import MODEL, chat_body
from tests.bench.servers import Process, models_yaml

POLICY = """
version: 1
policy: default
routes:
  - {name: step, match: {tag: task=*}, candidates: [pretend], cache: {exact_ttl: 10m, max_temperature: null}}
  - {name: frail, match: {model: frail}, candidates: [requested], fallbacks: [gpt-4o-mini], deadline: 30s}
  - {name: chat, match: {any: true}, candidates: [requested], cache: {exact_ttl: 1h, max_temperature: 0.3}}
"""
TRANSCRIPT = (
    "ANN: Trams are quiet. Everybody says so, number \0 did too. "
    "BOB: Trams are loud, and you are a fool. ANN: Either we build trams or the city dies."
)
STRANGERS = tuple(f"sk-fw-{number:043d}" for number in range(500))
"""Callers' secrets that the gateway has not given out."""


def models(upstream: Process) -> str:
    """Return a model_list: one that works, one that fails, one that is refused, one that fails over, one simulated."""
    base = f'api_base: "http://127.0.0.1:{upstream.port}/v1", api_key: sk-upstream'
    names = (("broken", "up-500"), ("limited", "up-429"), ("frail", "up-503"))
    rows = [f"  - {{model_name: {name}, litellm_params: {{model: openai/{model}, {base}}}}}\n" for name, model in names]
    rows.append("  - {model_name: pretend, litellm_params: {model: simulated/gpt-4o-mini}}\n")
    return models_yaml(upstream, more="".join(rows))


def kinds(key: str) -> tuple[Kind, ...]:
    """Return the mixture; weights are shares in percent.

    What a stranger may choose (models, keys) is another one each time; what comes rarely (a failing deployment that is
    taken out of service after 1,000 failures, a repeated pipeline) comes before the warm-up is over.
    """

    def chat(name: str, weight: float, *, model: str = MODEL, stream: bool = False, **more: object) -> Kind:
        before, after = chat_body(model=model, stream=stream)
        fields: dict[str, object] = {"keys": (key,), **more}
        before = before.replace(b"Question ", name.encode() + b" ")
        return Kind(name=name, before=before, after=after, weight=weight, **fields)  # type: ignore[arg-type]

    before, _, after = (f'{{"transcript":"{TRANSCRIPT}"}}').encode().partition(b"\0")
    path, again = "/v1/pipelines/debate", before.replace(b"number ", b"figure ")
    nobody, of_nobody = b'{"model": "no-such-', b'", "messages": [{"role": "user", "content": "Who are you?"}]}'
    failed = (429, 500, 502, 503, 504)
    return (
        chat("unique", 30),
        chat("hit", 25, cycle=100),
        chat("stream", 8, stream=True),
        chat("join", 10, stream=True, repeat=30),
        chat("join whole", 5, repeat=10),
        chat("left at once", 3, leave_after=0),
        chat("left in the stream", 5, stream=True, leave_after=4),
        chat("broken", 3, model="broken", statuses=failed),
        chat("limited", 2, model="limited", statuses=failed),
        chat("frail", 3, model="frail", statuses=(200, *failed)),
        Kind(name="unknown model", before=nobody, after=of_nobody, keys=(key,), weight=2, statuses=(400, 404)),
        chat("unknown key", 1, keys=STRANGERS, statuses=(401,)),
        Kind(name="no JSON", before=b'{"model": ', after=b"", keys=(key,), weight=2, statuses=(400,)),
        Kind(name="pipeline", path=path, before=before, after=after, keys=(key,), weight=0.8),
        Kind(name="pipeline again", path=path, before=again, after=after, keys=(key,), cycle=20, weight=0.2),
    )
