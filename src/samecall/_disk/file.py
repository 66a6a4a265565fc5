"""One open file: SQLite in WAL mode, of our format or refused."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from samecall._disk.clock import Machine
from samecall._errors import StoreUnusable

__all__ = ["FORMAT", "File", "open_file"]

FORMAT = 1
"""Version of the tables; a file with a higher one is refused, and so left alone."""
_OURS = 0x53414D45  # "SAME", as SQLite's application_id
_BUSY = 1.0  # seconds to wait for another process's transaction, each of which takes far less
_PRAGMAS = (
    "synchronous = NORMAL",  # a power cut may take the last answers, and no more than these
    "journal_size_limit = 16777216",
    "cell_size_check = ON",  # a damaged page is noticed before it is used
    "trusted_schema = OFF",
)
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE entries (
    id INTEGER PRIMARY KEY, space BLOB NOT NULL, digest BLOB NOT NULL, kind INTEGER NOT NULL,
    ends REAL NOT NULL, used REAL NOT NULL, data BLOB NOT NULL
);
CREATE UNIQUE INDEX entries_key ON entries (space, digest, kind);
CREATE INDEX entries_ends ON entries (ends);
CREATE INDEX entries_used ON entries (used);
CREATE TABLE leases (
    space BLOB, digest BLOB, token BLOB, ends REAL, PRIMARY KEY (space, digest)
) WITHOUT ROWID;
CREATE TABLE tombstones (
    space BLOB, digest BLOB, epoch BLOB, ends REAL, PRIMARY KEY (space, digest)
) WITHOUT ROWID;
CREATE INDEX tombstones_ends ON tombstones (ends);
CREATE TABLE generations (
    space BLOB, tag BLOB, value BLOB, ends REAL, PRIMARY KEY (space, tag)
) WITHOUT ROWID;
CREATE INDEX generations_ends ON generations (ends);
CREATE TABLE rings (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, space BLOB, digest BLOB, origin BLOB
);
"""


@dataclass(slots=True)
class File:
    """A connection, its clock, and which file it really is."""

    connection: sqlite3.Connection
    now: Callable[[], float]
    inode: tuple[int, int]
    writable: bool

    def close(self) -> None:
        """Close the connection; the last one of all processes folds the WAL into the file."""
        with suppress(sqlite3.Error):
            self.connection.close()


def open_file(path: Path, now: Callable[[], float] | None, machine: Machine) -> File:
    """Open or create the file. `now`: a clock in place of the machine's.

    Raises `StoreUnusable` for what is not ours to use, `sqlite3.Error` or `OSError` for the rest.
    """
    writable = True
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # answers to prompts: for nobody else's eyes; SQLite gives its side files the same mode
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = _connect(str(path))
    except PermissionError:
        if not os.access(path, os.R_OK):  # or is not there, where none may be made
            raise
        writable, connection = False, _connect_read_only(path)
    except OSError:
        if not path.is_file():
            raise
        writable, connection = False, _connect_read_only(path)
    try:
        _check(connection, path)
        if writable and _version(connection) == 0:
            _create(connection, path)
        tell = now or _clock(connection, machine, writable=writable)
        stat = path.stat()
        return File(connection, tell, (stat.st_dev, stat.st_ino), writable)
    except BaseException:
        connection.close()
        raise


def _connect(name: str, *, uri: bool = False) -> sqlite3.Connection:
    # any thread may close it: it is the lock of its owner that keeps threads apart
    connection = sqlite3.connect(
        name, timeout=_BUSY, isolation_level=None, check_same_thread=False, uri=uri
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchone()
        _version(connection)  # the first look into the file
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_read_only(path: Path) -> sqlite3.Connection:
    try:
        return _connect(f"{path.as_uri()}?mode=ro", uri=True)
    except sqlite3.OperationalError:
        # WAL wants to write beside the file, where we may not; without a WAL there is no need
        if Path(f"{path}-wal").exists():
            raise
        return _connect(f"{path.as_uri()}?immutable=1", uri=True)


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse what somebody else, or a later samecall, has made."""
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    version = _version(connection)
    if owner != _OURS and (owner or version or tables):
        raise StoreUnusable(f"{path} is a database of another program; name another file")
    if version > FORMAT:
        raise StoreUnusable(
            f"{path} was made by a newer samecall (format {version}, this one reads {FORMAT}); "
            "upgrade samecall or name another file"
        )


def _create(connection: sqlite3.Connection, path: Path) -> None:
    # auto_vacuum must come before the first table, and WAL outside of a transaction
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _version(connection) == 0:  # else another process was faster
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_OURS}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    _check(connection, path)


# --- time -------------------------------------------------------------------------------------


def _clock(
    connection: sqlite3.Connection, machine: Machine, *, writable: bool
) -> Callable[[], float]:
    offset = _known_offset(connection, machine)
    if offset is None and writable:
        connection.execute("BEGIN IMMEDIATE")
        try:
            offset = _known_offset(connection, machine)
            if offset is None:
                offset = _new_offset(connection, machine)
                _remember(connection, machine.boot(), offset)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
    shift = _new_offset(connection, machine) if offset is None else offset
    return lambda: machine.up() + shift


def _known_offset(connection: sqlite3.Connection, machine: Machine) -> float | None:
    rows = connection.execute("SELECT name, value FROM meta WHERE name IN ('boot', 'offset')")
    known = dict(rows.fetchall())
    boot = machine.boot()
    offset = known.get("offset")
    return offset if boot and known.get("boot") == boot and isinstance(offset, float) else None


def _new_offset(connection: sqlite3.Connection, machine: Machine) -> float:
    (latest,) = connection.execute("SELECT max(used) FROM entries").fetchone()
    past = latest if isinstance(latest, float) else 0.0
    return max(machine.wall(), past) - machine.up()


def _remember(connection: sqlite3.Connection, boot: str, offset: float) -> None:
    connection.executemany(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        [("boot", boot), ("offset", offset)],
    )
    if boot:  # who held a lease in another boot is no more
        connection.execute("DELETE FROM leases")
