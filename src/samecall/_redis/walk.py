"""All values of a namespace, a few at a time, over the lanes that no call waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from samecall._entry import Key
from samecall._ports import Found
from samecall._redis import names, scripts
from samecall._redis.batch import Lane
from samecall._redis.cluster import ClusterLane
from samecall._redis.nonsense import nonsense
from samecall._redis.replies import looked

__all__ = ["keys", "scan", "walk"]

_SCAN = 500
_AT_ONCE = 16
"""Values in memory at one time; a server that holds them all sends 4 MiB of them in a reply."""
_NAME = 66
"""Characters of `{digest}` at the end of a name."""


async def scan(lane: Lane, pattern: str) -> AsyncIterator[list[bytes]]:
    """The names in one server that match `pattern`, in steps of the server's own; some twice."""
    cursor = b"0"
    while True:
        match await lane.ask(None, (), (b"SCAN", cursor, b"MATCH", pattern, b"COUNT", _SCAN)):
            case [bytes(cursor), [*found]] if all(isinstance(name, bytes) for name in found):
                pass
            case other:
                raise nonsense(other)
        if found:
            yield found
        if cursor == b"0":
            return


async def keys(lanes: Lane | ClusterLane, namespace: str, digits: str) -> AsyncIterator[Key]:
    """The keys of a namespace's values that begin with these digits, by their names alone."""
    for lane in await lanes.scan():
        async for found in scan(lane, names.pattern(namespace, "v", digits)):
            for name in found:
                if (key := _key(name, namespace)) is not None:
                    yield key


async def walk(lanes: Lane | ClusterLane, namespace: str) -> AsyncIterator[tuple[Key, Found]]:
    """The values of a namespace that are there all the while, and maybe others."""
    for lane in await lanes.scan():
        async for found in scan(lane, names.pattern(namespace, "v")):
            ours = [key for name in found if (key := _key(name, namespace)) is not None]
            for start in range(0, len(ours), _AT_ONCE):
                for pair in await _look(lanes, ours[start : start + _AT_ONCE]):
                    yield pair


async def _look(lanes: Lane | ClusterLane, keys: Sequence[Key]) -> list[tuple[Key, Found]]:
    asked = [lanes.ask(scripts.LOOK, (names.value(key),), ()) for key in keys]
    replies: list[Any] = await asyncio.gather(*asked)
    found = zip(keys, map(looked, replies), strict=True)
    return [(key, there) for key, there in found if there is not None and there.left > 0]


def _key(name: bytes, namespace: str) -> Key | None:
    """The key that a name stands for; None for one that is not ours."""
    try:
        digest = bytes.fromhex(name[1 - _NAME : -1].decode())
    except ValueError:
        return None
    key = Key(digest, namespace)
    return key if names.value(key).encode() == name else None
