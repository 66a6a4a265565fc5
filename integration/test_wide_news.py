"""An answer that many wait for, on every server and on a cluster: who listens is counted."""

import asyncio
import os
from contextlib import AsyncExitStack

from samecall._entry import Entry, Key, Kind, Payload, encode_entry, new_stamp
from samecall._news import WIDE, news
from samecall._redis import open_redis

PATIENT = 30.0
LISTENERS = 3


async def told(url, size):
    """What each of the listeners hears of a commit of so many bytes."""
    key, token = Key(os.urandom(32)), os.urandom(16)
    entry = Entry(Kind.VALUE, Payload("test", b"answer"), new_stamp(), 60.0, 60.0)
    data = encode_entry(key, entry).ljust(size, b"x")
    async with AsyncExitStack() as stack:
        stores = [open_redis(url, op_timeout=PATIENT)() for _ in range(LISTENERS)]
        for store in stores:
            stack.push_async_callback(store.aclose)
        got = await stores[0].acquire(key, token, b"", PATIENT)
        bells = [await stack.enter_async_context(store.listen(key)) for store in stores]
        assert await stores[0].commit(key, token, got.seen, data, 60.0, got.epoch)
        return data, await asyncio.gather(*(bell.wait(PATIENT) for bell in bells))


async def the_message_is_what_news_says(url):
    for size in (100, WIDE // LISTENERS, WIDE // LISTENERS + 1):
        data, heard = await told(url, size)
        assert heard == [news(data, LISTENERS)] * LISTENERS
    assert heard[0].startswith(b"~")


async def test_on_a_server(server):
    await the_message_is_what_news_says(server.url)


async def test_on_a_cluster(cluster):
    """Sharded channels are counted too."""
    await the_message_is_what_news_says(cluster.url)
