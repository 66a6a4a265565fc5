"""Entries, leases, tombstones and rings of one file, row by row.

A column of SQLite has no type, and others may have written to the file: what is none of ours is
read as bytes that nobody takes for an answer, so that they are counted and replaced.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from sqlite3 import Connection
from typing import cast

from samecall._entry import Key
from samecall._news import RIDES
from samecall._ports import EPOCH_NONE, Found, Offer

__all__ = ["ERROR", "NO_EPOCH", "VALUE", "Names", "Tables", "blob", "left", "names_of", "space_of"]

VALUE, ERROR = 0, 1
"""What a row of `entries` holds."""
NO_EPOCH = b"?"
"""What is told of a tombstone that is none of ours: a `forget` that nobody has been told of."""
_EPOCH = 16
_GRAIN = 60.0  # seconds by which a use may be newer than the one that is written down
_TOUCHES = 4_096
_PRUNE_EVERY, _RINGS_KEPT = 256, 2_048
Names = tuple[bytes, bytes]


def names_of(key: Key) -> Names:
    """A key as the tables have it."""
    return space_of(key.namespace), key.digest


def space_of(namespace: str) -> bytes:
    """A namespace as the tables have it."""
    return namespace.encode("utf-8", "surrogatepass")


def blob(value: object) -> bytes:
    """The bytes in a column."""
    return value if isinstance(value, bytes) else b""


def left(ends: object, now: float) -> float:
    """The seconds until a moment in a column."""
    return ends - now if isinstance(ends, float) else 0.0


class Tables:
    """The rows of one file through one connection; who calls opens and ends the transaction.

    `rung` collects what is to be rung in this process once the transaction has been committed;
    `added` counts the bytes of the entries that it puts.
    """

    def __init__(
        self, connection: Connection, now: Callable[[], float], max_bytes: int, *, writable: bool
    ) -> None:
        self.connection = connection
        self.now = now
        self.max_bytes = max_bytes
        self.writable = writable
        self.origin = os.urandom(8)
        self.rung: list[tuple[Key, bytes]] = []
        self.touched: dict[int, float] = {}
        self.added = 0

    def entry(self, names: Names, kind: int, now: float) -> Found | None:
        """The living value or error of a key, which counts as used."""
        row = self.connection.execute(
            "SELECT id, ends, used, data FROM entries"
            " WHERE space = ? AND digest = ? AND kind = ? AND ends > ?",
            (*names, kind, now),
        ).fetchone()
        if row is None:
            return None
        at, ends, used, data = cast("tuple[int, object, object, object]", row)
        if left(used, now) < -_GRAIN and len(self.touched) < _TOUCHES:
            self.touched[at] = now
        return Found(blob(data), left(ends, now))

    def held(self, names: Names, now: float) -> tuple[bytes, float] | None:
        """The living lease of a key: its token, and when it ends."""
        row = self.connection.execute(
            "SELECT token, ends FROM leases WHERE space = ? AND digest = ? AND ends > ?",
            (*names, now),
        ).fetchone()
        if row is None or not isinstance(row[1], float):  # one without an end counts as free
            return None
        return blob(row[0]), row[1]

    def epoch(self, names: Names, now: float) -> bytes:
        """What the last `forget` of a key left, while it stands."""
        row = self.connection.execute(
            "SELECT epoch FROM tombstones WHERE space = ? AND digest = ? AND ends > ?",
            (*names, now),
        ).fetchone()
        if row is None:
            return EPOCH_NONE
        epoch = blob(row[0])
        return epoch if len(epoch) == _EPOCH else NO_EPOCH

    def take(self, names: Names, token: bytes, ends: float) -> None:
        """Give the lease of a key to `token`."""
        self.connection.execute(
            "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)", (*names, token, ends)
        )

    def bury(self, names: Names, ends: float) -> None:
        """Leave another epoch until `ends`, or as long as the last one."""
        self.connection.execute(
            "INSERT INTO tombstones VALUES (?, ?, ?, ?) ON CONFLICT (space, digest)"
            " DO UPDATE SET epoch = excluded.epoch, ends = max(ends, excluded.ends)",
            (*names, os.urandom(_EPOCH), ends),
        )

    def dig_up(self, names: Names) -> None:
        """Delete what stands at a tombstone and is none."""
        self.connection.execute("DELETE FROM tombstones WHERE space = ? AND digest = ?", names)

    def generation(self, names: Names, until: float) -> bytes | None:
        """The generation of a tag, if it is there and lasts `until` then."""
        row = self.connection.execute(
            "SELECT value FROM generations WHERE space = ? AND tag = ? AND ends >= ?",
            (*names, until),
        ).fetchone()
        return row[0] if row is not None and isinstance(row[0], bytes) else None

    def prolong(self, names: Names, offer: Offer, now: float, ends: float) -> None:
        """See to it that a tag has a generation until `ends`."""
        self.connection.execute(
            "INSERT INTO generations VALUES (?, ?, ?, ?) ON CONFLICT (space, tag) DO UPDATE SET"
            " value = CASE WHEN ends <= ? OR typeof(value) != 'blob' THEN excluded.value"
            " WHEN value = ? THEN ? ELSE value END,"
            " ends = max(ends, excluded.ends)",
            (*names, offer.fresh, ends, now, offer.instead, offer.again or offer.fresh),
        )

    def drop_generation(self, names: Names) -> None:
        """Whoever asks next for the tag begins a new one."""
        self.connection.execute("DELETE FROM generations WHERE space = ? AND tag = ?", names)

    def put(self, names: Names, kind: int, data: bytes, ends: float, now: float) -> None:
        """Put bytes in the place of what is there."""
        if len(data) > self.max_bytes // 2:  # it would push out all others, and then itself
            self.drop(names, kind)
            return
        self.added += len(data)
        self.connection.execute(
            "INSERT INTO entries (space, digest, kind, ends, used, data) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (space, digest, kind)"
            " DO UPDATE SET ends = excluded.ends, used = excluded.used, data = excluded.data",
            (*names, kind, ends, now, data),
        )

    def drop(self, names: Names, kind: int) -> None:
        """Delete the value or the error of a key."""
        self.connection.execute(
            "DELETE FROM entries WHERE space = ? AND digest = ? AND kind = ?", (*names, kind)
        )

    def free(self, names: Names) -> None:
        """Nobody leads at a key."""
        self.connection.execute("DELETE FROM leases WHERE space = ? AND digest = ?", names)

    def ring(self, key: Key, names: Names, message: bytes) -> None:
        """Tell this process once the transaction stands, and the others through the file."""
        self.rung.append((key, message if len(message) <= RIDES else b""))
        done = self.connection.execute(
            "INSERT INTO rings (space, digest, origin) VALUES (?, ?, ?)", (*names, self.origin)
        )
        seq = done.lastrowid or 0
        if seq % _PRUNE_EVERY == 0:
            self.connection.execute("DELETE FROM rings WHERE seq <= ?", (seq - _RINGS_KEPT,))
