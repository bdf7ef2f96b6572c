"""Whether a held first answer is good enough to be given: cheap checks of its text, no model asked. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

import orjson
from jsonschema import Draft202012Validator

from gateway.cache.semantic.refusals import answer_text, is_refusal
from gateway.pipelines.fit import Misfit, fit
from gateway.pipelines.quotes import find_quote
from gateway.pipelines.spec import shipped_pipelines
from policies.rules import AcceptRules


def shortcoming(body: bytes, document: Mapping[str, object], rules: AcceptRules) -> str:
    """Return what a chat.completion lacks ("" for nothing): `text`, `refusal`, `schema` or `quote`."""
    text = answer_text(body)
    if text is None:
        return "text"
    if rules.no_refusal and is_refusal(text):
        return "refusal"
    if rules.json_schema is not None and isinstance(fit(text, schemas()[rules.json_schema]), Misfit):
        return "schema"
    if rules.quotes_present and not _has_its_quotes(text, document):
        return "quote"
    return ""


@cache
def schemas() -> Mapping[str, Draft202012Validator]:
    """Return the schemas of the shipped pipelines' steps by name: `{step}_v{version of the pipeline}`."""
    return {
        f"{step.name}_v{pipeline.version}": step.validator
        for pipeline in shipped_pipelines().values()
        for step in pipeline.steps
    }


def _has_its_quotes(text: str, document: Mapping[str, object]) -> bool:
    try:
        quotes = list(_quotes(orjson.loads(text)))
    except orjson.JSONDecodeError:
        return True  # plain text marks no quotes; who wants JSON asks for a schema as well
    asked = "\n".join(_texts(document.get("messages")))
    return all(find_quote(asked, quote, start=0, end=len(asked)) for quote in quotes)


def _quotes(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        quote = value.get("quote")
        if isinstance(quote, str):
            yield quote
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _quotes(item)


def _texts(value: object) -> Iterator[str]:
    """Yield every text of the messages."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name in ("content", "text"):
            yield from _texts(value.get(name))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
