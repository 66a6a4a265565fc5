"""Entries out of a store into a file and back, as JSON Lines.

    {"format":"samecall/1","namespace":"prod","made":1764000000.0,"entries":1,"secret":null}
    {"key":"<64 hex>","left":3600.0,"data":"<base64 of the envelope>"}

A header, then one line for each entry.

Sealed entries move sealed: who writes the file needs no key, who reads it back does.
"""

from __future__ import annotations

import asyncio
import math
import os
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import IO, cast

import msgspec
from anyio import to_thread

from samecall._arguments import check_namespace
from samecall._codec import UNREADABLE
from samecall._entry import Key, new_stamp
from samecall._errors import ConfigurationError, StoreError, Undecodable
from samecall._key import digest_of
from samecall._policy import Policy
from samecall._ports import Found
from samecall._room import Room
from samecall._seal import FOREIGN

__all__ = ["Imported", "export_to", "import_from"]

_NAME, _FORMAT = "samecall", 1
_STEP = 32
_HELD = 2**20
"""Bytes of the lines that are stored at a time, give or take one."""
_UNTOLD = "the store does not tell its generations, without which nothing is kept"
_DIGITS = 20
_LINE = 128 * 2**20
"""Bytes of the longest line that is read."""


class _Header(msgspec.Struct):
    format: str
    namespace: str
    made: float
    entries: int = 0
    """How many follow; a file of an older samecall does not tell."""
    secret: str | None = None
    """Tells the secret that its keys were made with from others; None: who wrote it had none."""


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    left: float
    data: bytes


class Imported(msgspec.Struct, frozen=True):
    """What an import did: entries stored, and those whose life was over meanwhile."""

    stored: int
    expired: int


_header = msgspec.json.Decoder(_Header)
_line = msgspec.json.Decoder(_Line)


async def export_to(
    room: Room,
    path: str | os.PathLike[str],
    namespace: str,
    policy: Policy,
    secret: bytes | None = None,
) -> int:
    """Write all values of a namespace to a new file; how many. Raises `StoreError`, `OSError`.

    The file is there once it is whole. What is nobody's answer any more is left out: forgotten by
    a tag, or damaged. Of what is sealed with a key that is not here nobody can tell.
    """
    target = _path(path)
    header = _Header(f"{_NAME}/{_FORMAT}", namespace, time.time(), secret=_mark(secret))
    lines = [_head(header)]
    known: set[bytes] = set()
    if storing := room.flights.storing():  # what was answered just now is to be in it
        await asyncio.wait(storing)
    file, part = await to_thread.run_sync(_created, target)
    try:
        async for key, found in room.store.walk(namespace):
            if key.digest in known:  # a walk may come by twice
                continue
            if not await _is_an_answer(room, key, found, policy):
                continue
            known.add(key.digest)
            lines.append(msgspec.json.encode(_Line(key.hex, found.left, found.data)))
            if len(lines) >= _STEP:
                await to_thread.run_sync(file.write, _joined(lines))
                lines.clear()
        await to_thread.run_sync(file.write, _joined(lines))
        header.entries = len(known)
        await to_thread.run_sync(_end, file, _head(header))
        await to_thread.run_sync(part.replace, target)
    finally:
        file.close()
        part.unlink(missing_ok=True)
    return len(known)


def _mark(secret: bytes | None) -> str | None:
    return None if secret is None else digest_of("secret", secret=secret).hex()[:16]


def _end(file: IO[bytes], head: bytes) -> None:
    file.seek(0)  # what stands there is as long
    file.write(head)
    file.close()


def _head(header: _Header) -> bytes:
    """A header, as long whatever number is in it."""
    line = msgspec.json.encode(header)
    return line.ljust(len(line) + _DIGITS - len(str(header.entries)))


async def _is_an_answer(room: Room, key: Key, found: Found, policy: Policy) -> bool:
    """Whether an entry still answers; an import would give a forgotten one a new life."""
    now = room.clock.now()
    try:
        entry = room.envelopes.read(key, found.data, left=found.left, now=now)
    except Undecodable as error:
        return str(error) in FOREIGN
    if await room.generations.are(key, entry, policy):
        return True
    if not await room.generations.now(key.namespace, entry.tags, policy):
        raise StoreError(_UNTOLD)
    return False


def _created(target: Path) -> tuple[IO[bytes], Path]:
    # answers to prompts: for nobody else's eyes (mode 600), as a store on disk; and a name of its
    # own, because one that was killed has left its part behind
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    return os.fdopen(handle, "wb"), Path(name)


async def import_from(
    room: Room,
    path: str | os.PathLike[str],
    namespace: str | None,
    policy: Policy,
    secret: bytes | None = None,
) -> Imported:
    """Store the entries of a file; they count as made in this moment's generation of their tags.

    Raises `Undecodable` with the number of the line that is damaged, that stands twice or that
    cannot be opened (what stands before it is stored), `StoreError` and `OSError`.
    """
    source = _path(path)
    with await to_thread.run_sync(lambda: source.open("rb")) as file:
        header = _read_header(await to_thread.run_sync(file.readline, _LINE))
        if secret is not None and header.secret not in (None, _mark(secret)):
            raise _damaged(1, "its keys were made with another secret= than this cache has")
        gone = max(0.0, time.time() - header.made)
        known: set[str] = set()
        stored = expired = 0
        number = 1
        while lines := await to_thread.run_sync(_next_lines, file):
            puts: list[Awaitable[None]] = []
            try:
                for raw in lines:
                    number += 1
                    line = _read_line(number, raw, known)
                    left = line.left - gone
                    if left <= 0:
                        expired += 1
                        continue
                    puts.append(await _put(room, header, line, left, number, namespace, policy))
            finally:  # what stands before a damaged line is stored
                await asyncio.gather(*puts)
            stored += len(puts)
    if len(known) < header.entries:
        raise _damaged(number + 1, f"it is missing: {header.entries} entries were written")
    return Imported(stored, expired)


def _next_lines(file: IO[bytes]) -> list[bytes]:
    """So many lines as are stored at a time, or one that is very long."""
    lines: list[bytes] = []
    held = 0
    while len(lines) < _STEP and held < _HELD and (raw := file.readline(_LINE)):
        lines.append(raw)
        held += len(raw)
    return lines


async def _put(
    room: Room, header: _Header, line: _Line, left: float, number: int, space: str | None,
    policy: Policy,
) -> Awaitable[None]:  # fmt: skip
    digest = bytes.fromhex(line.key)
    now = room.clock.now()
    try:
        entry = room.envelopes.read(Key(digest, header.namespace), line.data, left=left, now=now)
    except Undecodable as error:
        raise _damaged(number, str(error)) from None
    left = min(left, entry.kept_for)  # nothing becomes younger than new on the way
    key = Key(digest, header.namespace if space is None else space)
    generations = await room.generations.now(key.namespace, entry.tags, policy)
    if not generations:
        raise StoreError(_UNTOLD)
    # a stamp of its own: what is moved is another generation of the entry than what may be there
    entry = msgspec.structs.replace(entry, stamp=new_stamp(), generations=generations)
    _, data = room.envelopes.seal(key, entry, policy.compress_over)
    await room.generations.outlast(key.namespace, entry, left, policy.op_timeout)
    return room.store.put(key, data, left, policy.op_timeout)


def _read_header(raw: bytes) -> _Header:
    try:
        header = _header.decode(raw)
    except UNREADABLE as error:
        raise _damaged(1, f"no header of an export ({type(error).__name__})") from None
    name, _, version = header.format.partition("/")
    if name != _NAME or not version.isdecimal() or len(version) > _DIGITS:
        raise _damaged(1, f"format {header.format!r:.40} is none of an export")
    if int(version) > _FORMAT:
        raise _damaged(1, f"format {header.format!r:.40} is newer than {_NAME}/{_FORMAT}")
    if not math.isfinite(header.made):
        raise _damaged(1, "made is no moment")
    try:
        check_namespace(header.namespace)
    except ConfigurationError:
        raise _damaged(1, "its namespace is none") from None
    return header


def _read_line(number: int, raw: bytes, known: set[str]) -> _Line:
    if not raw.endswith(b"\n"):
        raise _damaged(number, "it is cut off")
    try:
        line = _line.decode(raw)
        sound = len(bytes.fromhex(line.key)) == 32 and 0 < line.left < 1e10
    except UNREADABLE as error:
        raise _damaged(number, f"no entry ({type(error).__name__})") from None
    if not sound:
        raise _damaged(number, "no entry (key takes 64 hexadecimal digits, left seconds)")
    if line.key.lower() in known:
        raise _damaged(number, f"key {line.key[:16]} stands here a second time")
    known.add(line.key.lower())
    return line


def _damaged(number: int, why: str) -> Undecodable:
    before = "" if number == 1 else "; what stands before it is stored"
    return Undecodable(f"line {number}: {why}{before}")


def _joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _path(path: object) -> Path:
    given = cast("str | os.PathLike[str]", path)
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(given):
        raise ConfigurationError(f"path takes the path of a file; got {type(given).__name__}")
    return Path(given)
