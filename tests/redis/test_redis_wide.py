"""An answer that many wait for: what would be too much to send at once is read in turn."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack

import pytest
from redis_parts import PATIENT, new_data, new_key

from samecall._news import WIDE, news
from samecall._ports import Lead
from samecall._redis import open_redis
from samecall.testing import LocalCluster

LISTENERS = 4


@pytest.fixture(params=["server", "cluster"])
def place(request: pytest.FixtureRequest) -> str:
    """Where stores are opened."""
    if request.param == "server":
        return str(request.getfixturevalue("url"))
    cluster: LocalCluster = request.getfixturevalue("cluster")
    return cluster.url


@pytest.mark.parametrize("ends", ["commit", "fail"])
@pytest.mark.parametrize("more", [0, 1], ids=["just narrow", "just wide"])
async def test_the_message_is_what_news_says(place: str, ends: str, more: int) -> None:
    """The scripts count who listens, and say the same as `_news.news`."""
    key, token = new_key(), os.urandom(16)
    data = new_data(key).ljust(WIDE // LISTENERS + more, b"x")
    async with AsyncExitStack() as stack:
        stores = [open_redis(place, op_timeout=PATIENT)() for _ in range(LISTENERS)]
        for store in stores:
            stack.push_async_callback(store.aclose)
        got = await stores[0].acquire(key, token, b"", PATIENT)
        assert isinstance(got, Lead)
        bells = [await stack.enter_async_context(store.listen(key)) for store in stores]
        assert await getattr(stores[0], ends)(key, token, *(
            (got.seen, data, 60.0, got.epoch) if ends == "commit" else (data, 60.0, got.epoch)
        ))  # fmt: skip
        told = await asyncio.gather(*(bell.wait(PATIENT) for bell in bells))
    assert told == [news(data, LISTENERS)] * LISTENERS
    assert told[0] == (b"~84" if more else b"")
