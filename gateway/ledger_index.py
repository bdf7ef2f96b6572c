"""Where in the ledger's stream a request is, for /explain: a ring of slots in one hash, bounded whatever the traffic.

A later request may take an earlier one's slot: of the newest n requests about exp(-n / SLOTS) are found, 99 % of a
thousand. Whoever looks must compare tenant and id.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final

INDEX: Final = "foreword:explain"
SLOTS: Final = 1 << 17
"""At most about 10 MB of Redis."""


def slot_of(tenant: str, request_id: str) -> str:
    """Return the field of the hash that a request's place is kept in."""
    return f"{zlib.crc32(request_id.encode(), zlib.crc32(tenant.encode())) % SLOTS:x}"


def places(requests: Iterable[tuple[str, str]], ids: Iterable[str]) -> dict[str, bytes]:
    """Return what to set for requests (tenant, id) that were appended under these stream ids."""
    return {slot_of(*request): name.encode() for request, name in zip(requests, ids, strict=True)}


def just_before(name: str) -> str:
    """Return the greatest stream id before `name`, so that reading after it begins with `name`."""
    ms, _, number = name.partition("-")
    return f"{ms}-{int(number) - 1}" if int(number) else f"{int(ms) - 1}-{2**63}"
