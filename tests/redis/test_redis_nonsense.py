"""A reply that is none is told by its form: what stands in it may be somebody's answer."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from redis_parts import new_data, new_key

from samecall import Key, StoreError
from samecall._ports import Lead
from samecall._recordings import Recorded
from samecall._redis import RedisStore, names
from samecall._redis.board import RedisBoard
from samecall._redis.ear import Ear
from samecall._redis.nonsense import nonsense
from samecall._redis.places import Lines
from samecall._redis.replies import looked
from samecall._redis.topology import read_slots


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (b"an answer", "9 bytes"),
        ("an answer", "9 bytes"),
        ([b"an", [b"answer"], 3], "a list of 3 (bytes, list, int)"),
        ({"an": "answer"}, "dict"),
        (None, "NoneType"),
        (ResponseError("OOM command not allowed"), "ResponseError: OOM command not allowed"),
    ],
)
def test_the_form_is_told(reply: object, says: str) -> None:
    assert str(nonsense(reply)) == f"Redis gave an unexpected reply: {says}"
    assert "answer" not in str(nonsense(reply))


@pytest.mark.parametrize("reply", [None, 7, [b"H"], [b"H", 1, None], [b"H", b"1", b"v"], [b"?"]])
def test_what_look_does_not_say(reply: object) -> None:
    with pytest.raises(StoreError):
        looked(reply)


@pytest.mark.parametrize(
    "reply",
    [[7, b"name"], [7, b"name", b"never"], [7, b"name", None], [7, 1, b"1"], [b"7"], None],
)
def test_notes_that_are_none(reply: object) -> None:
    """A `StoreError` for whoever wanted to see the fleet."""

    class Says:
        put = None

        def ask(self, *_: object) -> asyncio.Future[object]:
            told: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            told.set_result(reply)
            return told

    says: Any = Says()
    board = RedisBoard(Lines(says, says, says, None, 0))
    with pytest.raises(StoreError):
        asyncio.run(board.posted())


def test_a_name_of_somebody_else_costs_no_line() -> None:
    """Beside ours, in a namespace of ours: what comes with it is heard."""
    heard: list[object] = []

    class Hears:
        def told(self) -> None: ...

        doubtful = told

        def changed(self, key: Key, stamp: bytes) -> None:
            heard.append(key)

        def renewed(self, namespace: str, tag: str) -> None:
            heard.append(tag)

    ear: Any = Ear(lambda: None, 1.0)  # type: ignore[arg-type,return-value]
    ear._namespaces, ear._heard = {b"ns": "ns"}, [Hears()]
    foreign = [b"ns:g:%ff", b"ns:g:\xff", b"ns:x:{zz}", b"ns", b""]
    ear._hear([b"message", b"__redis__:invalidate", [*foreign, b"ns:g:t", b"ns:x:{00}"]])
    assert heard == ["t", Key(b"\0", "ns")]


def test_a_host_that_is_no_text() -> None:
    """One of a cluster's nodes: the others are known all the same."""
    slots = [[0, 9, [b"\xff\xfe", 1]], [10, 16_383, [b"there", 2]]]
    assert [owner for _, _, owner in read_slots(slots, "here")][1] == ("there", 2)


async def test_a_recording_of_somebody_else(store: RedisStore, raw: Redis) -> None:
    """What stands where a recording should be is not told on."""
    key, token = new_key(), os.urandom(16)
    await raw.xadd(names.recording(key, token), {"x": "an answer"}, id="1-0")
    with pytest.raises(StoreError, match=r"no recording of ours: a list of 2 \(bytes, list\)"):
        await store.replay(key, token, 0)


@pytest.mark.parametrize("what", ["another type", "another text"])
async def test_what_is_no_tombstone_goes_on_guarding(
    store: RedisStore, raw: Redis, what: str
) -> None:
    """In the place of one: what was begun before the `forget` is not stored."""
    key, before, after = new_key(), os.urandom(16), os.urandom(16)
    assert await store.acquire(key, before, b"", 60) == Lead(b"")
    await store.forget(key, 60)
    await raw.delete(names.tombstone(key))
    if what == "another type":
        await raw.lpush(names.tombstone(key), "what is this")
    else:
        await raw.set(names.tombstone(key), "what is this", px=60_000)
    for epoch in (b"", b"*"):
        assert not await store.commit(key, before, b"", new_data(key), 60, epoch)
    led = await store.acquire(key, after, b"", 60)
    assert isinstance(led, Lead)
    assert (led.odd, len(led.epoch)) == (("tombstone",), 40)
    assert await store.commit(key, after, b"", new_data(key), 60, led.epoch)


@pytest.mark.parametrize("what", ["another type", "somebody else's"])
async def test_what_is_no_recording_ends_it(store: RedisStore, raw: Redis, what: str) -> None:
    """Nothing is appended to it, nobody reads it, and the lease is ours as before."""
    key, token = new_key(), os.urandom(16)
    assert await store.acquire(key, token, b"", 60) == Lead(b"")
    at = names.recording(key, token)
    if what == "another type":
        await raw.lpush(at, "what is this")
    else:
        await raw.xadd(at, {"f": "what is this"}, id="9-0")
    assert await store.record(key, token, 2, b"frame", 60, 60) == Recorded(True, False, -1)
    assert await raw.exists(at) == 0
    assert await store.release(key, token)
