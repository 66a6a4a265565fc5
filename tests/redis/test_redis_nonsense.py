"""A reply that is none is told by its form: what stands in it may be somebody's answer."""

from __future__ import annotations

import os

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from redis_parts import new_key

from samecall import StoreError
from samecall._ports import Lead
from samecall._recordings import Recorded
from samecall._redis import RedisStore, names
from samecall._redis.nonsense import nonsense


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


async def test_a_recording_of_somebody_else(store: RedisStore, raw: Redis) -> None:
    """What stands where a recording should be is not told on."""
    key, token = new_key(), os.urandom(16)
    await raw.xadd(names.recording(key, token), {"x": "an answer"}, id="1-0")
    with pytest.raises(StoreError, match=r"no recording of ours: a list of 2 \(bytes, list\)"):
        await store.replay(key, token, 0)


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
