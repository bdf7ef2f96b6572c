"""One judged answer, and what must be remembered of a decision until somebody judges it: values and their bytes.

Holds no text: a question is its vector, one byte a number.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

from gateway.ports import StoreUnavailable
from policies.evidence import Arm

Source = Literal["schema", "judge", "feedback"]
"""Who judged: the step's own JSON schema, a sample that was asked again, or the client. Later ones outweigh earlier."""
SOURCES: Final[tuple[Source, ...]] = get_args(Source)


class Decision(msgspec.Struct, frozen=True, array_like=True):
    """Who answered a request, by whose choice. `packed`: the question's vector (basis.pack), empty
    without one."""

    tenant: str
    request_id: str
    policy: str
    policy_version: str
    route: str
    task: str
    group: str
    arm: Arm
    packed: bytes = b""
    has_feedback: bool = False


class Label(msgspec.Struct, frozen=True, array_like=True):
    """The quality of one answer, from 0 to 1, at a Unix time. `space` names the embedder of `packed`."""

    at: float
    quality: float
    source: Source
    request_id: str
    policy: str
    task: str
    group: str
    arm: Arm
    space: str
    packed: bytes = b""


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """Labels that this worker has added since it was last asked, by source, and how many there are in all."""

    by_source: dict[Source, int]
    labels: int


_encoder = msgspec.msgpack.Encoder()
_decisions = msgspec.msgpack.Decoder(Decision)
_labels = msgspec.msgpack.Decoder(Label)


def encode(value: Decision | Label) -> bytes:
    """Return the bytes of either."""
    return _encoder.encode(value)


def decision_of(raw: bytes) -> Decision:
    """Return a stored decision. Raises StoreUnavailable where another release wrote it."""
    try:
        return _decisions.decode(raw)
    except msgspec.DecodeError as error:
        raise StoreUnavailable("a stored decision cannot be read by this release") from error


def label_of(raw: bytes) -> Label | None:
    """Return a stored label, None where another release wrote it."""
    try:
        return _labels.decode(raw)
    except msgspec.DecodeError:
        return None


def label_for(decision: Decision, *, quality: float, source: Source, at: float, space: str) -> Label:
    """Return what a judgement of the decision's answer teaches."""
    return Label(
        at=at,
        quality=min(1.0, max(0.0, quality)),
        source=source,
        request_id=f"{decision.tenant}/{decision.request_id}",
        policy=decision.policy,
        task=decision.task,
        group=decision.group,
        arm=decision.arm,
        space=space if decision.packed else "",
        packed=decision.packed,
    )
