"""One file in one process: one thread, one connection, and all that its event loops ask of it.

What is asked while a batch runs becomes the next batch: first, in one read transaction, what can be
answered by looking; then the rest, in its order, in one write transaction. A process that forks
waits for the batch to end, so that no lock of SQLite's is held in the child by a thread that is not
there.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import queue
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from samecall._bells import Belfry
from samecall._disk.clock import Machine
from samecall._disk.file import File, open_file
from samecall._disk.jobs import Job, by_looking, by_writing, fail, settle, take
from samecall._disk.ledger import Ledger
from samecall._disk.place import Place
from samecall._disk.trouble import explain
from samecall._disk.upkeep import Upkeep
from samecall._disk.watch import Watch
from samecall._errors import StoreError, StoreUnreachable

__all__ = ["Disk"]

T = TypeVar("T")
_OPENING = 2.0  # seconds in which another process may be creating the file
_REPLACED_EVERY = 1.0
_AT_EXIT = 2.0


@dataclass(slots=True)
class _Open:
    """What belongs to one connection."""

    file: File
    ledger: Ledger
    upkeep: Upkeep
    watch: Watch
    checked: float = field(default_factory=time.monotonic)


class Disk:
    """One file in this process, for any number of event loops and stores."""

    def __init__(
        self,
        place: Place,
        *,
        now: Callable[[], float] | None = None,
        machine: Machine | None = None,
    ) -> None:
        self.place = place
        self.bells = Belfry()
        self._clock = now
        self._machine = machine or Machine()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._use = threading.Lock()  # held while SQLite runs
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._opened: _Open | None = None
        self._closing = False
        self._left: list[object] = []
        _disks.add(self)

    # --- asked in an event loop ---------------------------------------------------------------

    async def ask(
        self,
        do: Callable[[Ledger], T] | None,
        look: Callable[[Ledger], T | None] | None = None,
    ) -> T:
        """What `look` returns in a read transaction; if there is none, or it returns None, what
        `do` returns in a write transaction, where there is one. Raises `StoreError`.
        """
        answered: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(Job(do, look, answered))
        return await answered

    async def attend(self) -> None:
        """Return once rings of other processes are heard from now on."""
        await self.ask(None, self._watch)

    def _watch(self, _: Ledger) -> bool:
        if self._opened is not None:
            self._opened.watch.start()
        return True

    def _put(self, job: Job) -> None:
        if self._closing:
            raise StoreError("this store is closed")
        self._jobs.put(job)
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._work, name="samecall-disk", daemon=True
                    )
                    self._thread.start()

    def close(self) -> threading.Thread | None:
        """Finish what has been asked, then close the file; the thread that does it, if any."""
        self._closing = True
        self._jobs.put(None)
        return self._thread

    # --- in the thread ------------------------------------------------------------------------

    def _work(self) -> None:
        jobs, going = self._jobs, True
        while going:
            batch = take(jobs, self._pause())
            going = None not in batch
            with self._use:
                self.run([job for job in batch if job is not None])
        with self._use:
            self._close()
        late = [job for job in take(jobs, 0.0) if job is not None]
        fail(late, StoreError("this store is closed"))
        settle(late)

    def _pause(self) -> float | None:
        return None if self._opened is None else self._opened.watch.pause()

    def run(self, jobs: list[Job]) -> None:
        """Answer `jobs`, then do what is due."""
        try:
            opened = self._open()
        except Exception as error:  # noqa: BLE001 - whatever it is, who asked must hear it
            fail(jobs, explain(error, self.place.path))
            settle(jobs)
            return
        wrote = bool(jobs) and self._answer(opened, jobs)
        rung, opened.ledger.rung = opened.ledger.rung, []
        for key, message in rung:
            self.bells.ring(key, message)
        settle(jobs)
        with suppress(Exception):  # nobody's answer depends on it, and it comes again
            opened.upkeep.after(wrote=wrote)
        with suppress(Exception):  # a ring is a hint: who waits looks for himself in the end
            opened.watch.look()

    def _open(self) -> _Open:
        opened = self._opened
        if opened is not None:
            if time.monotonic() - opened.checked < _REPLACED_EVERY or not self._replaced(opened):
                return opened
            self._close()
        file = self._open_file()
        ledger = Ledger(file.connection, file.now, self.place.max_bytes, writable=file.writable)
        watch = Watch(file.connection, self.bells, ledger.origin, time.monotonic)
        self._opened = _Open(file, ledger, Upkeep(ledger, self.place.path), watch)
        if opened is not None:  # whoever waits does so for what the other file held
            watch.start()
            self.bells.ring_all()
        return self._opened

    def _open_file(self) -> File:
        ends = time.monotonic() + _OPENING
        while True:
            try:
                return open_file(self.place.path, self._clock, self._machine)
            except sqlite3.OperationalError as error:
                # two that create one file are in each other's way, and no busy handler helps
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > ends:
                    raise
            time.sleep(0.01)

    def _replaced(self, opened: _Open) -> bool:
        """Whether the path leads to another file than the one that is open, or to none."""
        opened.checked = time.monotonic()
        try:
            stat = self.place.path.stat()
        except OSError:
            return True
        return (stat.st_dev, stat.st_ino) != opened.file.inode

    def _answer(self, opened: _Open, jobs: list[Job]) -> bool:
        """Answer all; whether anything was to be written."""
        rest, wrote = deque(jobs), False
        try:
            by_looking(opened.ledger, rest)
            while rest:
                if wrote:
                    opened.upkeep.after(wrote=True)
                wrote = True
                by_writing(opened.ledger, rest)
        except Exception as error:  # noqa: BLE001 - SQLite's, or of what a damaged file holds
            told = explain(error, self.place.path)
            if len(rest) == 1 or isinstance(told, StoreUnreachable):
                fail(list(rest), told)
            else:  # it is one of them, or all: each for itself
                for job in rest:
                    self._answer(opened, [job])
        return wrote or bool(rest)

    def _close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.upkeep.last()
            opened.file.close()

    # --- forks and ends -----------------------------------------------------------------------

    def before_fork(self) -> None:
        self._use.acquire()

    def after_fork_in_parent(self) -> None:
        self._use.release()

    def after_fork_in_child(self) -> None:
        """The parent's connection stays untouched for ever; a new one is opened when asked."""
        self._left.append(self._opened)
        self._opened = self._thread = None
        self._use, self._starting = threading.Lock(), threading.Lock()
        self._jobs = queue.SimpleQueue()
        self.bells.forget_all()


_disks: weakref.WeakSet[Disk] = weakref.WeakSet()
_forking = threading.Lock()
_held: list[Disk] = []


def _before_fork() -> None:
    _forking.acquire()
    _held[:] = _disks
    for disk in _held:
        disk.before_fork()


def _after_fork_in_parent() -> None:
    for disk in _held:
        disk.after_fork_in_parent()
    _held.clear()
    _forking.release()


def _after_fork_in_child() -> None:
    for disk in _held:
        disk.after_fork_in_child()
    _held.clear()
    _forking.release()


def _at_exit() -> None:
    threads = [thread for disk in tuple(_disks) if (thread := disk.close()) is not None]
    ends = time.monotonic() + _AT_EXIT
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
