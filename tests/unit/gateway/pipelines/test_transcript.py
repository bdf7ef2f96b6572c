"""Turns are found in the layouts that people paste, and keys see through layout."""

from __future__ import annotations

import pytest

from gateway.pipelines.segments import whole
from gateway.pipelines.transcript import parse_transcript


@pytest.mark.parametrize(
    ("text", "speakers"),
    [
        ("HOLT: Good evening.\nTRUMP: Why not?\n", ["HOLT", "TRUMP"]),
        ("[12:34] Ann Lee: hello\n[12:35] Bob: hi", ["Ann Lee", "Bob"]),
        ("(00:12:34) Ann: hello\n00:12:40 Bob: hi", ["Ann", "Bob"]),
        ("12/03/24, 10:01 - Ann: hello\n12/03/24, 10:02 - Bob: hi", ["Ann", "Bob"]),
        ("Ann — today at 10:01\nhello\nthere\nBob — 03/12/2024 10:02 PM\nhi", ["Ann", "Bob"]),
        ("<ann> hello\n<bob> hi", ["ann", "bob"]),
        ("**Ann:** hello\n**Bob:** hi", ["Ann", "Bob"]),
        ("Ann (10:01): hello\r\nDr. Bob Jones: hi\r\n", ["Ann", "Dr. Bob Jones"]),
        ("An opening.\nAnn: hello", ["", "Ann"]),
        ("Ann: hello\nNote: she smiled\nhttps://example.com: a link", ["Ann"]),
        ("nobody is named here", [""]),
        ("", []),
    ],
)
def test_turns_are_found_in_common_layouts(text: str, speakers: list[str]) -> None:
    transcript = parse_transcript(text)
    assert [turn.speaker for turn in transcript.turns] == speakers
    assert "".join(text[turn.start : turn.end] for turn in transcript.turns) == text


def test_words_begin_after_the_label() -> None:
    text = "[12:34] Ann: hello"
    (turn,) = parse_transcript(text).turns
    assert text[turn.words_at :] == " hello"


def test_the_key_text_ignores_label_case_timestamps_and_white_space() -> None:
    one = whole(parse_transcript("[12:34] ANN: We  must\n act.\n[12:35] Bob: No."))
    other = whole(parse_transcript("Ann: We must act.\n\n\nBOB:   No.\n"))
    assert one.key_text == other.key_text


def test_the_key_text_tells_speakers_and_words_apart() -> None:
    texts = ["Ann: We must act.", "Bob: We must act.", "Ann: We must not act.", "We must act."]
    assert len({whole(parse_transcript(text)).key_text for text in texts}) == 4


def test_the_speaker_at_an_offset_is_the_turns() -> None:
    text = "An opening.\nAnn: hello\nBob: hi\n"
    transcript = parse_transcript(text)
    found = [transcript.speaker_at(text.index(word)) for word in ("opening", "hello", "hi\n")]
    assert found == ["", "Ann", "Bob"]
