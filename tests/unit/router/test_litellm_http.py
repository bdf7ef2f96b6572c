"""What LiteLLM gets to read of a provider's body: all of it but broken events, however the pieces are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.litellm_http import EventBody, TooLarge, WholeBody

GOOD = (
    b'event: ping\ndata: {"type": "ping"}\n\n',
    b'data: {"text": "\xc3\xa4\\n\\n"}\r\n\r\n',
    b": a comment\n\n",
    b'data: {"a":\ndata: [1]}\n\n',
    b'data: {"logprob": -Infinity}\n\n',
    b"event: done\n\n",
    b"data: [DONE]\n\n",
    b'data:{"no": "space"}\r\r',
)
BROKEN = (
    b'event: delta\ndata: {"type": "del\n\n',
    b"data: 42\r\n\r\n",
    b"data: <html>\n\n",
    b'data: ["a", "list"]\n\n',
)


def passed(body: EventBody, data: bytes, cuts: list[int]) -> bytes:
    """Feed `data` cut at these places, and return what went on."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    parts = [data[start:end] for start, end in pairwise(places)]
    return b"".join([*(body.feed(part) for part in parts), body.end()])


@given(st.lists(st.sampled_from(GOOD + BROKEN), max_size=12), st.lists(st.integers(0, 999), max_size=20))
def test_every_event_goes_on_as_it_came_but_the_broken_ones_and_those_are_counted(
    events: list[bytes], cuts: list[int]
) -> None:
    body = EventBody()
    assert passed(body, b"".join(events), cuts) == b"".join(event for event in events if event in GOOD)
    assert body.malformed_events == sum(event in BROKEN for event in events)


@pytest.mark.parametrize("rest", [b'data: {"whole": 1}', b'data: {"whole": 1}\n'])
def test_an_event_whose_blank_line_was_forgotten_at_the_end_goes_on(rest: bytes) -> None:
    body = EventBody()
    assert passed(body, GOOD[0] + rest, []) == GOOD[0] + rest


def test_a_piece_of_an_event_at_the_end_is_left_out_and_is_no_malformed_event() -> None:
    body = EventBody()
    assert passed(body, GOOD[0] + BROKEN[0][:20], []) == GOOD[0]
    assert body.malformed_events == 0


def test_an_event_without_end_is_refused_and_so_is_a_body() -> None:
    events, whole = EventBody(max_event_bytes=64), WholeBody(64)
    with pytest.raises(TooLarge):
        passed(events, b"data: " + b"x" * 100, [30, 60, 90])
    assert whole.feed(b"x" * 64) == b"x" * 64
    with pytest.raises(TooLarge):
        whole.feed(b"x")
