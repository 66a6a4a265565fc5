"""Waiting for a store: bounded in time, and fair to it while the event loop is busy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from samecall._ports import Wait

__all__ = ["MOST", "SHARE", "TURNS", "Renewals", "consume", "patience", "punctual", "swallow"]

T = TypeVar("T")
SHARE = 0.9
"""Of the time that a call may lose by its store: for the store. The rest is for what follows it,
the last timer's grain, turns of the loop, and a crowd that begins its own calls at one moment."""
MOST = 5
"""Times its patience that anybody waits, however late this process is."""
TURNS = 8
_SLICES = 8
_PUNCTUAL = 0.002  # seconds; timers have a grain of their own
_WEIGHT = 4  # a timer that is late by a quarter of its time counts for nothing
_GRAIN = 1e-9  # seconds; less is none
_DRIFT = 0.02  # two clocks do not run apart faster, not even while one is being set


def punctual(took: float, late: float, step: float) -> float:
    """How much of `took` seconds counts, at the end of which a timer was `late`.

    It counts whole as long as that is a timer's own grain: else many short timers would be longer
    than one. Who wakes later than that himself, because his loop is busy or the machine is, cannot
    tell that another is slow, and the less, the more of a `step` it was.
    """
    over = max(0.0, late - _PUNCTUAL)
    return max(0.0, took - over) * max(0.0, 1 - _WEIGHT * over / step)


async def patience(task: asyncio.Future[T], seconds: float) -> bool:
    """Wait for `task` at most `seconds` in which this process was on time; is it done?

    One long timer would blame the store for a loop that was busy: the timer and the reply are due
    in the same turn, and the reply still has callbacks to go through. So there are several short
    timers, and one that comes late counts for less; see `punctual`. `MOST` times as many are the
    end. In the end a few turns of the loop go by in which a reply that is there already gets
    through.
    """
    await asyncio.sleep(0)  # what needs no waiting is done by then, and needs no timer
    if task.done():
        return True
    loop = asyncio.get_running_loop()
    step = seconds / _SLICES
    left, most = seconds, seconds * MOST
    while left > _GRAIN and most > _GRAIN and not task.done():
        began, wait = loop.time(), min(step, left)
        await asyncio.wait({task}, timeout=wait)
        took = loop.time() - began
        left -= punctual(took, took - wait, step)
        most -= min(took, step)  # however long it was, it was one stall
    for _ in range(TURNS):
        if task.done():
            return True
        await asyncio.sleep(0)
    return task.done()


class Renewals:
    """When the lease that we wait for last showed a sign of life.

    A reply that was sent for at `asked` and read at `now` with `left` seconds tells that the lease
    ends between `asked + left` and `now + left`. Only a later end than was possible before is a
    renewal: a slow reply, a busy loop or a store whose clock runs slower is none.
    """

    def __init__(self, wait: Wait, now: float) -> None:
        self._token: bytes = wait.token
        self._ends, self._sign = now + wait.left, now

    def silence(self, wait: Wait, asked: float, now: float) -> float:
        """Seconds without a renewal or a new leader, up to when we asked: a reply knows no more."""
        ends = now + wait.left
        apart = _DRIFT * (now - self._sign)
        if wait.token != self._token or asked + wait.left > self._ends + apart:
            self._token, self._ends, self._sign = wait.token, ends, now
        self._ends = min(self._ends, ends)
        return asked - self._sign


def swallow(done: asyncio.Future[Any]) -> None:
    """An error of `done` that nobody else looks at is no complaint."""
    if not done.cancelled():
        done.exception()


async def consume(late: Callable[[T], Awaitable[None]], reply: T) -> None:
    """Hand on a reply that came late."""
    await late(reply)
