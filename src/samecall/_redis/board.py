"""Where the workers of a fleet leave word of themselves, each under a name of its own."""

from __future__ import annotations

import asyncio
from typing import NamedTuple, cast
from urllib.parse import unquote

from samecall._board import Posted
from samecall._redis import names, scripts
from samecall._redis.nonsense import nonsense
from samecall._redis.places import Lines

__all__ = ["RedisBoard"]


_NOTED = 3_600_000
"""Milliseconds for which a note stays, however short the record that it is about."""


class _Note(NamedTuple):
    name: bytes
    namespace: str
    worker: str
    age: float


class RedisBoard:
    """See `_board.Board`. The list of names is one key for all namespaces of a database."""

    def __init__(self, lines: Lines) -> None:
        self._reads = lines.reads
        self._writes = lines.writes

    async def post(self, namespace: str, worker: str, data: bytes, ttl: float) -> bool:
        """See `_board.Board`."""
        name, kept = names.report(namespace, worker), max(1, round(ttl * 1000))
        left = self._writes.ask(None, (), (b"SET", name, data, b"PX", kept))
        noted = self._writes.ask(scripts.POST, (names.REPORTS,), (name, _NOTED))
        replies = await asyncio.gather(left, noted)
        for reply in replies:
            if reply not in {b"OK", 1, 2}:
                raise nonsense(reply)
        return bool(replies[1] == 2)

    async def posted(self, namespace: str | None = None) -> list[Posted]:
        """See `_board.Board`."""
        wanted = await self._noted(namespace)
        replies = await asyncio.gather(
            # MGET, not GET: what is of another type is absent
            *(self._reads.ask(None, (), (b"MGET", note.name)) for note in wanted)
        )
        return [
            Posted(note.namespace, note.worker, told[0], note.age)
            for note, told in zip(wanted, replies, strict=True)
            if isinstance(told, list) and isinstance(told[0], bytes)
        ]

    async def withdraw(self, namespace: str) -> None:
        """See `_board.Board`."""
        names_left = [note.name for note in await self._noted(namespace)]
        if names_left:
            await self._writes.ask(None, (), (b"ZREM", names.REPORTS, *names_left))
            await self._writes.unlink(names_left)

    async def _noted(self, namespace: str | None) -> list[_Note]:
        match await self._reads.ask(scripts.POSTED, (names.REPORTS,), ()):
            case [int(now), *notes]:
                told = cast("list[bytes]", notes)
            case reply:
                raise nonsense(reply)
        found = [
            _Note(name, *_whose(name), max(0.0, (now - float(when)) / 1000))
            for name, when in zip(told[::2], told[1::2], strict=True)
        ]
        return [note for note in found if namespace in {None, note.namespace}]


def _whose(name: bytes) -> tuple[str, str]:
    space, _, worker = name.decode(errors="replace").partition(":c:")
    return unquote(space), unquote(worker)
