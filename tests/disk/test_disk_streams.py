"""Streams over one file: who follows in another process has them when they are complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from samecall import Cache, RemoteCallError
from samecall.testing.crew import Crew
from streaming import Setup
from streams import LIMIT, fleet

ITEMS = 150


def taken(crew: Crew, at: int) -> list[dict[str, object]]:
    """What a worker took, once it has."""
    while True:
        for worker, message in crew.hear(LIMIT):
            if worker == at and message[0] == "taken":
                return list(message[1])


def until_begun(crew: Crew) -> None:
    """Return once worker 0 has an item."""
    while True:
        for worker, message in crew.hear(LIMIT):
            if worker == 0 and message[0] == "at":
                return


def calls(crew: Crew) -> int:
    crew.tell(["statistics"])
    return sum(one["provider_calls"] for one in crew.gather("statistics", LIMIT))


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(f"disk://{tmp_path}/cache.db", items=ITEMS, lease=0.5, tells=1)


def test_another_process_gets_the_whole_stream_at_its_end(setup: Setup) -> None:
    """Every item of the one call, then it is a hit; and whoever leads renews its lease."""
    with fleet(setup, 2) as crew:
        crew.tell(["take", "k", 2, 0.0], 0)
        until_begun(crew)
        crew.tell(["take", "k", 3, 0.0], 1)
        led, followed = taken(crew, 0), taken(crew, 1)
        everybody = [*led, *followed]
        assert [one["count"] for one in everybody] == [ITEMS] * 5
        assert len({one["digest"] for one in everybody}) == 1
        assert {one["error"] for one in everybody} == {""}
        crew.tell(["take", "k", 1, 0.0], 1)
        assert taken(crew, 1)[0]["digest"] == led[0]["digest"]
        assert calls(crew) == 1


def test_a_leader_that_dies_is_replaced_and_nobody_is_interrupted(setup: Setup) -> None:
    """As nobody elsewhere has an item before the stream is complete."""
    with fleet(setup, 2) as crew:
        crew.tell(["take", "k", 1, 0.0], 0)
        until_begun(crew)
        crew.tell(["take", "k", 3, 0.0], 1)
        crew.kill(0)
        followed = taken(crew, 1)
        assert [one["count"] for one in followed] == [ITEMS] * 3
        assert {one["error"] for one in followed} == {""}
        assert len({one["digest"] for one in followed}) == 1
        assert calls(crew) == 1


async def test_an_error_in_mid_stream_comes_to_who_waits(tmp_path: Path) -> None:
    """Of one call, by its name; without the items, as nobody elsewhere had any before the end."""
    url, calls, gate = f"disk://{tmp_path}/cache.db", list[str](), asyncio.Event()

    async def tokens(word: str) -> AsyncIterator[str]:
        calls.append(word)
        yield word
        await gate.wait()
        raise LookupError("no more")

    async def take(cache: Cache) -> tuple[list[str], Exception | None]:
        got = list[str]()
        try:
            async for token in cache.memoize()(tokens)("a"):
                got.append(token)
        except (LookupError, RemoteCallError) as error:
            return got, error
        return got, None

    async with Cache(url) as one, Cache(url) as two:
        leader = asyncio.create_task(take(one))
        while not calls:
            await asyncio.sleep(0)
        follower = asyncio.create_task(take(two))
        while not two.statistics().callers_waiting:
            await asyncio.sleep(0)
        gate.set()
        (led, error), (followed, told) = await leader, await follower
    assert (led, type(error), calls) == (["a"], LookupError, ["a"])
    assert followed == []
    assert isinstance(told, RemoteCallError)
    assert told.class_name == "LookupError"
