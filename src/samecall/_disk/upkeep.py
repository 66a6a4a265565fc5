"""What keeps a file within its bounds: a little at a time, after the work of others."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

from samecall._disk.ledger import Ledger

__all__ = ["Upkeep"]

_SWEEP_EVERY = 1.0  # seconds
_SWEPT_AT_ONCE = 256
_TOUCH_EVERY, _TOUCHES_AT_ONCE = 10.0, 256
_EVICTED_AT_ONCE = 256
_SPARE = 10  # of what is allowed, a tenth is made free at once: the next entries find it empty
_SHRINK = "PRAGMA incremental_vacuum(256)"  # pages
_LOG = 2**24  # bytes of the log beside the file, above which it is folded in at once
_PATIENCE = 100  # milliseconds for which others wait meanwhile
_FOLD_REST = 1.0  # seconds until the next try, where that was not enough


class Upkeep:
    """Sweeps what has ended, writes down what was used, evicts the least used."""

    def __init__(self, ledger: Ledger, path: Path) -> None:
        self._ledger = ledger
        self._connection = ledger.connection
        self._swept = self._touched = ledger.now()
        self._log = f"{path}-wal"
        self._folding = 0.0
        self.evicted = 0

    def after(self, *, wrote: bool) -> None:
        """Do what is due after a batch; its trouble is the next batch's, or nobody's."""
        if not self._ledger.writable:
            return
        with suppress(sqlite3.Error):
            now = self._ledger.now()
            touched = self._ledger.touched
            late = now - self._touched >= _TOUCH_EVERY
            if touched and (late or len(touched) >= _TOUCHES_AT_ONCE):
                self._write(self._touch)
            if wrote and now - self._swept >= _SWEEP_EVERY:
                self._write(self._sweep)
            if wrote and self._over() > 0:
                self._write(self._evict)
            if wrote and self._allotted() > self._ledger.max_bytes:
                # back to the file system, where the file had grown beyond its bound
                self._connection.executescript(_SHRINK)  # `execute` frees a single page
            if wrote and now >= self._folding and self._logged() > _LOG:
                self._fold(now)

    def last(self) -> None:
        """Before the file is closed."""
        if self._ledger.writable and self._ledger.touched:
            with suppress(sqlite3.Error):
                self._write(self._touch)

    def _write(self, work: Callable[[], None]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            work()
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def _logged(self) -> int:
        try:
            return os.stat(self._log).st_size  # noqa: PTH116 - after each batch, so a quick one
        except OSError:
            return 0

    def _fold(self, now: float) -> None:
        """Write the log into the file and empty it.

        SQLite does so by itself only in a moment in which no process is at work: with several
        that write all the time the log would grow for as long as they do.
        """
        connection, began = self._connection, time.monotonic()
        (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()
        connection.execute(f"PRAGMA busy_timeout = {_PATIENCE}")
        try:
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {patience}")
        # at once where another process is at it; else one that reads stands still
        if busy and time.monotonic() - began > _PATIENCE / 1000:
            self._folding = now + _FOLD_REST

    def _touch(self) -> None:
        uses = [(used, at) for at, used in self._ledger.touched.items()]
        self._ledger.touched.clear()
        self._touched = self._ledger.now()
        self._connection.executemany("UPDATE entries SET used = max(used, ?) WHERE id = ?", uses)

    def _sweep(self) -> None:
        now = self._ledger.now()
        gone = self._connection.execute(
            "DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE ends <= ? LIMIT ?)",
            (now, _SWEPT_AT_ONCE),
        ).rowcount
        for table in ("leases", "tombstones", "generations"):
            self._connection.execute(f"DELETE FROM {table} WHERE ends <= ?", (now,))  # noqa: S608 - of three names
        self._ledger.sweep_reels(now)
        if gone < _SWEPT_AT_ONCE:  # else there is more: go on after the next batch
            self._swept = now

    def _pragma(self, name: str) -> int:
        (value,) = self._connection.execute(f"PRAGMA {name}").fetchone()
        return int(value)

    def _allotted(self) -> int:
        return self._pragma("page_count") * self._pragma("page_size")

    def _over(self) -> int:
        """Bytes in use above what is allowed; free pages are not in use."""
        free = self._pragma("freelist_count") * self._pragma("page_size")
        return self._allotted() - free - self._ledger.max_bytes

    def _evict(self) -> None:
        wanted = self._over() + self._ledger.max_bytes // _SPARE
        rows = self._connection.execute(
            "SELECT id, length(data) FROM entries ORDER BY used LIMIT ?", (_EVICTED_AT_ONCE,)
        ).fetchall()
        gone: list[tuple[int]] = []
        for at, size in cast("list[tuple[int, int]]", rows):
            if wanted <= 0:
                break
            gone.append((at,))
            wanted -= size
        self._connection.executemany("DELETE FROM entries WHERE id = ?", gone)
        self.evicted += len(gone)
