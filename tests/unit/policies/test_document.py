from __future__ import annotations

import pytest

from policies.document import MAX_BYTES, Document, DocumentError, decode, parse, path_text


def problems_of(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        parse(text, source="f.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_values_are_plain_and_know_their_lines() -> None:
    document = parse("a: 1\nb:\n  - x: true\n    y: text\n  - 2.5\n", source="f.yaml")
    assert document.value == {"a": 1, "b": [{"x": True, "y": "text"}, 2.5]}
    assert [document.line(path) for path in (("a",), ("b",), ("b", 0, "y"), ("b", 1))] == [1, 2, 4, 5]


def test_a_path_that_does_not_exist_has_the_line_of_what_is_around_it() -> None:
    document = parse("a:\n  b: 1\n", source="f.yaml")
    assert document.line(("a", "absent", 3)) == 1
    assert document.line(("absent",)) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-06", 1e-06),
        (".5", 0.5),
        ("1_000", 1000),
        ("-7", -7),
        ("off", False),
        ("Yes", True),
        ("~", None),
        ("", None),
        ("2024-02-01", "2024-02-01"),
        ("1:30", "1:30"),
        ("007", "007"),
        (".inf", ".inf"),
        ("'1'", "1"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_a_scalar_is_what_an_operator_would_take_it_for(text: str, value: object) -> None:
    assert parse(f"key: {text}\n", source="f.yaml").value == {"key": value}


def test_keys_are_text_whatever_they_look_like() -> None:
    assert parse("on: 1\n5: 2\nnull: 3\n", source="f.yaml").value == {"on": 1, "5": 2, "null": 3}


def test_every_duplicate_key_is_an_error_that_names_both_lines() -> None:
    assert problems_of("a: 1\na: 2\nb: {c: 1,\n c: 2}\n") == [
        "f.yaml:2: a: given twice: remove one (the first is on line 1)",
        "f.yaml:4: b.c: given twice: remove one (the first is on line 3)",
    ]


def test_merge_keys_add_what_is_absent() -> None:
    text = "base: &base {a: 1, b: 2}\nother: &other {b: 5, c: 6}\none: {<<: [*base, *other], b: 3}\n"
    value = parse(text, source="f.yaml").value
    assert isinstance(value, dict)
    assert value["one"] == {"a": 1, "b": 3, "c": 6}


def test_merging_something_else_than_a_mapping_is_an_error() -> None:
    assert problems_of("a: {<<: 5}\n") == ["f.yaml:1: a.<<: not a mapping: merge a mapping: <<: *name"]


def test_aliases_that_multiply_are_refused_without_being_expanded() -> None:
    levels = "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    (problem,) = problems_of("a0: &a0 [1,2,3,4,5,6,7,8,9]\n" + levels)
    assert "too much data: at most 50000 values" in problem


def test_an_alias_of_itself_is_refused() -> None:
    (problem,) = problems_of("a: &a [*a]\n")
    assert "too much data" in problem


@pytest.mark.parametrize("text", ["[" * 5000, "{a: " * 5000, "- " * 5000])
def test_deep_nesting_is_refused_before_the_stack_ends(text: str) -> None:
    (problem,) = problems_of(text)
    assert "nested deeper than 64 levels" in problem


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a:\n\tb: 1\n", 2, "indent with spaces, not tabs"),
        ("a: 1\nb: [1\nc", 3, "valid YAML"),
        ("a: 1\nb: !!python/object/apply:os.system [true]\n", 2, "without tags"),
        ("a: !!str 1\n", 1, "without tags"),
        ("--- 1\n--- 2\n", 2, "one document"),
        ("a: 1\nb: *nowhere\n", 2, "undefined alias"),
        ("a: 1\nb: \x00\n", 2, "printable UTF-8 text"),
        ("? [1]\n: 2\n", 1, "keys must be text"),
        ("a: 1\n%FOO\n", 3, "valid YAML"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_with_its_line(text: str, line: int, part: str) -> None:
    (problem,) = problems_of(text)
    assert problem.startswith(f"f.yaml:{line}: ")
    assert part in problem


def test_a_text_of_more_than_a_mebibyte_is_refused() -> None:
    (problem,) = problems_of("#" * (MAX_BYTES + 1))
    assert f"at most {MAX_BYTES} bytes" in problem
    assert parse("#" * MAX_BYTES, source="f.yaml").value is None


def test_bytes_that_are_no_utf8_are_refused_with_their_line() -> None:
    with pytest.raises(DocumentError) as caught:
        decode(b"a: 1\nb: caf\xe9\n", source="f.yaml")
    assert str(caught.value) == "f.yaml:2: (file): byte 0xe9: save the file as UTF-8"
    assert decode(b"\xef\xbb\xbfa: 1", source="f.yaml") == "a: 1"


def test_a_path_is_written_the_way_people_do() -> None:
    assert path_text(("routes", 0, "cache", "exact_ttl")) == "routes[0].cache.exact_ttl"
    assert path_text(()) == "(file)"


def test_a_problem_names_file_line_key_value_and_what_is_right() -> None:
    document = Document(source="f.yaml", value={}, lines={("a",): 14})
    assert str(document.problem(("a",), "-5", "must be >= 0")) == "f.yaml:14: a: -5: must be >= 0"
