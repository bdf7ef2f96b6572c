"""Learnt state as bytes and back: MessagePack with a version; of another version, or damaged, it counts as none."""

from __future__ import annotations

from typing import TypeVar

import msgspec

StateT = TypeVar("StateT", bound=msgspec.Struct)

_VERSION_BYTES = 2


def dump(state: msgspec.Struct, *, version: int) -> bytes:
    """Return `state` after its version."""
    return version.to_bytes(_VERSION_BYTES, "big") + msgspec.msgpack.encode(state)


def restore(saved: bytes | None, kind: type[StateT], *, version: int) -> StateT | None:
    """Return what `dump` was given, None where it cannot be read as that."""
    if saved is None or int.from_bytes(saved[:_VERSION_BYTES], "big") != version:
        return None
    try:
        return msgspec.msgpack.decode(saved[_VERSION_BYTES:], type=kind)
    except msgspec.DecodeError:
        return None
