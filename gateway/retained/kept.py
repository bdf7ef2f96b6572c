"""A request as it is kept beside its answer, so that the warmer can ask it again: bytes, who asked, and what it took.

Pure; decides nothing about who may be kept (keepable.py does) and writes nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.part import Part
from policies.model import Dialect
from warmer.types import Kind

PREFIX: Final = "foreword:asked:{"
NOTES: Final = "foreword:{warmer}:notes"
"""What the warmer that leads has learnt: field `tenant <name>` is one tenant's, which may hold words of questions."""


class Kept(msgspec.Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """One request. `body` is what was posted; `session` keeps it with its version of a policy that is rolled out.

    `wait_s` is what its caller waited, `cost_nanousd` what its answer cost when it was last asked by anybody.
    `pipeline` is of a run, `is_chat` where it was posted as a chat. `routed_model`, `route`, `epoch`, `tags` and
    `transcript` are what it can be found by when it has to go. `allowed_models` None: the caller could use every model.
    """

    kind: Kind
    body: bytes
    dialect: Dialect
    tenant: str
    key_id: str
    allowed_models: tuple[str, ...] | None
    session: str
    tags: tuple[str, ...]
    namespace: str
    parts: tuple[Part, ...]
    wait_s: float
    ttl_s: float
    cost_nanousd: int
    pipeline: str = ""
    is_chat: bool = False
    routed_model: str = ""
    route: str = ""
    epoch: int = 0
    transcript: str = ""


_decoder = msgspec.msgpack.Decoder(Kept)
_encoder = msgspec.msgpack.Encoder()


def encode(kept: Kept) -> bytes:
    """Return the stored form."""
    return _encoder.encode(kept)


def decode(raw: bytes | None) -> Kept | None:
    """Return the request, None for no bytes and for bytes that are none: another version's, or damaged."""
    try:
        return None if raw is None else _decoder.decode(raw)
    except msgspec.DecodeError:
        return None


def kept_key(key: str, *, tenant: str) -> str:
    """Return the store's key; the tenant is its hash tag, as the answer's."""
    return f"{PREFIX}{tenant}}}:{key}"


def split_key(name: str) -> tuple[str, str]:
    """Return (tenant, key) of a store's key."""
    tenant, _, key = name.removeprefix(PREFIX).rpartition("}:")
    return tenant, key


def due_key(tenant: str) -> str:
    """Return the sorted set of a tenant's kept requests by when they expire."""
    return f"foreword:asked-due:{{{tenant}}}"


def sizes_key(tenant: str) -> str:
    """Return the hash of their sizes; the field "" holds the sum."""
    return f"foreword:asked-sizes:{{{tenant}}}"


def learnt_of(tenant: str) -> str:
    """Return the field of NOTES that holds what was learnt of a tenant (warmer/warmer.py writes it)."""
    return f"tenant {tenant}"
