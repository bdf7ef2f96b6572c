"""Decodes JSON that others wrote as generously as clients do. Must not be used where strictness protects us."""

from __future__ import annotations

import json

import msgspec


def decode_lenient(data: bytes) -> object:
    """Decode JSON, NaN and lone surrogates allowed as Python's own decoder does. Raises ValueError.

    Some servers cut a surrogate pair in two events, others put -Infinity into logprobs: clients take both.
    """
    try:
        decoded: object = msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        decoded = _decode_slowly(data)
    return decoded


def _decode_slowly(data: bytes) -> object:
    try:
        decoded: object = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return decoded
