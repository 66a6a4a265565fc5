"""Hears what other processes did to a file.

SQLite counts the commits of others (`PRAGMA data_version`, a look into shared memory). One look
per process, whatever the number of listeners, at a pace that follows how long they have waited;
only when the count has moved are the new rows of `rings` read.
"""

from __future__ import annotations

from collections.abc import Callable
from sqlite3 import Connection
from typing import cast

from samecall._bells import Belfry
from samecall._entry import Key

__all__ = ["Watch"]

_QUICKEST, _SLOWEST = 0.002, 0.05
_PART = 0.02  # a wait becomes longer by so much of itself, within the two bounds
_ROWS = 1_024


class Watch:
    """Rings the bells of this process for what others rang. Belongs to one connection."""

    def __init__(
        self,
        connection: Connection,
        bells: Belfry,
        origin: bytes,
        now: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._bells = bells
        self._origin = origin
        self._now = now
        self._since = now()
        self._version = -1
        self._last: int | None = None

    def start(self) -> None:
        """From now on nothing is missed; what was rung before is not heard."""
        self._since = self._now()
        if self._last is None:
            self._version = self._data_version()
            self._last = self._newest()

    def pause(self) -> float | None:
        """Seconds until the next look; None while nobody listens."""
        if not self._bells:
            self._last = None  # and the next listener starts anew
            return None
        return min(max((self._now() - self._since) * _PART, _QUICKEST), _SLOWEST)

    def look(self) -> None:
        """Ring for what is new."""
        if self._last is None:
            return
        version = self._data_version()
        if version == self._version:
            return
        self._version = version
        rows = self._connection.execute(
            "SELECT seq, space, digest, origin FROM rings WHERE seq > ? ORDER BY seq LIMIT ?",
            (self._last, _ROWS),
        ).fetchall()
        rung = cast("list[tuple[int, bytes, bytes, bytes]]", rows)
        if not rung:
            return
        if rung[0][0] > self._last + 1 or len(rung) == _ROWS:  # some are gone, or too many
            self._last = self._newest()
            self._bells.ring_all()
            return
        self._last = rung[-1][0]
        for _, space, digest, origin in rung:
            if origin != self._origin:
                self._since = self._now()
                self._bells.ring(Key(digest, space.decode("utf-8", "surrogatepass")), b"")

    def _data_version(self) -> int:
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def _newest(self) -> int:
        # a table that was pruned to nothing still knows its last number
        row = self._connection.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = 'rings'"
        ).fetchone()
        return int(row[0]) if row is not None else 0
