"""Bells behind which a store may fail, and how often to look where none rings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from samecall._ports import Bell

__all__ = ["LONGEST_LOOK", "LOOK", "BoundBell", "DeafBell", "Hearing", "subscribe"]

LONGEST_LOOK = 2.0
"""Seconds after which a waiter looks for itself, whatever it hears."""
LOOK = 0.25
"""Of the patience at least, for the look after a subscription in vain."""
_FIRST_LOOK = 0.15  # where no bell rings; then 0.3, 0.6, 1.2: 20 commands in 30 s in all


class Hearing:
    """Whether messages reach this loop at all, as far as its bells can tell.

    A login may subscribe and the leaders' logins may not publish, or a server may drop what it
    cannot send: nobody is told, but an answer was found that no bell had rung for.
    """

    __slots__ = ("good",)

    def __init__(self) -> None:
        self.good = True


class DeafBell:
    """A bell without a store behind it: it only lets time pass.

    share: of the patience for the look that follows the subscription. Who has waited for that in
        vain has spent most of it: one call is not to wait twice for a store that says nothing.
    """

    def __init__(self, share: float = 1.0) -> None:
        self.share = share
        self._pause = _FIRST_LOOK

    def pause(self) -> float:
        """Seconds to the next look: short at first, so that no wait is more than doubled."""
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_LOOK)
        return pause

    def found(self) -> None:
        """A look found what was waited for, as it had to."""

    async def wait(self, timeout: float) -> bytes | None:
        """Nobody rings."""
        await asyncio.sleep(timeout)
        return None


class BoundBell:
    """A bell that neither raises nor hangs, whatever the store's own does."""

    share = 1.0

    def __init__(
        self, bell: Bell, fault: Callable[[str], None], grace: float, hearing: Hearing
    ) -> None:
        self._bell = bell
        self._fault = fault
        self._grace = grace
        self._hearing = hearing
        self._deaf = None if hearing.good else DeafBell()
        self._silent = False

    def pause(self) -> float:
        """Seconds to the next look."""
        return LONGEST_LOOK if self._deaf is None else self._deaf.pause()

    def found(self) -> None:
        """A look found what was waited for; a bell should have told."""
        if self._silent:
            self._hearing.good = False
            missed: Callable[[], None] | None = getattr(self._bell, "missed", None)
            if missed is not None:  # of a bell whose line may be dead without a word
                missed()

    async def wait(self, timeout: float) -> bytes | None:
        """The next message, or None; a bell that breaks is deaf from then on."""
        message = await self._wait(timeout)
        self._silent = message is None
        if message is not None:
            self._hearing.good = True
        return message

    async def _wait(self, timeout: float) -> bytes | None:
        try:
            async with asyncio.timeout(timeout + self._grace):
                return await self._bell.wait(timeout)
        except TimeoutError:  # it hangs, or the loop was busy: look again in both cases
            return None
        except Exception as error:  # noqa: BLE001 - the key is the truth: look again when the time is up
            self._fault(f"{type(error).__name__}: {error}")
            self._bell = self._deaf = DeafBell()
            return await self._bell.wait(timeout)


async def subscribe(
    listen: Callable[[], AbstractAsyncContextManager[Bell]],
    bell: asyncio.Future[Bell],
    leave: asyncio.Event,
) -> None:
    """Listen until `leave` is set; `bell` gets the bell, or what kept us from it."""
    try:
        async with listen() as heard:
            if not bell.done():
                bell.set_result(heard)
                await leave.wait()
    except Exception as error:
        if bell.done():
            raise
        bell.set_exception(error)
