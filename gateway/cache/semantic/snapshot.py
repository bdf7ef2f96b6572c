"""A class's state as bytes and back, so that nobody has to fold its log from the beginning.

Must not interpret what it carries.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.cache.semantic.answers import AnswerEvidence
from gateway.cache.semantic.cuts import CUTS, Rolling, RollingCounts, Window
from gateway.cache.semantic.free_text import Similarities
from gateway.cache.semantic.logistic import Pooled
from gateway.cache.semantic.state import ClassState, Totals

VERSION: Final = 2
Floats = npt.NDArray[np.float64]


class SnapshotUnreadable(Exception):
    """The bytes are none of ours, of another version, or of a model with other features: start from the log."""


class _Window(msgspec.Struct, frozen=True, array_like=True):
    pairs: bytes
    labels: bytes
    wrong: bytes
    requests: int


class _Saved(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    mean: bytes
    covariance: bytes
    windows: tuple[_Window, _Window]
    floor: RollingCounts
    similarities: Similarities
    answers: dict[str, AnswerEvidence]
    cut: int | None
    hit_labels: int
    drift_level: float
    since_evaluated: int
    day: int
    spent_nanousd: int
    verify_spent_nanousd: int
    totals: Totals


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Saved)


def encode_state(state: ClassState) -> bytes:
    """Return the state's bytes: 10 KB and up to 300 for each answer remembered."""
    return _ENCODER.encode(
        _Saved(
            version=VERSION,
            mean=state.model.mean.tobytes(),
            covariance=state.model.covariance.tobytes(),
            windows=(_saved(state.windows.current), _saved(state.windows.following)),
            floor=state.floor,
            similarities=state.similarities,
            answers=dict(state.answers),
            cut=state.cut,
            hit_labels=state.hit_labels,
            drift_level=state.drift_level,
            since_evaluated=state.since_evaluated,
            day=state.day,
            spent_nanousd=state.spent_nanousd,
            verify_spent_nanousd=state.verify_spent_nanousd,
            totals=state.totals,
        )
    )


def decode_state(data: bytes, *, features: int) -> ClassState:
    """Return the state of `encode_state`'s bytes; `features` is how many the model must have.

    Raises SnapshotUnreadable.
    """
    try:
        saved = _DECODER.decode(data)
    except msgspec.DecodeError as error:
        raise SnapshotUnreadable(str(error)) from error
    if saved.version != VERSION or len(saved.mean) != 8 * features:
        raise SnapshotUnreadable(f"version {saved.version} with {len(saved.mean) // 8} features")
    return ClassState(
        model=Pooled(mean=_floats(saved.mean), covariance=_floats(saved.covariance).reshape(features, features)),
        windows=Rolling(current=_window(saved.windows[0]), following=_window(saved.windows[1])),
        floor=saved.floor,
        similarities=saved.similarities,
        answers=saved.answers,
        cut=saved.cut,
        hit_labels=saved.hit_labels,
        drift_level=saved.drift_level,
        since_evaluated=saved.since_evaluated,
        day=saved.day,
        spent_nanousd=saved.spent_nanousd,
        verify_spent_nanousd=saved.verify_spent_nanousd,
        totals=saved.totals,
    )


def _saved(window: Window) -> _Window:
    return _Window(window.pairs.tobytes(), window.labels.tobytes(), window.wrong.tobytes(), window.requests)


def _window(saved: _Window) -> Window:
    pairs, labels, wrong = (_floats(data) for data in (saved.pairs, saved.labels, saved.wrong))
    if not pairs.size == labels.size == wrong.size == len(CUTS):
        raise SnapshotUnreadable(f"{pairs.size} cuts instead of {len(CUTS)}")
    return Window(pairs=pairs, labels=labels, wrong=wrong, requests=saved.requests)


def _floats(data: bytes) -> Floats:
    return np.frombuffer(data, dtype=np.float64)
