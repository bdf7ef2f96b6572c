"""Segments tile the text, stay below max, and change little when the text does."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from gateway.pipelines.segments import Segment, Sizes, cut
from gateway.pipelines.transcript import parse_transcript

SIZES = Sizes(min=200, target=400, max=900)

words = st.text(alphabet="ab é🚊.!?\t", min_size=0, max_size=300)
speakers = st.sampled_from(["ANN", "Bob Lee", "[12:34] Cem", "<dee>"])
turns = st.tuples(speakers, words).map(lambda pair: f"{pair[0]}{'' if pair[0].endswith('>') else ':'} {pair[1]}\n")
texts = st.one_of(
    st.lists(turns, max_size=25).map("".join),
    st.text(max_size=3000),
    st.text(alphabet="ab \n:", min_size=900, max_size=4000),
)


def segments_of(text: str) -> tuple[Segment, ...]:
    return cut(parse_transcript(text), SIZES)


@given(texts)
def test_segments_tile_the_text_and_none_is_above_max(text: str) -> None:
    segments = segments_of(text)
    assert "".join(text[segment.start : segment.end] for segment in segments) == text
    assert all(0 < segment.end - segment.start <= SIZES.max for segment in segments)


@given(st.lists(turns, min_size=1, max_size=40), turns)
def test_an_appended_turn_leaves_all_but_the_last_segment_alone(before: list[str], turn: str) -> None:
    old = segments_of("".join(before))
    new = segments_of("".join(before) + turn)
    assert new[: len(old) - 1] == old[:-1]


def debate(count: int, rng: random.Random) -> list[str]:
    vocabulary = [f"word{number}" for number in range(500)]
    return [
        f"{rng.choice(['ANN', 'BOB'])}: {' '.join(rng.choices(vocabulary, k=rng.randint(2, 60)))}.\n"
        for _ in range(count)
    ]


def test_an_inserted_turn_changes_few_segments() -> None:
    rng = random.Random(20)
    lines = debate(300, rng)
    changed = 0
    old = {segment.key_text for segment in segments_of("".join(lines))}
    assert len(old) > 60
    for place in range(0, 300, 20):
        new = {
            segment.key_text for segment in segments_of("".join([*lines[:place], "EVE: A new word.\n", *lines[place:]]))
        }
        changed += len(new - old)
    assert changed / 15 < 4


def test_other_layouts_of_the_same_words_have_the_same_keys() -> None:
    lines = debate(100, random.Random(4))
    plain = segments_of("".join(lines))
    stamped = segments_of(
        "".join(f"[{at:02d}:00]  {line.lower().replace(' ', '  ', 3)}" for at, line in enumerate(lines))
    )
    same = {segment.key_text.lower() for segment in plain} & {segment.key_text.lower() for segment in stamped}
    assert len(same) > 0.8 * len(plain)


def test_a_long_turn_is_cut_at_sentences_and_keeps_its_speaker() -> None:
    text = "ANN: " + "This is a sentence of the speech. " * 100
    segments = segments_of(text)
    assert len(segments) > 2
    assert [segment.continues for segment in segments] == [None, *["ANN"] * (len(segments) - 1)]
    assert all(text[segment.start :].startswith("This is") for segment in segments[1:])
