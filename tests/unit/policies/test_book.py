from __future__ import annotations

import os
from pathlib import Path

import pytest

from policies.book import PolicyBook, Rejected, Reloaded, Unchanged
from policies.document import DocumentError
from tests.unit.policies.examples import GROUPS, MINIMAL


def text(name: str, tenants: str = '["*"]') -> str:
    return MINIMAL.replace("policy: example", f"policy: {name}\ntenants: {tenants}")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "default.yaml").write_text(text("default"))
    (tmp_path / "zebra.yaml").write_text(text("zebra", '[bot, "team-*"]'))
    return tmp_path


def book_of(directory: Path) -> PolicyBook:
    return PolicyBook(directory, groups=GROUPS)


def test_files_are_asked_by_name_with_default_last(directory: Path) -> None:
    (directory / "eagle.yml").write_text(text("eagle", "[team-1]"))
    policies = book_of(directory).current()
    assert [policy.name for policy in policies.policies] == ["eagle", "zebra", "default"]
    tenants = ("team-1", "team-2", "bot", "anyone")
    assert [policies.for_tenant(tenant).name for tenant in tenants] == ["eagle", "zebra", "zebra", "default"]


def test_the_models_file_and_hidden_files_are_no_policies(directory: Path) -> None:
    (directory / "models.yaml").write_text("model_list: []")
    (directory / "mine.yaml").write_text("model_list: []")
    (directory / ".zebra.yaml").write_text("a half-written")
    (directory / "notes.txt").write_text("-")
    book = PolicyBook(directory, groups=GROUPS, models_file=directory / "mine.yaml")
    assert [policy.name for policy in book.current().policies] == ["zebra", "default"]


def test_files_that_did_not_change_are_unchanged(directory: Path) -> None:
    book = book_of(directory)
    before = book.current()
    os.utime(directory / "zebra.yaml", (1, 1))
    assert book.refresh() == Unchanged()
    assert book.current() is before


def test_a_change_is_found_by_content_even_when_size_and_time_are_the_same(directory: Path) -> None:
    book = book_of(directory)
    before = book.current()
    status = (directory / "zebra.yaml").stat()
    (directory / "zebra.yaml").write_text(text("zebro", '[bot, "team-*"]'))
    os.utime(directory / "zebra.yaml", ns=(status.st_atime_ns, status.st_mtime_ns))
    found = book.refresh()
    assert isinstance(found, Reloaded)
    assert found.policies is book.current()
    assert book.current().for_tenant("bot").name == "zebro"
    assert book.current().version != before.version
    assert before.for_tenant("bot").name == "zebra"


def test_a_configmap_swap_of_a_symbolic_link_is_found(tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "default.yaml").write_text(text(f"default-{version}"))
    (tmp_path / "data").symlink_to(tmp_path / "1")
    book = book_of(tmp_path / "data")
    (tmp_path / "new").symlink_to(tmp_path / "2")
    (tmp_path / "new").rename(tmp_path / "data")
    assert isinstance(book.refresh(), Reloaded)
    assert book.current().for_tenant("x").name == "default-2"


def test_bad_yaml_keeps_the_last_good_policy(directory: Path) -> None:
    book = book_of(directory)
    before = book.current()
    (directory / "zebra.yaml").write_text("version: 1\npolicy: [")
    (directory / "default.yaml").write_text(text("default").replace("version: 1", "version: 2"))
    found = book.refresh()
    assert isinstance(found, Rejected)
    assert [(Path(problem.source).name, problem.line) for problem in found.problems] == [
        ("zebra.yaml", 2),
        ("default.yaml", 1),
    ]
    assert book.current() is before


def test_one_bad_file_keeps_the_good_changes_of_the_others_out(directory: Path) -> None:
    book = book_of(directory)
    (directory / "zebra.yaml").write_text(text("zebra", "[somebody]"))
    (directory / "default.yaml").write_text("")
    assert isinstance(book.refresh(), Rejected)
    assert book.current().for_tenant("bot").name == "zebra"


def test_a_rejection_that_was_told_already_is_not_new(directory: Path) -> None:
    book = book_of(directory)
    (directory / "zebra.yaml").write_text("5")
    first, second = book.refresh(), book.refresh()
    (directory / "zebra.yaml").write_text("x: 6")
    third = book.refresh()
    assert [result.is_new for result in (first, second, third) if isinstance(result, Rejected)] == [True, False, True]


def test_a_bad_file_is_tried_again_until_it_is_good(directory: Path) -> None:
    book = book_of(directory)
    good = (directory / "zebra.yaml").read_text()
    (directory / "zebra.yaml").write_text("5")
    assert isinstance(book.refresh(), Rejected)
    (directory / "zebra.yaml").write_text(good + "# better\n")
    assert isinstance(book.refresh(), Reloaded)
    (directory / "zebra.yaml").write_text("5")
    assert isinstance(book.refresh(), Rejected)
    (directory / "zebra.yaml").write_text(good + "# better\n")
    assert book.refresh() == Unchanged()


def test_a_file_that_is_gone_keeps_the_last_good_policy(directory: Path) -> None:
    book = book_of(directory)
    before = book.current()
    (directory / "zebra.yaml").unlink()
    found = book.refresh()
    assert isinstance(found, Rejected)
    assert "zebra.yaml:1: (file): missing: put it back" in str(found.problems[0])
    assert book.current() is before


def test_a_directory_that_is_gone_keeps_the_last_good_policy(directory: Path) -> None:
    book = book_of(directory)
    before = book.current()
    directory.rename(directory.with_name("elsewhere"))
    found = book.refresh()
    assert isinstance(found, Rejected)
    assert "No such file or directory: a directory with policy files" in str(found.problems[0])
    assert book.current() is before


def test_a_policy_for_nobody_is_retired_without_a_restart(directory: Path) -> None:
    book = book_of(directory)
    (directory / "zebra.yaml").write_text(text("zebra", "[]"))
    assert isinstance(book.refresh(), Reloaded)
    assert book.current().for_tenant("bot").name == "default"


def test_a_new_file_is_put_in_force(directory: Path) -> None:
    book = book_of(directory)
    (directory / "ant.yaml").write_text(text("ant", "[bot]"))
    assert isinstance(book.refresh(), Reloaded)
    assert book.current().for_tenant("bot").name == "ant"


def test_without_a_default_nothing_starts(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text("a"))
    with pytest.raises(DocumentError, match=r"default.yaml:1: \(file\): missing: must be there"):
        book_of(tmp_path)


def test_a_default_that_does_not_apply_to_everyone_is_refused(directory: Path) -> None:
    (directory / "default.yaml").write_text(text("default", "[bot]"))
    with pytest.raises(DocumentError, match=r"default.yaml:1: tenants: bot: must be absent"):
        book_of(directory)


def test_two_files_with_one_name_are_refused(directory: Path) -> None:
    (directory / "ant.yaml").write_text(text("zebra"))
    with pytest.raises(DocumentError, match=r"zebra.yaml:1: policy: zebra: must be unique; .*ant.yaml has it too"):
        book_of(directory)
