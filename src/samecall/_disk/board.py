"""Where the processes that share a file leave word of themselves."""

from __future__ import annotations

from typing import cast

from samecall._board import Posted
from samecall._disk.ledger import Ledger
from samecall._disk.tables import blob, left, space_of
from samecall._disk.worker import Disk

__all__ = ["DiskBoard"]

# not among the file's tables: those of before there were reports have none
_TABLE = """
CREATE TABLE IF NOT EXISTS reports (
    space BLOB, worker TEXT, data BLOB, since REAL, ends REAL, PRIMARY KEY (space, worker)
) WITHOUT ROWID
"""
_THERE = "SELECT count(*) FROM sqlite_schema WHERE name = 'reports'"


class DiskBoard:
    """See `_board.Board`."""

    disk: Disk

    async def post(self, namespace: str, worker: str, data: bytes, ttl: float) -> None:
        """See `_board.Board`."""
        await self.disk.ask(lambda ledger: _post(ledger, namespace, worker, data, ttl))

    async def posted(self, namespace: str | None = None) -> list[Posted]:
        """See `_board.Board`."""
        return await self.disk.ask(None, lambda ledger: _posted(ledger, namespace))

    async def withdraw(self, namespace: str) -> None:
        """See `_board.Board`."""
        await self.disk.ask(lambda ledger: _withdraw(ledger, namespace))


def _post(ledger: Ledger, namespace: str, worker: str, data: bytes, ttl: float) -> None:
    now = ledger.now()
    ledger.connection.execute(_TABLE)
    ledger.connection.execute("DELETE FROM reports WHERE ends <= ?", (now,))
    ledger.connection.execute(
        "INSERT OR REPLACE INTO reports VALUES (?, ?, ?, ?, ?)",
        (space_of(namespace), worker, data, now, now + ttl),
    )


def _posted(ledger: Ledger, namespace: str | None) -> list[Posted]:
    if not ledger.connection.execute(_THERE).fetchone()[0]:
        return []
    now, space = ledger.now(), None if namespace is None else space_of(namespace)
    rows = ledger.connection.execute(
        "SELECT space, worker, data, since FROM reports"
        " WHERE ends > ? AND (? IS NULL OR space = ?)",
        (now, space, space),
    ).fetchall()
    return [
        Posted(_namespace(blob(at)), str(worker), blob(data), max(0.0, -left(since, now)))
        for at, worker, data, since in cast("list[tuple[object, object, object, object]]", rows)
    ]


def _namespace(space: bytes) -> str:
    try:
        return space.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return space.decode("utf-8", "replace")


def _withdraw(ledger: Ledger, namespace: str) -> None:
    if ledger.connection.execute(_THERE).fetchone()[0]:
        ledger.connection.execute("DELETE FROM reports WHERE space = ?", (space_of(namespace),))
