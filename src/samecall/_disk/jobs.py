"""What event loops ask of a file, and how a batch of it is answered."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from samecall._disk.ledger import Ledger
from samecall._errors import StoreError

__all__ = ["Job", "by_looking", "by_writing", "fail", "settle", "take"]

_BATCH = 256
_PART = 20  # of what a file may hold, in one transaction


@dataclass(slots=True, eq=False)
class Job:
    """One question: `look` may answer it by reading; where it says None, `do` has to write."""

    do: Callable[[Ledger], Any] | None
    look: Callable[[Ledger], Any] | None
    answered: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    result: Any = None
    error: StoreError | None = None

    def settle(self) -> None:
        """Hand the answer to who asked; in the thread of its loop."""
        if self.answered.done():
            return
        if self.error is not None:
            self.answered.set_exception(self.error)
        else:
            self.answered.set_result(self.result)


def take(jobs: queue.SimpleQueue[Job | None], pause: float | None) -> list[Job | None]:
    """All that has been asked; waits up to `pause` seconds for the first."""
    batch: list[Job | None] = []
    try:
        batch.append(jobs.get(timeout=pause))
        while len(batch) < _BATCH:
            batch.append(jobs.get_nowait())
    except queue.Empty:
        pass
    return batch


def by_looking(ledger: Ledger, rest: deque[Job]) -> None:
    """Answer the first of `rest` by reading, up to one that has to write."""
    if rest[0].look is None:
        return
    ledger.connection.execute("BEGIN")
    try:
        while rest and (look := rest[0].look) is not None:
            rest[0].result = look(ledger)
            if rest[0].result is None and rest[0].do is not None:
                break
            rest.popleft()
    finally:
        with suppress(sqlite3.Error):
            ledger.connection.execute("ROLLBACK")


def by_writing(ledger: Ledger, rest: deque[Job]) -> None:
    """Answer the first of `rest` in one transaction, or none.

    All of them, unless that would be a large part of the file at once: what was there leaves in
    between, and not after the file has grown.
    """
    rung, most, answered = len(ledger.rung), ledger.max_bytes // _PART, 0
    ledger.added = 0
    ledger.connection.execute("BEGIN IMMEDIATE")
    try:
        for job in rest:
            work = job.do or job.look
            job.result = work(ledger) if work is not None else None
            answered += 1
            if ledger.added > most:
                break
        ledger.connection.execute("COMMIT")
    except BaseException:
        del ledger.rung[rung:]
        with suppress(sqlite3.Error):
            ledger.connection.execute("ROLLBACK")
        raise
    for _ in range(answered):
        rest.popleft()


def fail(jobs: list[Job], error: StoreError) -> None:
    """Each hears an error of its own."""
    for job in jobs:
        job.error = type(error)(*error.args)


def settle(jobs: list[Job]) -> None:
    """Wake who asked, each loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, mine in by_loop.items():
        with suppress(RuntimeError):  # closed meanwhile: nobody waits there any more
            loop.call_soon_threadsafe(_hand_out, mine)


def _hand_out(jobs: list[Job]) -> None:
    for job in jobs:
        job.settle()
