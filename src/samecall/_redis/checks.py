"""Questions about the servers themselves, for whoever looks after them."""

from __future__ import annotations

import asyncio
from typing import Any

from samecall._redis.cluster import ClusterLane
from samecall._redis.places import Lines

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
