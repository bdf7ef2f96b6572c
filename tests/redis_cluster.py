"""A real Redis Cluster of three primaries on loopback ports, for tests that may kill one or move a slot."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.lane import Refused
from gateway.redis_slots import SLOTS
from gateway.resp import ReplyReader, pack
from gateway.stores.embedded import find_binary

NODES = 3
STEP_S = 0.01
LIMIT_S = 20.0
BUS_OFFSET = 10_000


@dataclass(slots=True)
class ClusterNode:
    """One redis-server; every method blocks."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    node_id: str = ""

    def start(self) -> None:
        """Start it on its folder's data, and return once it answers."""
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [find_binary(), *self._options()], stdout=log, stderr=log, start_new_session=True
            )
        _until(self._answers)

    def kill(self) -> None:
        """End it without a word to anybody."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def ask(self, *command: str | int) -> object:
        """Return the reply to one command."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(pack([command]))
            reader = ReplyReader()
            replies: list[object] = []
            while not replies:
                replies = reader.feed(connection.recv(1 << 16))
        return replies[0]

    def done(self, *command: str | int) -> None:
        """Run one command that must succeed."""
        reply = self.ask(*command)
        assert reply == b"OK", f"{command[:3]}: {reply}"

    def _answers(self) -> bool:
        try:
            return self.ask("PING") == b"PONG"
        except OSError:
            return False

    def _options(self) -> Sequence[str]:
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.folder,
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": 400,
            "cluster-require-full-coverage": "no",
            "appendonly": "yes",
            "save": "",
            "loglevel": "warning",
        }
        return [word for name, value in options.items() for word in (f"--{name}", str(value))]


@dataclass(slots=True)
class RedisCluster:
    """Three primaries with a third of the slots each."""

    nodes: Sequence[ClusterNode] = field(default_factory=tuple)
    folder: Path = Path()

    @property
    def url(self) -> str:
        """Return the URL that RedisStore takes."""
        return "cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> None:
        """Start and join the servers; about a second and a half. Blocks."""
        self.folder = Path(tempfile.mkdtemp(prefix="fw-cluster-"))
        self.nodes = [ClusterNode(port, self.folder / str(port)) for port in _free_ports()]
        for at, node in enumerate(self.nodes):
            node.start()
            first, last = SLOTS * at // NODES, SLOTS * (at + 1) // NODES
            node.done("CLUSTER", "ADDSLOTS", *range(first, last))
            node.done("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
            own = node.ask("CLUSTER", "MYID")
            assert isinstance(own, bytes)
            node.node_id = own.decode()
        for node in self.nodes[1:]:
            self.nodes[0].done("CLUSTER", "MEET", "127.0.0.1", node.port)
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Return once every server knows of every slot. Blocks."""
        _until(lambda: all(_is_whole(node) for node in self.nodes))

    def stop(self) -> None:
        """End the servers and delete their data. Blocks."""
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def owner(self, slot: int) -> ClusterNode:
        """Return the server that has a slot, by how `start` dealt them."""
        return next(node for at, node in enumerate(self.nodes) if slot < SLOTS * (at + 1) // NODES)


def _is_whole(node: ClusterNode) -> bool:
    reply = node.ask("CLUSTER", "INFO")
    if not isinstance(reply, bytes):
        return False
    shown = dict(line.split(":", 1) for line in reply.decode().split("\r\n") if ":" in line)
    slots = node.ask("CLUSTER", "SLOTS")
    return (
        shown["cluster_state"] == "ok"
        and shown["cluster_slots_ok"] == str(SLOTS)
        and isinstance(slots, list)
        and len(slots) == NODES
        and not isinstance(slots, Refused)
    )


def _free_ports() -> list[int]:
    """Return ports that are free now, as are those of their buses; below the range that clients are given."""
    rng = random.SystemRandom()  # two pytest processes must not try the same ones
    found: list[int] = []
    while len(found) < NODES:
        port = rng.randrange(12_000, 22_000)
        if port not in found and _is_free(port) and _is_free(port + BUS_OFFSET):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _until(is_so: Callable[[], bool]) -> None:
    for _ in range(int(LIMIT_S / STEP_S)):
        if is_so():
            return
        time.sleep(STEP_S)
    raise TimeoutError("the Redis Cluster of the tests did not get ready")
