"""What ledger entries name by version, kept once each beside them: policy texts and catalogues.

Written before the first entry that names it. Must not make a request wait: `version_of` only remembers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from policies.decision import catalogue_text, fingerprint
from policies.model import Catalogue, Policy

POLICIES: Final = "foreword:policy-texts"
CATALOGUES: Final = "foreword:catalogues"


class Hashes(Protocol):
    """Hashes shared by every worker. Raises StoreUnavailable."""

    async def hash_set(self, key: str, field: str, value: bytes, *, only_new: bool = False) -> bool: ...


class PolicyText(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a policy file; its version is its text's hash."""

    name: str
    source: str
    text: str


class Archive:
    """Remembers what is in use, and writes each version once; a version that could not be written waits."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, str, bytes]] = []
        self._kept: set[tuple[str, str]] = set()
        self._latest: Catalogue | None = None
        self._latest_version = ""

    def note(self, policy: Policy) -> None:
        """Keep the text of a policy that serves a request; 60 ns for one that is kept."""
        if (POLICIES, policy.version) not in self._kept:
            kept = PolicyText(name=policy.name, source=policy.source, text=policy.text)
            self._keep(POLICIES, policy.version, msgspec.json.encode(kept))

    def version_of(self, catalogue: Catalogue) -> str:
        """Return the fingerprint of `catalogue`, which is not changed once made; 30 ns for the one asked before."""
        if catalogue is not self._latest:
            text = catalogue_text(catalogue)
            self._latest, self._latest_version = catalogue, fingerprint(text)
            self._keep(CATALOGUES, self._latest_version, text)
        return self._latest_version

    async def flush(self, store: Hashes) -> None:
        """Write what is new. Raises StoreUnavailable, and keeps what was not written; so does cancel."""
        while self._waiting:
            key, version, text = self._waiting[0]
            await store.hash_set(key, version, text)
            self._waiting.pop(0)

    def _keep(self, key: str, version: str, text: bytes) -> None:
        if (key, version) not in self._kept:
            self._kept.add((key, version))
            self._waiting.append((key, version, text))


def policy_texts(stored: Mapping[str, bytes]) -> dict[str, PolicyText]:
    """Return the readable ones of the hash `POLICIES`, by version."""
    found: dict[str, PolicyText] = {}
    for version, text in stored.items():
        try:
            found[version] = msgspec.json.decode(text, type=PolicyText)
        except msgspec.DecodeError:
            continue
    return found
