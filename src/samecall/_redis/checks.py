"""Questions about the servers themselves, for whoever looks after them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from samecall._entry import Key
from samecall._redis.cluster import ClusterLane
from samecall._redis.places import Lines
from samecall._redis.walk import keys

__all__ = ["RedisChecks"]


class RedisChecks:
    """What a store can tell of the servers that it stands on."""

    def __init__(self, lines: Lines) -> None:
        self._primaries = lines.writes

    @property
    def in_parts(self) -> bool:
        """See `_breaker.Guard`: of a cluster one node may be away while the others answer."""
        return isinstance(self._primaries, ClusterLane)

    async def everywhere(self, *command: bytes | str | int) -> list[Any]:
        """The replies of every primary to a command; a refusal stands there as its `StoreError`.

        Raises `StoreError` if no server can be asked.
        """
        lanes = await self._primaries.scan()
        asked = [lane.ask(None, (), command) for lane in lanes]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    def keys(self, namespace: str, digits: str = "") -> AsyncIterator[Key]:
        """The keys of a namespace that begin with these digits; no value is read. Some come twice.

        Raises `StoreError`. Scans the whole database in small steps; calls in the air go on.
        """
        return keys(self._primaries, namespace, digits)
