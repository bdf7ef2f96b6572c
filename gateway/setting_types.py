"""The kinds of value that settings have, and how their text is read. Reads no file and no environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, PositiveFloat, PositiveInt

LITELLM_EMBEDDER = "litellm:"


class Address(NamedTuple):
    """Where a socket listens."""

    host: str
    port: int


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")
    return value


def address_of(value: object) -> object:
    """Read HOST:PORT; anything but text is left to pydantic. Raises ValueError."""
    if not isinstance(value, str):
        return value
    host, separator, port = value.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("should be HOST:PORT, for example 127.0.0.1:9090 or [::1]:9090")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


def redis_url_of(value: str | None) -> str | None:
    """Return the URL of a Redis. Raises ValueError."""
    if value is not None and value.partition("://")[0] not in {"redis", "rediss", "unix", "cluster", "clusters"}:
        raise ValueError("should start with redis://, rediss://, unix://, cluster:// or clusters://")
    return value


def embedder_of(value: str) -> str:
    """Return the name of an embedder. Raises ValueError."""
    if value == "hashing":
        raise ValueError("hashing is for tests: it finds words, not meaning; should be minilm or off")
    is_group = value.startswith(LITELLM_EMBEDDER) and value != LITELLM_EMBEDDER
    if value not in {"minilm", "minilm-float32", "off"} and not is_group:
        raise ValueError(
            "should be minilm, minilm-float32, litellm:GROUP (a group of models.yaml with mode embedding) or off"
        )
    return value


Number = BeforeValidator(_no_bool)
Port = Annotated[int, Number, Field(ge=0, le=65535)]
Count = Annotated[PositiveInt, Number]
Seconds = Annotated[PositiveFloat, Number]
Size = Annotated[ByteSize, Number, Field(gt=0)]
AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]
