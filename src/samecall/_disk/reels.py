"""Recordings of streams in one file, and the book of who follows them: row by row."""

from __future__ import annotations

from typing import cast

from samecall._disk.tables import Names, Tables, blob, names_of
from samecall._entry import Key
from samecall._ports import EPOCH_NONE
from samecall._recordings import Recorded

__all__ = ["Reels", "track_of"]

READING = 10.0
"""Seconds for which a reader counts that has not come again: its process may be no more."""
_SHARE = 4  # of the file's bound, recordings may take one in so many together
# not among the file's tables: those of before there were recordings have none
_TABLES = """
CREATE TABLE IF NOT EXISTS reels (
    id INTEGER PRIMARY KEY, space BLOB NOT NULL, track BLOB NOT NULL, frames INTEGER NOT NULL,
    bytes INTEGER NOT NULL, ends REAL NOT NULL, UNIQUE (space, track)
);
CREATE TABLE IF NOT EXISTS frames (
    reel INTEGER, number INTEGER, data BLOB, PRIMARY KEY (reel, number)
);
CREATE TABLE IF NOT EXISTS readers (
    space BLOB, track BLOB, reader BLOB, ends REAL, PRIMARY KEY (space, track, reader)
) WITHOUT ROWID
"""
_THERE = "SELECT count(*) FROM sqlite_schema WHERE name = 'readers'"  # made last
_Reel = tuple[int, int, int]
_LOST = Recorded(leads=False, whole=True, followers=0)
_HOLE = Recorded(leads=True, whole=False, followers=-1)


def track_of(key: Key, token: bytes) -> Key:
    """What a recording has for a key: bells hang there."""
    return Key(key.digest + token, key.namespace)


class Reels(Tables):
    """The recording half of a ledger; see `_recordings.RecordingStore`."""

    def record(
        self, key: Key, token: bytes, number: int, frame: bytes, lease: float, life: float,
        epoch: bytes,
    ) -> Recorded:  # fmt: skip
        """If the lease is ours: renew it, append the frame, keep all for `life` seconds, ring."""
        now, names = self.now(), names_of(key)
        held = self.held(names, now)
        if held is None or held[0] != token:
            return _LOST
        if self.epoch(names, now) not in (EPOCH_NONE, epoch):
            self.free(names)
            return _LOST
        self.take(names, token, now + lease)
        self._make_tables()
        track = track_of(key, token)
        at = names_of(track)
        if not self._append(at, number, frame, now, now + life):
            self._drop(at)
            return _HOLE
        self.ring(track, at, frame)
        return Recorded(leads=True, whole=True, followers=self._readers(at, now))

    def _append(self, at: Names, number: int, frame: bytes, now: float, ends: float) -> bool:
        """False: what comes before the frame is missing, or there is no room for it."""
        reel = self._reel(at, now)
        count = 0 if reel is None else reel[1]
        if count < number - 1:
            return False
        if number > 0 and count == number - 1:
            if self._bytes() + len(frame) > self.max_bytes // _SHARE:
                return False
            reel = reel or self._new_reel(at)
            self.connection.execute("INSERT INTO frames VALUES (?, ?, ?)", (reel[0], number, frame))
            reel = reel[0], number, reel[2] + len(frame)
        if reel is not None:
            self.connection.execute(
                "UPDATE reels SET frames = ?, bytes = ?, ends = ? WHERE id = ?",
                (reel[1], reel[2], ends, reel[0]),
            )
        return True

    def replay(self, key: Key, token: bytes, after: int) -> list[bytes]:
        """The frames that follow number `after`."""
        reel = self._reel(names_of(track_of(key, token)), self.now()) if self._there() else None
        if reel is None:
            return []
        rows = self.connection.execute(
            "SELECT data FROM frames WHERE reel = ? AND number > ? ORDER BY number",
            (reel[0], after),
        )
        return [blob(data) for (data,) in rows.fetchall()]

    def read_by(self, track: Key, reader: bytes) -> None:
        """Note, or note again, that somebody follows."""
        self._make_tables()
        self.connection.execute(
            "INSERT OR REPLACE INTO readers VALUES (?, ?, ?, ?)",
            (*names_of(track), reader, self.now() + READING),
        )

    def unread_by(self, track: Key, reader: bytes) -> None:
        """Note that somebody follows no more."""
        if self._there():
            self.connection.execute(
                "DELETE FROM readers WHERE space = ? AND track = ? AND reader = ?",
                (*names_of(track), reader),
            )

    def unwind(self, key: Key, token: bytes) -> None:
        """Delete a recording."""
        if self._there():
            self._drop(names_of(track_of(key, token)))

    def sweep_reels(self, now: float) -> None:
        """Let go of recordings and readers that are over."""
        if self._there():
            self._delete("ends <= ?", (now,))
            self.connection.execute("DELETE FROM readers WHERE ends <= ?", (now,))

    # --- within -------------------------------------------------------------------------------

    def _there(self) -> bool:
        return bool(self.connection.execute(_THERE).fetchone()[0])

    def _make_tables(self) -> None:
        if not self._there():
            for statement in _TABLES.split(";"):
                self.connection.execute(statement)

    def _reel(self, at: Names, now: float) -> _Reel | None:
        """Its id, how many frames it has, and their bytes."""
        row = self.connection.execute(
            "SELECT id, frames, bytes FROM reels WHERE space = ? AND track = ? AND ends > ?",
            (*at, now),
        ).fetchone()
        return cast("_Reel | None", row)

    def _new_reel(self, at: Names) -> _Reel:
        self._drop(at)  # one that is over
        done = self.connection.execute(
            "INSERT INTO reels (space, track, frames, bytes, ends) VALUES (?, ?, 0, 0, 0)", at
        )
        return done.lastrowid or 0, 0, 0

    def _bytes(self) -> int:
        (total,) = self.connection.execute("SELECT total(bytes) FROM reels").fetchone()
        return int(total)

    def _readers(self, at: Names, now: float) -> int:
        (count,) = self.connection.execute(
            "SELECT count(*) FROM readers WHERE space = ? AND track = ? AND ends > ?", (*at, now)
        ).fetchone()
        return int(count)

    def _drop(self, at: Names) -> None:
        self._delete("space = ? AND track = ?", at)

    def _delete(self, which: str, given: tuple[object, ...]) -> None:
        of = f"SELECT id FROM reels WHERE {which}"  # noqa: S608 - one of two texts
        self.connection.execute(f"DELETE FROM frames WHERE reel IN ({of})", given)  # noqa: S608 - the same
        self.connection.execute(f"DELETE FROM reels WHERE {which}", given)  # noqa: S608 - the same
