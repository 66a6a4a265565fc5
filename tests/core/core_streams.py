"""A provider that streams as a test says, and a consumer that keeps what it gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any


class Source:
    """A provider whose streams go on item by item, as the test says."""

    def __init__(self) -> None:
        self.calls = self.closed = 0
        self.queue: asyncio.Queue[Any] = asyncio.Queue()

    async def __call__(self) -> AsyncIterator[Any]:
        self.calls += 1
        return self._items()

    async def _items(self) -> AsyncIterator[Any]:
        try:
            while (item := await self.queue.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.closed += 1

    def put(self, *items: Any) -> None:
        for item in items:
            self.queue.put_nowait(item)


class Consumer:
    """A task that takes a stream, and what it has so far."""

    source: Source

    def __init__(self, stream: Any) -> None:
        self.got: list[Any] = []
        self.stream = stream
        self.task = asyncio.ensure_future(self._take())

    async def _take(self) -> list[Any]:
        async for item in self.stream:
            self.got.append(item)
        return self.got
