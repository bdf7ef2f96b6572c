"""The ledger's entries as files in the data directory: a line an entry, `<stream id> <entry>`, whole files compressed.

The last whole line says how far the writer has come: there is no mark beside it that could disagree. Blocking; one
writer a directory (`open_writer` locks it), any number of readers. Must not interpret entries.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final

OPEN: Final = ".ndjson"
SEALED: Final = ".ndjson.gz"
SEGMENT_BYTES: Final = 16 * 1024**2
DAY_S: Final = 86_400.0
START: Final = "0-0"
_LEVEL: Final = 3
"""Entries repeat themselves: level 3 makes them about a tenth, at 100 MB/s."""

Line = tuple[str, bytes]


class SegmentsInUse(Exception):
    """Another process writes segments in this directory."""


class SegmentWriter:
    """The one writer. `keep_s` and `max_bytes` bound what is kept, by age and size; the oldest files go first.

    A crash, at any point, loses nothing that the stream still has: a torn last line is cut off at the next start, and
    what was not written is read from the stream again. Raises OSError where the disk does not take it.
    """

    def __init__(self, folder: Path, *, keep_s: float, max_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._lock = _locked(folder / "lock")
        self._path: Path | None = None
        self.last_id = self._recover()

    def write(self, lines: Sequence[Line]) -> None:
        """Append lines and bring them to the disk; seal the file where it has grown full or its day has ended."""
        for begin, end in _days(lines):
            part = lines[begin:end]
            if self._path is not None and self._is_over(self._path, part[0][0]):
                self._seal()
            path = self._path or self._folder / f"{_ms(part[0][0]):013d}-{part[0][0].partition('-')[2]}{OPEN}"
            _append(path, b"".join(b"%b %b\n" % (name.encode(), entry) for name, entry in part))
            if self._path is None:
                _sync(self._folder)
            self._path, self.last_id = path, part[-1][0]

    def prune(self, now_s: float) -> None:
        """Remove sealed files whose every entry is too old, then the oldest until the rest fits."""
        held = _segments(self._folder)
        sizes = {path: path.stat().st_size for path in held}
        total = sum(sizes.values())
        for path, following in pairwise(held):
            # A file ends where the next begins.
            if total <= self._max_bytes and _begins_ms(following) >= (now_s - self._keep_s) * 1000:
                return
            total -= sizes[path]
            path.unlink()

    def keep(self, kind: str, texts: Mapping[str, bytes]) -> None:
        """Keep texts that entries name by version, each in a file of its own, once."""
        folder = self._folder / kind
        folder.mkdir(exist_ok=True)
        for version, text in texts.items():
            path = folder / version
            if version.isalnum() and not path.exists():
                _write_whole(path, text)

    def close(self) -> None:
        """Let another process write. Idempotent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _is_over(self, path: Path, next_id: str) -> bool:
        return path.stat().st_size >= self._segment_bytes or _day(_begins_ms(path)) != _day(_ms(next_id))

    def _seal(self) -> None:
        """Compress the file; it is there twice for a moment, never not at all."""
        path, self._path = self._path, None
        if path is not None:
            _write_whole(_sealed(path), gzip.compress(path.read_bytes(), _LEVEL, mtime=0))
            path.unlink()

    def _recover(self) -> str:
        """Finish what a crash interrupted and return the id of the last entry held."""
        for path in self._folder.glob("*.part"):
            path.unlink()
        for path in self._folder.glob(f"*{OPEN}"):
            if _sealed(path).exists():
                path.unlink()
        held = _segments(self._folder)
        for path in held:
            if path.suffix != ".gz":
                _cut_torn_line(path)
        for path in held[:-1]:
            if path.suffix != ".gz":
                self._path = path
                self._seal()
        if not held:
            return START
        last = held[-1]
        if last.suffix != ".gz":
            self._path = last
        return max((name for name, _ in _lines(last)), key=id_key, default=START)


def read_segments(folder: Path, *, since_ms: int = 0) -> Iterator[Line]:
    """Yield whole lines in the order of their ids, from the file that `since_ms` is in on.

    May run beside a writer: what it seals or removes meanwhile is read once, or not at all.
    """
    held = _segments(folder)
    after = (-1, -1)
    for place, path in enumerate(held):
        if place + 1 < len(held) and _begins_ms(held[place + 1]) < since_ms:
            continue
        for name, entry in _lines(path):
            if id_key(name) > after:
                after = id_key(name)
                if after[0] >= since_ms:
                    yield name, entry


def read_texts(folder: Path, kind: str) -> dict[str, bytes]:
    """Return the texts that `SegmentWriter.keep` kept, by version."""
    place = folder / kind
    return {path.name: path.read_bytes() for path in place.iterdir() if path.name.isalnum()} if place.is_dir() else {}


def id_key(name: str) -> tuple[int, int]:
    """Return a stream id as what it is ordered by."""
    ms, _, number = name.partition("-")
    return int(ms), int(number or 0)


def _lines(path: Path) -> Iterator[Line]:
    """Yield the whole lines of a file; nothing after a damaged one."""
    file = _opened(path)
    if file is None and path.suffix != ".gz":
        file = _opened(_sealed(path))  # sealed since the folder was listed
    if file is None:
        return
    with file:
        try:
            for line in file:
                name, _, entry = line.partition(b" ")
                if not line.endswith(b"\n") or not name.replace(b"-", b"").isdigit():
                    return
                yield name.decode(), entry[:-1]
        except (EOFError, gzip.BadGzipFile, zlib.error):
            return


def _opened(path: Path) -> BinaryIO | gzip.GzipFile | None:
    try:
        return gzip.GzipFile(path) if path.suffix == ".gz" else path.open("rb")
    except FileNotFoundError:
        return None


def _segments(folder: Path) -> list[Path]:
    """Return the files in order; of one that is there twice the compressed one."""
    sealed = set(folder.glob(f"*{SEALED}"))
    plain = {path for path in folder.glob(f"*{OPEN}") if _sealed(path) not in sealed}
    return sorted(sealed | plain, key=lambda path: id_key(path.name.partition(".")[0]))


def _sealed(path: Path) -> Path:
    return path if path.suffix == ".gz" else path.with_name(path.name + ".gz")


def _days(lines: Sequence[Line]) -> Iterator[tuple[int, int]]:
    """Cut at midnight (UTC)."""
    begin = 0
    for place in range(1, len(lines) + 1):
        if place == len(lines) or _day(_ms(lines[place][0])) != _day(_ms(lines[begin][0])):
            yield begin, place
            begin = place


def _ms(name: str) -> int:
    return id_key(name)[0]


def _begins_ms(path: Path) -> int:
    return _ms(path.name.partition(".")[0])


def _day(ms: int) -> int:
    return int(ms / 1000 // DAY_S)


def _append(path: Path, data: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(before)  # half a line in the middle of a file would hide what follows
            raise


def _cut_torn_line(path: Path) -> None:
    with path.open("r+b") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        os.fsync(file.fileno())


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _locked(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise SegmentsInUse(f"{path.parent}: another process writes the ledger's files here") from None
    return lock
