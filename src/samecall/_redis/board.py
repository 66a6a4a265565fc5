"""Where the workers of a fleet leave word of themselves, each under a name of its own."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple
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
            if reply not in (b"OK", 1, 2):  # no set: a reply may be anything
                raise nonsense(reply)
        return bool(replies[1] == 2)

    async def posted(self, namespace: str | None = None) -> list[Posted]:
        """See `_board.Board`."""
        wanted = await self._noted(namespace)
        replies = await asyncio.gather(
            # MGET, not GET: what is of another type is absent
            *(self._reads.ask(None, (), (b"MGET", note.name)) for note in wanted)
        )
        found: list[Posted] = []
        for note, reply in zip(wanted, replies, strict=True):
            match reply:
                case [bytes(data)]:
                    found.append(Posted(note.namespace, note.worker, data, note.age))
                case _:
                    pass
        return found

    async def withdraw(self, namespace: str) -> None:
        """See `_board.Board`."""
        names_left = [note.name for note in await self._noted(namespace)]
        if names_left:
            await self._writes.ask(None, (), (b"ZREM", names.REPORTS, *names_left))
            await self._writes.unlink(names_left)

    async def _noted(self, namespace: str | None) -> list[_Note]:
        reply = await self._reads.ask(scripts.POSTED, (names.REPORTS,), ())
        try:
            found = _notes(reply)
        except (TypeError, ValueError):
            raise nonsense(reply) from None
        return [note for note in found if namespace in {None, note.namespace}]


def _notes(reply: Any) -> list[_Note]:
    match reply:
        case [int(now), *rest]:
            told: list[Any] = rest
        case _:
            raise ValueError
    words = [each for each in told if isinstance(each, bytes)]
    if len(words) != len(told):
        raise ValueError
    pairs = zip(words[::2], words[1::2], strict=True)
    return [
        _Note(name, *_whose(name), max(0.0, (now - float(when)) / 1000)) for name, when in pairs
    ]


def _whose(name: bytes) -> tuple[str, str]:
    space, _, worker = name.decode(errors="replace").partition(":c:")
    return unquote(space), unquote(worker)
