"""What SQLite says, in the words of a store."""

from __future__ import annotations

import errno
import sqlite3

from samecall._errors import StoreError, StoreUnreachable, StoreUnusable

__all__ = ["explain"]

# what the user who gave the path can mend; a full disk is not among them
_MISTAKES = frozenset(
    {
        errno.EACCES,
        errno.EEXIST,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)


def explain(error: Exception, path: object) -> StoreError:
    """The `StoreError` for an exception that SQLite or the file system raised."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, OSError):
        told = StoreUnusable if error.errno in _MISTAKES else StoreError
        return told(f"{path} cannot be opened ({error.strerror or type(error).__name__})")
    if not isinstance(error, sqlite3.Error):  # a damaged file may hold anything
        return StoreError(f"{path} holds what it should not ({type(error).__name__})")
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreUnreachable(f"{path} is locked by another process")
        case sqlite3.SQLITE_NOTADB:
            return StoreUnusable(
                f"{path} is no cache of samecall, or is damaged; name another file or delete it"
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_MISMATCH | sqlite3.SQLITE_ERROR:
            return StoreError(f"{path} is damaged ({error}); delete it")
        case sqlite3.SQLITE_FULL:
            return StoreError(f"there is no room to write {path}")
        case sqlite3.SQLITE_READONLY:
            return StoreError(f"{path} may not be written")
        case _:
            return StoreError(f"{path}: {error}")
