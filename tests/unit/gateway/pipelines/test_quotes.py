"""A quote is in the caller's text or it is gone; spans and speakers come from the text."""

from __future__ import annotations

from gateway.pipelines.quotes import Checked, check_quotes, find_quote
from gateway.pipelines.transcript import parse_transcript

TEXT = "ANN: It’s the “best” plan,\n  and 🚊 trams work. Wrong.\nBOB: Wrong. It is art, not a part.\n"


def check(*items: object, start: int = 0, end: int = len(TEXT)) -> Checked:
    return check_quotes(
        {"claims": list(items)}, fields=["claims"], transcript=parse_transcript(TEXT), start=start, end=end
    )


def kept(checked: Checked) -> list[object]:
    claims = checked.result["claims"]
    assert isinstance(claims, list)
    return claims


def test_white_space_and_quote_marks_may_differ_and_the_texts_own_characters_are_returned() -> None:
    checked = check({"speaker": "ANN", "quote": '"It\'s the "best" plan, and 🚊 trams work."'})
    quote = "It’s the “best” plan,\n  and 🚊 trams work."
    start = TEXT.index(quote)
    assert kept(checked) == [{"speaker": "ANN", "quote": quote, "span": {"start": start, "end": start + len(quote)}}]
    assert checked.dropped_quotes == 0


def test_what_is_not_there_is_dropped_and_counted() -> None:
    changed = ["It’s the best plan", "it’s the “best” plan", "It’s … plan", "", "  ", "ar", 7]
    checked = check(*({"speaker": "ANN", "quote": quote} for quote in changed), "no item")
    assert kept(checked) == []
    assert checked.dropped_quotes == 8


def test_spans_are_recomputed_whatever_the_model_said() -> None:
    checked = check({"speaker": "BOB", "quote": "not a part", "span": {"start": 9999, "end": -1}})
    at = TEXT.index("not a part")
    assert kept(checked) == [{"speaker": "BOB", "quote": "not a part", "span": {"start": at, "end": at + 10}}]


def test_of_several_places_the_named_speakers_is_taken() -> None:
    (item,) = kept(check({"speaker": "bob", "quote": "Wrong."}))
    at = TEXT.rindex("Wrong.")
    assert item == {"speaker": "BOB", "quote": "Wrong.", "span": {"start": at, "end": at + 6}}


def test_a_quote_put_into_the_wrong_mouth_is_given_back() -> None:
    checked = check({"speaker": "ANN", "quote": "It is art"})
    assert kept(checked) == kept(check({"speaker": "BOB", "quote": "It is art"}))
    assert checked.corrected_speakers == 1


def test_only_the_segment_is_searched() -> None:
    checked = check({"speaker": "BOB", "quote": "It is art"}, end=TEXT.index("BOB"))
    assert checked.dropped_quotes == 1


def test_quotes_match_whole_words() -> None:
    assert find_quote(TEXT, "art", start=0, end=len(TEXT)) == [(TEXT.index("art"), TEXT.index("art") + 3)]


def test_pattern_characters_in_a_quote_mean_themselves() -> None:
    assert find_quote("a (b) c.*", "(b) c.*", start=0, end=9) == [(2, 9)]
    assert find_quote("abc", ".*", start=0, end=3) == []
