"""What the load generator is told and what it tells, as values that travel as one line of JSON each."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of request: `before`, eight digits, `after` is its body.

    `cycle` 0 numbers every request anew, N repeats N numbers; `repeat` gives so many in a row the same number.
    `keys` are the callers' secrets, taken in turn. `expect` is lower-case text that the answer's head should hold
    (counted in `expected`), `statuses` are those that are right. `leave_after` N: hang up after N reads of the answer,
    0 at once.
    """

    name: str
    before: bytes
    after: bytes
    path: str = "/v1/chat/completions"
    keys: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    cycle: int = 0
    repeat: int = 1
    weight: float = 1.0
    expect: str = ""
    statuses: tuple[int, ...] = (200,)
    leave_after: int | None = None


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `rate` 0 is a closed loop of `connections`; else so many requests a second come at random (Poisson).

    It ends after `seconds` or `requests`, whichever is sooner (0: does not count), and waits for what is under way.
    """

    port: int
    kinds: tuple[Kind, ...]
    connections: int = 32
    seconds: float = 0.0
    requests: int = 0
    rate: float = 0.0
    seed: int = 0


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a run saw. Latencies in milliseconds from the request's last byte sent to the answer's last byte read.

    `late_p99_ms` is by how much the generator itself was late in an open loop; `reads` are reads per answer: of a
    stream that a server passes on event by event as many as it has events. `sample` is the body of a wrong answer.
    """

    requests: int
    elapsed_s: float
    statuses: dict[str, int]
    kinds: dict[str, int]
    expected: int
    wrong: int
    broken: int
    left: int
    sample: str
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    late_p99_ms: float
    reads: float


def percentile(ascending: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values lie, 0 without any."""
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))] if ascending else 0.0
