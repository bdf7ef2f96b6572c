"""Which of a Cluster's servers has a key: slots, the map of them, and what redirections say. Pure.

Source: the Redis Cluster specification (CRC16 of the key or its hash tag, modulo 16,384).
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from gateway.redis_replies import elements, integer, optional
from gateway.waiting import Command

SLOTS: Final = 16_384
SCHEMES: Final = {"cluster": "redis", "clusters": "rediss"}
"""A Cluster's URL schemes (the second with TLS), and what its servers' own URLs begin with."""
_KEYLESS: Final = frozenset({"SCAN", "CLUSTER", "PING", "INFO", "SCRIPT"})
_SCRIPTED: Final = frozenset({"EVAL", "EVALSHA"})

Address = tuple[str, int]


def slot_of(key: str | bytes) -> int:
    """Return the key's slot: of what is between its first { and the next }, where that is not empty."""
    data = key.encode() if isinstance(key, str) else key
    opened = data.find(b"{")
    if opened >= 0:
        closed = data.find(b"}", opened + 1)
        if closed > opened + 1:
            data = data[opened + 1 : closed]
    return binascii.crc_hqx(data, 0) % SLOTS


def slot_of_command(command: Command) -> int | None:
    """Return the slot of the command's first key, None where it names none. All its keys must share the slot."""
    if command[0] in _SCRIPTED:
        key = command[3] if len(command) > 3 and command[2] != 0 else None
    elif command[0] in _KEYLESS:
        key = None
    else:
        key = command[1] if len(command) > 1 else None
    return slot_of(key) if isinstance(key, str | bytes) else None


def slot_map(reply: object, *, asked: Address) -> list[Address | None]:
    """Read the reply to CLUSTER SLOTS: each slot's primary, None where nobody has it. Raises StoreUnavailable.

    A server that does not know its own address is the one that was `asked`.
    """
    owners: list[Address | None] = [None] * SLOTS
    for entry in elements(reply):
        first, last, primary, *_ = elements(entry)
        host, port, *_ = elements(primary)
        named = (optional(host) or b"").decode()
        owner = (named or asked[0], integer(port))
        begin, end = integer(first), integer(last) + 1
        owners[begin:end] = [owner] * (end - begin)
    return owners


def redirected(to: str, *, asked: Address) -> tuple[int, Address] | None:
    """Read what follows MOVED or ASK: the slot and its server; None where it is neither."""
    slot, _, address = to.partition(" ")
    host, _, port = address.rpartition(":")
    if not slot.isdecimal() or int(slot) >= SLOTS or not port.isdecimal():
        return None
    return int(slot), (host or asked[0], int(port))


def seeds_of(url: str) -> tuple[tuple[Address, ...], str]:
    """Take a Cluster's URL apart: the servers to ask first, and a server's URL with {} for its host and port.

    `cluster://[user:password@]host[:port][,host[:port]…][?options]`. Raises ValueError, which quotes nothing secret.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError("redis URL: a Cluster's begins with cluster:// or clusters://")
    if parts.path not in ("", "/", "/0"):
        raise ValueError("redis URL: a Cluster has one database only: must end after the port, or in /0")
    login, at, hosts = parts.netloc.rpartition("@")
    seeds = tuple(_address(host) for host in hosts.split(","))
    query = f"?{parts.query}" if parts.query else ""
    template = f"{SCHEMES[parts.scheme]}://{login.replace('{', '{{').replace('}', '}}')}{at}{{}}{query}"
    return seeds, template


def shown(address: Address) -> str:
    """Return host:port as URLs and log lines have it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def owners_of(owners: Sequence[Address | None]) -> tuple[Address, ...]:
    """Return every server of a map once."""
    return tuple(dict.fromkeys(owner for owner in owners if owner is not None))


def _address(text: str) -> Address:
    found = urlsplit(f"//{text}")
    if not found.hostname:
        raise ValueError("redis URL: a Cluster's must name servers: cluster://host:port,host:port")
    return found.hostname, found.port or 6379
