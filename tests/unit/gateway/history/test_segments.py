from __future__ import annotations

import resource
from pathlib import Path

import pytest

from gateway.history.segments import DAY_S, START, SegmentsInUse, SegmentWriter, read_segments, read_texts

NOON_MS = int((20_000 * DAY_S + DAY_S / 2) * 1000)


def lines(count: int, *, begin: int = 0, at_ms: int = NOON_MS) -> list[tuple[str, bytes]]:
    return [(f"{at_ms + number}-0", b'{"v":2,"n":%d}' % number) for number in range(begin, begin + count)]


def writer_for(folder: Path, *, segment_bytes: int = 1 << 20, max_bytes: int = 1 << 30, days: int = 7) -> SegmentWriter:
    return SegmentWriter(folder, keep_s=days * DAY_S, max_bytes=max_bytes, segment_bytes=segment_bytes)


def test_what_was_written_is_read_in_order_across_sealed_and_open_files(tmp_path: Path) -> None:
    writer = writer_for(tmp_path, segment_bytes=100)
    for begin in range(0, 40, 4):
        writer.write(lines(4, begin=begin))
    assert len(list(tmp_path.glob("*.gz"))) > 3
    assert list(read_segments(tmp_path)) == lines(40)
    assert [entry for _, entry in read_segments(tmp_path, since_ms=NOON_MS + 33)] == [e for _, e in lines(7, begin=33)]


def test_a_new_day_begins_a_new_file(tmp_path: Path) -> None:
    writer = writer_for(tmp_path)
    writer.write([*lines(2), *lines(2, at_ms=NOON_MS + int(DAY_S * 1000))])
    assert len(list(tmp_path.glob("*.ndjson*"))) == 2
    assert len(list(read_segments(tmp_path))) == 4


@pytest.mark.parametrize("torn", [b"17", b"1728043200005-0 {", b"1728043200005-0 {}"])
def test_a_torn_last_line_is_cut_off_and_written_again(tmp_path: Path, torn: bytes) -> None:
    writer = writer_for(tmp_path)
    writer.write(lines(5))
    writer.close()
    path = next(tmp_path.glob("*.ndjson"))
    path.write_bytes(path.read_bytes() + torn)
    assert list(read_segments(tmp_path)) == lines(5)
    again = writer_for(tmp_path)
    assert again.last_id == lines(5)[-1][0]
    again.write(lines(2, begin=5))
    assert list(read_segments(tmp_path)) == lines(7)


def test_a_crash_while_sealing_neither_loses_nor_doubles(tmp_path: Path) -> None:
    writer = writer_for(tmp_path)
    writer.write(lines(5))
    path = next(tmp_path.glob("*.ndjson"))
    plain = path.read_bytes()
    writer._seal()
    path.write_bytes(plain)  # the moment between renaming the compressed file and removing the other
    writer.close()
    assert list(read_segments(tmp_path)) == lines(5)
    (tmp_path / "1-0.ndjson.gz.part").write_bytes(b"half")
    again = writer_for(tmp_path)
    assert again.last_id == lines(5)[-1][0]
    assert list(read_segments(tmp_path)) == lines(5)
    assert not path.exists()
    assert not list(tmp_path.glob("*.part"))


def test_an_older_open_file_is_sealed_at_the_next_start(tmp_path: Path) -> None:
    for day in (0, 1):
        (tmp_path / f"{NOON_MS + int(day * DAY_S * 1000)}-0.ndjson").write_bytes(
            b"%d-0 {}\n" % (NOON_MS + day * DAY_S * 1000)
        )
    writer_for(tmp_path)
    assert [path.suffix for path in sorted(tmp_path.glob("*.ndjson*"))] == [".gz", ".ndjson"]


def test_age_and_size_bound_what_is_kept_and_the_oldest_goes_first(tmp_path: Path) -> None:
    writer = writer_for(tmp_path, days=2)
    for day in range(5):
        writer.write(lines(3, at_ms=NOON_MS + int(day * DAY_S * 1000)))
    writer.prune(NOON_MS / 1000 + 4 * DAY_S)
    assert len(list(read_segments(tmp_path))) == 12  # the file that holds the edge stays whole
    writer.prune(NOON_MS / 1000 + 4 * DAY_S + 1)
    assert len(list(read_segments(tmp_path))) == 9
    writer.close()
    small = writer_for(tmp_path, days=30, max_bytes=1)
    small.prune(NOON_MS / 1000 + 4 * DAY_S)
    assert len(list(read_segments(tmp_path))) == 3  # the file that is written to is never removed


def test_two_writers_never_share_a_directory(tmp_path: Path) -> None:
    writer = writer_for(tmp_path)
    with pytest.raises(SegmentsInUse, match="another process"):
        writer_for(tmp_path)
    writer.close()
    assert writer_for(tmp_path).last_id == START


def test_a_full_disk_leaves_no_half_line_behind(tmp_path: Path) -> None:
    writer = writer_for(tmp_path)
    writer.write(lines(2))
    size = next(tmp_path.glob("*.ndjson")).stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
    try:
        with pytest.raises(OSError, match="No space"):
            writer.write(lines(2, begin=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.write(lines(2, begin=2))
    assert list(read_segments(tmp_path)) == lines(4)


def test_texts_are_kept_once_by_version_and_by_no_other_name(tmp_path: Path) -> None:
    writer = writer_for(tmp_path)
    writer.keep("policies", {"abc": b"one", "../evil": b"x"})
    writer.keep("policies", {"abc": b"two"})
    assert read_texts(tmp_path, "policies") == {"abc": b"one"}
    assert read_texts(tmp_path, "catalogues") == {}
