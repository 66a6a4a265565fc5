"""What the store has said of generations counts at once, and only while nobody has forgotten."""

from __future__ import annotations

import asyncio

from samecall._arrivals import UNTAGGED, Arrivals, Begun
from samecall._copies import Copies
from samecall.testing import ManualClock

AT = ("space", UNTAGGED)


def begun(copies: Copies, coming: asyncio.Future[bytes] | None) -> Begun:
    futures = None if coming is None else [coming]
    return Begun(copies.era, copies.changes, 0.0, 0.0, 60.0, (), futures)


def known() -> Copies:
    return Copies(ManualClock(), 0.0, lambda: None)


async def test_it_counts_as_soon_as_the_store_has_said_so() -> None:
    """Though its task, which would say the same, has not had its turn."""
    copies, coming = known(), asyncio.get_running_loop().create_future()
    arrivals = Arrivals(copies)
    assert arrivals.at_hand(*AT) is None
    arrivals.expect(AT, begun(copies, coming))
    assert arrivals.at_hand(*AT) is None
    coming.set_result(b"one")
    assert [arrivals.at_hand(*AT) for _ in range(3)] == [(b"one",)] * 3
    arrivals.over(AT)
    assert arrivals.at_hand(*AT) is None


async def test_what_is_taken_back_meanwhile_counts_no_more() -> None:
    """A `forget_tag` after the reply, and one before it."""
    loop = asyncio.get_running_loop()
    for late in (True, False):
        copies, coming = known(), loop.create_future()
        arrivals = Arrivals(copies)
        arrivals.expect(AT, begun(copies, coming))
        coming.set_result(b"one")
        if late:
            assert arrivals.at_hand(*AT) == (b"one",)
        copies.forgotten("space", "")
        assert arrivals.at_hand(*AT) is None


async def test_trouble_is_left_to_the_task() -> None:
    """An error, a future that was cancelled, one whose time is up, a store that is not prompt."""
    loop = asyncio.get_running_loop()
    broken, gone, late = (loop.create_future() for _ in range(3))
    broken.set_exception(OSError())
    gone.cancel()
    late.set_result(object())
    for coming in (broken, gone, late, None):
        copies = known()
        arrivals = Arrivals(copies)
        arrivals.expect(AT, begun(copies, coming))
        assert arrivals.at_hand(*AT) is None
