"""Which flight of a key is calling, where there are several."""

from __future__ import annotations

import pytest

from samecall._flight import Flight, Flights, Phase
from samecall._outcome import Grounded, Outcome, ended


@pytest.fixture
async def flights() -> Flights[Outcome]:
    return Flights[Outcome](ended, None)


def calling(flights: Flights[Outcome], slot: str, phase: Phase = Phase.LEADING) -> Flight[Outcome]:
    flight = flights.open(slot, "key", abandon=False)
    flight.enter(phase)
    return flight


async def test_the_last_to_begin_is_the_one(flights: Flights[Outcome]) -> None:
    calling(flights, "one", Phase.ALONE)
    two = calling(flights, "two")
    assert flights.leader("key") is two


async def test_who_was_calling_before_is_still_at_it(flights: Flights[Outcome]) -> None:
    """Begun without the store, and outlived by none of those that had a lease meanwhile."""
    one = calling(flights, "one", Phase.ALONE)
    two, three = calling(flights, "two"), calling(flights, "three")
    two.land(Grounded())
    flights.ground(two)
    assert flights.leader("key") is three
    three.enter(Phase.LEADING)  # it may say so twice
    three.land(Grounded())
    flights.ground(three)
    assert flights.leader("key") is one
    one.land(Grounded())
    flights.ground(one)
    assert flights.leader("key") is None


@pytest.mark.parametrize("how", ["ended", "detached", "removed"])
async def test_who_is_at_it_no_more_is_not(flights: Flights[Outcome], how: str) -> None:
    one = calling(flights, "one", Phase.ALONE)
    two = calling(flights, "two")
    if how == "ended":
        flights.ground(one)
    elif how == "detached":
        flights.detach(lambda flight: flight is one)
    else:
        flights.outdate(one)
    flights.ground(two)
    assert flights.leader("key") is None
