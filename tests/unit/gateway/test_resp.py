from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.lane import LinkDown, Refused
from gateway.resp import ReplyReader, pack

REPLIES: st.SearchStrategy[object] = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=40) | st.just(Refused(code="OOM")),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


def wire(reply: object) -> bytes:
    """Encode a reply as Redis does."""
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    if isinstance(reply, Refused):
        return b"-%b command not allowed: 'secret'\r\n" % reply.code.encode()
    assert isinstance(reply, list)
    return b"*%d\r\n" % len(reply) + b"".join(map(wire, reply))


def fed(chunks: Sequence[bytes]) -> list[object]:
    reader = ReplyReader()
    return [reply for chunk in chunks for reply in reader.feed(chunk)]


@given(replies=st.lists(REPLIES, max_size=5), cuts=st.lists(st.integers(0, 400), max_size=8))
def test_replies_are_the_same_wherever_the_bytes_are_cut(replies: list[object], cuts: list[int]) -> None:
    data = b"".join(map(wire, replies))
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert fed([data[start:end] for start, end in pairwise(edges)]) == replies


def test_a_large_value_is_joined_once() -> None:
    value = bytes(range(256)) * 8192
    data = wire(value) + wire(7)
    assert fed([data[at : at + 1000] for at in range(0, len(data), 1000)]) == [value, 7]


def test_a_simple_string_is_bytes_and_an_error_is_its_first_word() -> None:
    assert fed([b"+OK\r\n-WRONGTYPE Operation against a key\r\n-oops the value\r\n*-1\r\n"]) == [
        b"OK",
        Refused(code="WRONGTYPE"),
        Refused(code="ERR"),
        None,
    ]


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n", b"$x\r\n", b"~1\r\n:1\r\n"])
def test_what_is_no_reply_takes_the_link_down(said: bytes) -> None:
    with pytest.raises(LinkDown, match="no RESP"):
        fed([said])


@given(
    commands=st.lists(
        st.lists(
            st.sampled_from(["SET", "PX", "é"]) | st.binary(max_size=600) | st.integers(), min_size=1, max_size=40
        ),
        max_size=4,
    )
)
def test_commands_of_any_length_are_packed_as_arrays_of_bulk_strings(commands: list[list[str | bytes | int]]) -> None:
    def words(command: list[str | bytes | int]) -> list[object]:
        return [word if isinstance(word, bytes) else str(word).encode() for word in command]

    assert pack([tuple(command) for command in commands]) == b"".join(wire(words(command)) for command in commands)


def test_commands_are_packed_with_the_lengths_of_their_bytes() -> None:
    assert pack([("SET", "ké", b"\r\n", "PX", 5)]) == (
        b"*5\r\n$3\r\nSET\r\n$3\r\nk\xc3\xa9\r\n$2\r\n\r\n\r\n$2\r\nPX\r\n$1\r\n5\r\n"
    )
