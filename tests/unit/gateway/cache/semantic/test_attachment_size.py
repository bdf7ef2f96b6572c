"""Telling a question from a hostile text takes no time: its size and the tags looked for are bounded."""

from __future__ import annotations

from gateway.cache.semantic.attachment import split_text

BLOCK = "<doc>" + "word " * 200 + "</doc>"


def test_a_tagged_block_is_cut_out_behind_tags_that_nobody_closes() -> None:
    split = split_text(BLOCK.replace("word", "<a>x", 3) + " what is it about?")
    assert split.question == "what is it about?"


def test_a_text_of_many_open_tags_is_not_searched_for_the_end_of_each() -> None:
    many = "".join(f"<t{number}>" for number in range(16))
    assert split_text(many + BLOCK).question == many + BLOCK


def test_a_text_too_long_to_be_read_stays_one_question() -> None:
    text = BLOCK.replace("word", "w" * 200) + " what is it about?"
    assert split_text(text).question == text
