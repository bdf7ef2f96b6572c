"""What the children run with: settings and documents, read at the start and again at SIGHUP.

Runs in the parent: must not make a thread, an event loop or a client; what needs one is done in a child that ends.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import structlog
import uvloop

from gateway.documents import Documents, read_documents
from gateway.findings import Findings
from gateway.forking import TellReady, fork, how_it_ended
from gateway.inherited import Inherited, Places
from gateway.job import Job
from gateway.listening import CannotServe
from gateway.logs import configure_logs
from gateway.settings import Settings, SettingsError
from policies.document import DocumentError

FOR_LIFE = ("host", "port", "ops_bind", "data_dir", "redis_url")
"""Settings of what the parent holds: a change of them needs a restart."""


class RunWorker(Protocol):
    """Serve on the sockets until SIGTERM and return the exit code: 2 for a configuration that no restart mends."""

    def __call__(self, settings: Settings, inherited: Inherited, *, tell_ready: TellReady) -> int: ...


class Examine(Protocol):
    """Look at what there is to serve with; make the first key if asked and there is none."""

    def __call__(self, settings: Settings, documents: Documents, *, may_make_key: bool) -> Findings: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the parent runs in its children."""

    run_worker: RunWorker
    run_warmer: Callable[[Settings, Documents], int]
    examine: Examine


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What stays as it is while the gateway runs.

    `reread` reads all settings again and raises SettingsError; `adapt` fits settings to the Redis that was found,
    `with_helpers` to what else can run here, and returns the jobs of that.
    """

    parts: Parts
    sockets: Sequence[socket.socket]
    ops_sockets: Sequence[socket.socket]
    reread: Callable[[], Settings]
    adapt: Callable[[Settings], Settings]
    with_helpers: Callable[[Settings], tuple[Settings, Sequence[Job]]]

    def fit(self, given: Settings) -> tuple[Settings, Sequence[Job]]:
        """Return the settings that can be met here, and the jobs beside workers and warmer that they ask for."""
        return self.with_helpers(self.adapt(given))


class Orders:
    """The owner of the settings and documents in force."""

    def __init__(self, settings: Settings, documents: Documents, *, ground: Ground) -> None:
        self._given = settings
        self._documents = documents
        self._ground = ground
        self.settings, self._helpers = ground.fit(settings)

    def examine(self) -> Findings:
        """Look at everything once, making the first key; blocks. Raises CannotServe where looking itself fails."""
        return self._look(self.settings, self._documents, may_make_key=True)

    def follow(self) -> None:
        """Take over changed policies, so that a worker that starts later knows the last good ones; blocks on files."""
        self._documents.book.refresh()

    def reload(self) -> Sequence[Job] | None:
        """Read and check everything again; return the new jobs, or None, after saying why, where the old ones stay."""
        log = structlog.get_logger()
        try:
            read = self._ground.reread()
            given = read.model_copy(update={name: getattr(self._given, name) for name in FOR_LIFE})
            documents = read_documents(given)
            settings, helpers = self._ground.fit(given)
            problems = self._look(settings, documents, may_make_key=False).problems
        except (SettingsError, DocumentError) as error:
            log.error("not reloaded: the running workers stay", problems=[str(problem) for problem in error.problems])
            return None
        except CannotServe as error:
            log.error("not reloaded: the running workers stay", problems=[str(error)])
            return None
        if problems:
            log.error("not reloaded: the running workers stay", problems=problems)
            return None
        fixed = [name for name in FOR_LIFE if getattr(read, name) != getattr(given, name)]
        if fixed:
            log.warning("these settings need a restart; their old values stay", settings=fixed)
        self._given, self.settings, self._helpers, self._documents = given, settings, helpers, documents
        configure_logs(settings.log_level)
        return self.jobs()

    def jobs(self) -> Sequence[Job]:
        """Return what the children run, over everything as it is now, ready to be shared with them."""
        settings, ground, places = self.settings, self._ground, Places(self.settings.workers)
        jobs = [
            Job(name=f"worker {number}", run=self._worker(settings, places, number), is_vital=True)
            for number in range(settings.workers)
        ]
        if settings.warmer:
            # Two at once would record, and later spend, twice.
            run = _warmer(settings, self._documents, ground)
            jobs.append(Job(name="warmer", run=run, is_vital=False, overlaps=False))
        jobs.extend(self._helpers)
        gc.collect()
        gc.freeze()  # pages of what exists by now stay shared: a collection in a worker would write to all of them
        return jobs

    def _worker(self, settings: Settings, places: Places, number: int) -> Callable[[TellReady], int]:
        ground = self._ground
        inherited = Inherited(
            number=number,
            sockets=ground.sockets,
            ops_sockets=ground.ops_sockets,
            documents=self._documents,
            places=places,
        )

        def run(tell_ready: TellReady) -> int:
            asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
            return ground.parts.run_worker(settings, inherited, tell_ready=tell_ready)

        return run

    def _look(self, settings: Settings, documents: Documents, *, may_make_key: bool) -> Findings:
        examine = self._ground.parts.examine
        return in_child(lambda: examine(settings, documents, may_make_key=may_make_key))


def _warmer(settings: Settings, documents: Documents, ground: Ground) -> Callable[[TellReady], int]:
    def run(tell_ready: TellReady) -> int:
        for made in (*ground.sockets, *ground.ops_sockets):
            made.close()
        tell_ready()  # nobody waits for it to serve
        return ground.parts.run_warmer(settings, documents)

    return run


def in_child(run: Callable[[], Findings]) -> Findings:
    """Run `run` in a child of its own, where it may make event loops and clients, and return what it found."""
    reader, writer = os.pipe()

    def report(_tell_ready: TellReady) -> int:
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(msgspec.json.encode(run()))
        return 0

    forked = fork(report)
    os.close(writer)
    os.close(forked.ready)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(forked.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        raise CannotServe(f"looking at the configuration failed ({how_it_ended(code)}); the lines above say why")
    return msgspec.json.decode(said, type=Findings)
