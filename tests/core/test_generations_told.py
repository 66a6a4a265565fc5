"""A generation that the store has told counts, also when the copies are taken back meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from samecall import Policy
from samecall._copies import Copies
from samecall._entry import Entry, Key, Kind, Payload, new_stamp
from samecall._generations import Generations
from samecall._ports import MonotonicClock

KEY = Key(bytes(32), "space")
POLICY = Policy()


class Told:
    """A store that tells one generation; something happens whenever it is asked."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self.happens = happens
        self.asked = 0
        self.stands_in_part = False

    async def generations(self, *_: object) -> tuple[bytes, ...]:
        self.asked += 1
        self.happens()
        return (b"present",)

    def ask_generations(self, *_: object) -> None:
        """Nothing is asked ahead."""

    async def renew_generation(self, *_: object) -> None: ...


async def believed(happens: Callable[[Copies], object]) -> tuple[bool, int]:
    """Whether an entry of the generation that is told counts, and how often the store was asked."""
    copies = Copies(MonotonicClock(), 1.0, lambda: None)
    store: Any = Told(lambda: happens(copies))
    generations = Generations(store, copies, MonotonicClock())
    payload = Payload("plain", b"1")
    entry = Entry(Kind.VALUE, payload, new_stamp(), 60.0, 60.0, generations=(b"present",))
    return await generations.are(KEY, entry, POLICY), store.asked


async def test_others_who_come_and_go_make_no_answer_doubtful() -> None:
    """Another loop takes all copies back as often as it likes: one question will do."""
    assert await believed(lambda copies: copies.take_back()) == (True, 1)


@pytest.mark.parametrize("tag", ["", "other"])
async def test_one_that_changes_meanwhile_is_asked_for_again(tag: str) -> None:
    """What was told before may be over; who never hears the end of it believes nothing."""
    answer, asked = await believed(lambda copies: copies.take_back("space", tag))
    assert (answer, asked > 1) == (False, True)


async def test_one_that_is_over_is_not_believed() -> None:
    def end(copies: Copies) -> None:
        copies._end(b"present")
        copies.take_back()

    assert (await believed(end))[0] is False
