"""Which sessions are under the new version: sticky buckets. Pure."""

from __future__ import annotations

import hashlib


def bucket_of(salt: str, policy: str, session: str) -> float:
    """Return the session's place in [0, 100): below a step's per cent it is under the new version.

    The same for the same salt, policy and session everywhere, so that whoever is in 5 % stays in 25 %.
    """
    digest = hashlib.sha256(f"{salt}\0{policy}\0{session}".encode()).digest()
    return int.from_bytes(digest[:7]) / 2**56 * 100.0
