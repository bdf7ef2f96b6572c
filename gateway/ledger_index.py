"""Where in the ledger's stream a request is, for /explain: a ring of slots in one hash, bounded whatever the traffic.

Written by whoever rolls the stream into files, so that no request pays for it. A later request may take an earlier
one's slot: of the newest n requests about exp(-n / SLOTS) are found, 99 % of a thousand. Whoever looks must compare
tenant and id.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final

import msgspec

INDEX: Final = "foreword:explain"
SLOTS: Final = 1 << 17
"""At most about 10 MB of Redis."""


class _Named(msgspec.Struct):
    """The part of an entry that says whose it is."""

    request_id: str
    tenant: str = ""


_decoder = msgspec.json.Decoder(_Named)


def index_of(stream: str) -> str:
    """Return the hash that holds a stream's places."""
    return f"{INDEX}:{stream}"


def slot_of(tenant: str, request_id: str) -> str:
    """Return the field of the hash that a request's place is kept in."""
    return f"{zlib.crc32(request_id.encode(), zlib.crc32(tenant.encode())) % SLOTS:x}"


def places(entries: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
    """Return what to set for entries (stream id, bytes); damaged ones have no place."""
    found: dict[str, bytes] = {}
    for name, entry in entries:
        try:
            named = _decoder.decode(entry)
        except msgspec.DecodeError:
            continue
        found[slot_of(named.tenant, named.request_id)] = name.encode()
    return found


def just_before(name: str) -> str:
    """Return the greatest stream id before `name`, so that reading after it begins with `name`."""
    ms, _, number = name.partition("-")
    return f"{ms}-{int(number) - 1}" if int(number) else f"{int(ms) - 1}-{2**63}"
