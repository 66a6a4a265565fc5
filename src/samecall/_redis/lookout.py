"""The task that looks at a cluster's topology: at once when asked, again while it is in motion."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from samecall._errors import StoreError

__all__ = ["Lookout"]

_BACKOFF = (0.05, 0.5)
_BREATHS = (0.02, 0.08)  # seconds between looks that are asked for in haste, and at the most
_CALM = 1.0  # seconds without a look after which the next one is at once


class Lookout:
    """Calls `learn` in the background of one event loop.

    `settled` says, after a look, whether all is well; until then there is another one after a
    pause. If a look fails with a `StoreError`, `failed` has it and nobody looks until asked again.
    """

    def __init__(
        self,
        learn: Callable[[], Awaitable[None]],
        settled: Callable[[], bool],
        failed: Callable[[StoreError], None],
    ) -> None:
        self._learn = learn
        self._settled = settled
        self._failed = failed
        self._readers: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._looked, self._breath = -_CALM, 0.0
        self._closed = False

    async def look(self) -> None:
        """Return after the next look, or raise what it failed with."""
        reader: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._readers.append(reader)
        self.soon()
        await reader

    def soon(self) -> None:
        """Look now, or a breath after the last look."""
        if self._closed:
            return
        self._hurry.set()
        if self._task is None or self._task.done():
            loop = asyncio.get_running_loop()
            self._task = asyncio.Task(self._run(), loop=loop, name="samecall-redis-topology")
            self._task.add_done_callback(self._ended)

    async def _run(self) -> None:
        pause = _BACKOFF[0]
        while True:
            await self._breathe()
            self._hurry.clear()
            try:
                await self._learn()
            except StoreError as error:
                self._fail(error)
                return
            self._tell(None)
            if self._settled() and not self._hurry.is_set():
                return
            await self._pause(pause)
            pause = min(2 * pause, _BACKOFF[1])

    async def _breathe(self) -> None:
        # A node that takes connections and cuts its replies off is alive whenever it is asked: what
        # is sent on to it is lost and asks for a look, hundreds of times a second.
        now = asyncio.get_running_loop().time
        if now() - self._looked >= _CALM:
            self._breath = 0.0
        await asyncio.sleep(max(0.0, self._looked + self._breath - now()))
        self._looked = now()
        self._breath = min(max(_BREATHS[0], 2 * self._breath), _BREATHS[1])

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            return

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._task is not task:
            return
        self._task = None
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            why = error or "its loop is closing"
            self._fail(StoreError(f"the cluster's topology is not followed any more: {why}"))

    def _fail(self, error: StoreError) -> None:
        self._tell(error)
        self._failed(error)

    def _tell(self, error: StoreError | None) -> None:
        readers, self._readers = self._readers, []
        for reader in readers:
            if reader.done():
                continue
            if error is None:
                reader.set_result(None)
            else:
                reader.set_exception(type(error)(*error.args))

    async def aclose(self) -> None:
        """End the task, and whatever waits for it."""
        self._closed = True
        task, self._task = self._task, None
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait([task])
        self._fail(StoreError("this store is closed"))
