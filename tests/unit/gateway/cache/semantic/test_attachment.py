"""How a long text and the question about it are told apart."""

from __future__ import annotations

import pytest

from gateway.cache.semantic.attachment import split_parts, split_text

TALK = "MODERATOR: Good evening to all of you.\nADA: Taxes must fall, as my friend well knows.\n" * 12
ASKED = "Who argues against the tax?"


@pytest.mark.parametrize(
    "message",
    [
        f"Transcript:\n{TALK}\n\nQuestion: {ASKED}",
        f"{TALK}\n\nQ: {ASKED}",
        f"{TALK}\n## Question:\n{ASKED}",
        f"{ASKED}\n\nTranscript:\n{TALK}",
        f"{ASKED}\n\nText: {TALK}",
        f"<transcript>\n{TALK}</transcript>\n{ASKED}",
        f"{ASKED}\n<document>{TALK}</document>",
        f'{ASKED}\n"""\n{TALK}\n"""',
        f"---\n{TALK}\n---\n{ASKED}",
    ],
)
def test_a_label_a_tag_or_a_fence_tells_them_apart(message: str) -> None:
    found = split_text(message)

    assert found.question == ASKED
    assert TALK.strip() in found.attachment


@pytest.mark.parametrize(
    "message",
    [
        f"{TALK}\n{ASKED}",
        f"{ASKED}\n{TALK}",
        f"Be brief.\n<document>{TALK}</document>\n{ASKED}",
        f"Transcript:\n{TALK}",
        f"Question: {ASKED}\n{TALK}",
    ],
)
def test_without_one_the_whole_text_stays_the_question(message: str) -> None:
    found = split_text(message)

    assert (found.question, found.attachment) == (message.strip(), "")


def test_a_short_text_is_never_cut() -> None:
    assert split_text("Text: a b\nQuestion: who?").attachment == ""


def test_all_parts_but_the_last_are_attached() -> None:
    found = split_parts([TALK, "more", ASKED])

    assert found is not None
    assert found.question == ASKED
    assert split_parts([]) is None


def test_moving_text_between_parts_changes_the_attachment() -> None:
    attachments = {
        found.attachment
        for parts in (["ab", "c", ASKED], ["a", "bc", ASKED], ["abc", ASKED], ["a\0" + "2:bc", ASKED])
        if (found := split_parts(parts))
    }
    assert len(attachments) == 4
