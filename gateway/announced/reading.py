"""What a client may announce, read from the body of POST /v1/warm and checked as if it were asked; asks nobody."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.announced.records import Item
from gateway.pipelines.spec import PIPELINE_MODEL_PREFIX
from router.facts import BadRequest, DoorLimits, read_request
from warmer.types import Level

MAX_ITEMS: Final = 64
MAX_BYTES: Final = 1024 * 1024
"""Of a whole announcement: a debate of three hours takes 200 kB."""
MAX_READY_BY_S: Final = 86_400.0
USUAL_PIPELINE: Final = "debate"
_RUN_FIELDS: Final = ("transcript", "steps", "model", "model_hints")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    transcript: str | None = None
    pipeline: str | None = None
    steps: list[str] | None = None
    model: str | None = None
    model_hints: dict[str, str] | None = None
    requests: list[dict[str, object]] | None = Field(default=None, min_length=1, max_length=MAX_ITEMS)
    ready_by_s: float | None = Field(default=None, gt=0, le=MAX_READY_BY_S)
    level: Level = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What was announced. `ready_by_s` is from now; `places` name the items as the client wrote them."""

    items: tuple[Item, ...]
    places: tuple[str, ...]
    level: Level
    ready_by_s: float | None

    def content(self, session: str, tags: frozenset[str]) -> str:
        """Return the digest of what is wanted and how it is found in the cache; not of when it is wanted."""
        digest = hashlib.sha256(orjson.dumps([self.level, session, sorted(tags)]))
        for item in self.items:
            digest.update(f"\n{item.pipeline}\n{len(item.body)}\n".encode())
            digest.update(item.body)
        return digest.hexdigest()


def read_wishes(document: Mapping[str, object], *, limits: DoorLimits) -> Wishes:
    """Check a decoded body. Raises BadRequest naming the field; pipelines are not looked up here."""
    try:
        body = _Body.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise BadRequest(f"{place}: {first['msg']}", param=place) from error
    if (body.transcript is None) == (body.requests is None):
        raise BadRequest("give either `transcript` or `requests`", param="transcript")
    if body.requests is None:
        return Wishes(items=(_run(document, ""),), places=("",), level=body.level, ready_by_s=body.ready_by_s)
    for name in ("pipeline", *_RUN_FIELDS):
        if document.get(name) is not None:
            raise BadRequest(f"{name}: belongs into an element of `requests` here", param=name)
    named = tuple(_items(body.requests, limits))
    return Wishes(
        items=tuple(item for _, item in named),
        places=tuple(place for place, _ in named),
        level=body.level,
        ready_by_s=body.ready_by_s,
    )


def _items(requests: list[dict[str, object]], limits: DoorLimits) -> Iterator[tuple[str, Item]]:
    for at, document in enumerate(requests):
        place = f"requests[{at}]"
        yield place, _run(document, place) if "transcript" in document else _chat(document, place, limits)


def _run(document: Mapping[str, object], place: str) -> Item:
    name = document.get("pipeline", USUAL_PIPELINE)
    if not isinstance(name, str):
        param = within(place, "pipeline")
        raise BadRequest(f"{param}: must be a pipeline's name", param=param)
    own = ("ready_by_s", "level") if not place else ()
    unknown = next((key for key in document if key not in ("pipeline", *own, *_RUN_FIELDS)), None)
    if unknown is not None:
        param = within(place, unknown[:64])
        raise BadRequest(f"{param}: unknown; a pipeline takes {', '.join(_RUN_FIELDS)}", param=param)
    posted = {key: document[key] for key in _RUN_FIELDS if document.get(key) is not None}
    return Item(body=orjson.dumps(posted, option=orjson.OPT_SORT_KEYS), pipeline=name)


def _chat(document: Mapping[str, object], place: str, limits: DoorLimits) -> Item:
    """Take a chat request; how it is delivered is nothing that an answer depends on."""
    asked = {key: value for key, value in document.items() if key not in ("stream", "stream_options")}
    body = orjson.dumps(asked)
    try:
        request = read_request(body, dialect="chat", limits=limits)
    except BadRequest as wrong:
        param = within(place, wrong.param or "")
        raise BadRequest(f"{place}: {wrong.message}", param=param, code=wrong.code, status=wrong.status) from None
    if request.requested_model.startswith(PIPELINE_MODEL_PREFIX):
        name = request.requested_model.removeprefix(PIPELINE_MODEL_PREFIX)
        raise BadRequest(
            f'{place}.model: for a pipeline send {{"pipeline": "{name[:64]}", "transcript": …}}', param=f"{place}.model"
        )
    return Item(body=body)


def within(place: str, param: str) -> str:
    """Return a field's name as the client wrote it."""
    return f"{place}.{param}" if place and param else place or param
