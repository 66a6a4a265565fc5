"""Many calls, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from typing import cast

import msgspec

from samecall._errors import ConfigurationError

__all__ = ["Warmed", "read_through", "warm"]

_KEPT = 10


class Warmed(msgspec.Struct, frozen=True):
    """How far a warming has come: calls that ended, those of them that failed, and the first ten
    errors.
    """

    calls: int = 0
    failed: int = 0
    errors: tuple[Exception, ...] = ()


async def warm(
    calls: Iterable[Callable[[], Awaitable[object]]],
    concurrency: int,
    progress: Callable[[Warmed], None] | None,
    storing: Callable[[], Collection[asyncio.Task[None]]],
) -> Warmed:
    """Make all calls, at most `concurrency` at a time; see `Cache.warm`.

    storing: what is on its way to the store; who asks for entries after this is to find them.
    """
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise ConfigurationError(
            f"concurrency takes a whole number from 1; got {concurrency!r:.60}"
        )
    if progress is not None and not callable(progress):
        raise ConfigurationError(f"progress takes a function; got {type(progress).__name__}")
    try:
        waiting = iter(calls)
    except TypeError:
        raise ConfigurationError(
            f"calls takes async functions, one after the other; got {type(calls).__name__}"
        ) from None
    done, workers = Warmed(), 1

    async def work(group: asyncio.TaskGroup) -> None:
        nonlocal done, workers
        for call in _callable(waiting):
            if workers < concurrency:  # which may be far more than there are calls
                workers += 1
                group.create_task(work(group))
            error = await _made(call)
            errors = done.errors if error is None else (*done.errors, error)[:_KEPT]
            done = Warmed(done.calls + 1, done.failed + (error is not None), errors)
            if progress is not None:
                progress(done)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(work(group))
    except ExceptionGroup as raised:  # no function, or `progress` raised
        raise raised.exceptions[0] from None
    if tasks := storing():  # each ends within the bounds of its store
        await asyncio.wait(tasks)
    return done


async def read_through(answer: object) -> bool:
    """Take all items of an answer that comes in pieces; whether it does.

    One that nobody takes may never be asked for. So its call is one of those at a time, and what
    breaks off in its midst counts as failed.
    """
    if not isinstance(answer, AsyncIterator):
        return False
    async for _ in cast("AsyncIterator[object]", answer):
        pass
    return True


def _callable(
    calls: Iterator[Callable[[], Awaitable[object]]],
) -> Iterator[Callable[[], Awaitable[object]]]:
    for call in calls:
        if not callable(call):
            raise ConfigurationError(
                f"calls takes async functions without arguments; got a {type(call).__name__}"
            )
        yield call


async def _made(call: Callable[[], Awaitable[object]]) -> Exception | None:
    try:
        made = call()
        if not await read_through(made):  # as an async generator function gives
            await read_through(await made)
    except Exception as error:  # noqa: BLE001 - the others are made all the same
        return error
    return None
