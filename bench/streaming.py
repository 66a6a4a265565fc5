"""Worker processes that stream: what the load scripts and the tests of whole fleets share.

An item is [generation, index, time of its making], so that whoever gets it can tell whose it is
and how long it was on its way (processes of one machine share the monotonic clock).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from hashlib import blake2b
from typing import Any

import msgspec

from samecall import Cache, Policy, SamecallError
from samecall.testing.crew import Line

__all__ = ["Setup", "source", "stream", "take", "worker"]

PAD = "x" * 200  # what an SDK's chunk carries besides its token


class Setup(msgspec.Struct, frozen=True):
    """How a worker streams."""

    url: str
    items: int = 300
    pace: float = 0.01
    """Seconds between two items."""
    sleeping: bool = False
    """Whether that is a sleep after the last one was taken, so that being late adds up. Else the
    provider keeps its own pace, as one does that is at the other end of a line."""
    lease: float = 5.0
    op_timeout: float = 2.0
    pad: str = PAD
    tells: int = 10**9
    """After how many items a worker tells no more how far it has come."""


def source(setup: Setup) -> Callable[[], Awaitable[AsyncIterator[Any]]]:
    """A provider that streams at a steady pace."""

    async def items() -> AsyncIterator[Any]:
        loop = asyncio.get_running_loop()
        generation, began = os.urandom(4).hex(), loop.time()
        for index in range(setup.items):
            due = began + (index + 1) * setup.pace - loop.time()
            await asyncio.sleep(setup.pace if setup.sleeping else due)
            yield [generation, index, time.monotonic(), setup.pad]

    async def call() -> AsyncIterator[Any]:
        return items()

    return call


async def stream(items: AsyncIterator[Any], crawl: float, at: Callable[[int], None]) -> Any:
    """Take a stream to its end: what came, how late, and how it ended."""
    began, lags, first = time.monotonic(), [], 0.0
    digest, generations, count, holes, error = blake2b(digest_size=8), set[str](), 0, 0, ""
    try:
        async for generation, index, made, _ in items:
            now = time.monotonic()
            first = first or now - began
            lags.append(now - made)
            holes += index != count
            count += 1
            generations.add(generation)
            digest.update(f"{generation}{index}".encode())
            at(count)
            if crawl:
                await asyncio.sleep(crawl)
    except SamecallError as trouble:
        error = type(trouble).__name__
    return {
        "count": count,
        "holes": holes,
        "generations": len(generations),
        "digest": digest.hexdigest(),
        "error": error,
        "first": first,
        "took": time.monotonic() - began,
        "lags": lags,
    }


async def take(
    cache: Cache, setup: Setup, key: str, count: int, crawl: float, at: Callable[[int], None]
) -> list[Any]:
    """`count` consumers of one stream."""
    call = source(setup)
    return await asyncio.gather(*(stream(cache.stream(key, call), crawl, at) for _ in range(count)))


async def worker(line: Line, setup: Any) -> None:
    """Do what is said: [take, key, consumers, crawl], [bare], [connect], [statistics]."""
    setup = msgspec.convert(setup, Setup)
    cache = Cache(setup.url, policy=Policy(lease=setup.lease, op_timeout=setup.op_timeout), l1=None)
    tasks: set[asyncio.Task[None]] = set()

    async def do(verb: str, *args: Any) -> None:
        if verb == "connect":
            await cache.peek("nothing")
            line.tell(["connected", None])
            return
        if verb == "bare":
            call = source(setup)
            line.tell(["bare", await stream(await call(), 0, lambda _: None)])
            return
        key, count, crawl = args
        told = [0]

        def at(number: int) -> None:
            if told[0] < number <= setup.tells:
                told[0] = number
                line.tell(["at", number])

        line.tell(["taken", await take(cache, setup, key, count, crawl, at)])

    line.tell(["ready", os.getpid()])
    with suppress(asyncio.CancelledError):
        while True:
            verb, *args = await line.hear()
            if verb == "statistics":
                line.tell(["statistics", msgspec.to_builtins(cache.statistics())])
                continue
            task = asyncio.get_running_loop().create_task(do(verb, *args))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    await cache.aclose()
