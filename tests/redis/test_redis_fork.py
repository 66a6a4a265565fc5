"""A store that was open when the process forked."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing

from redis_parts import PATIENT, new_key

from samecall._embedded import EmbeddedServer
from samecall._redis import RedisStore, open_redis


def _child(store: RedisStore, url: str) -> None:
    async def use() -> None:
        own = open_redis(url, op_timeout=PATIENT)()
        await own.ping()
        await store.aclose()  # the parent's: nothing of it may be closed here
        await own.aclose()

    asyncio.run(use())
    gc.collect()


async def test_a_child_leaves_the_parents_connections_alone(server: EmbeddedServer) -> None:
    """The parent's lanes and bells go on after a child closed its copy of the store."""
    store = open_redis(server.url, op_timeout=PATIENT)()
    key = new_key()
    async with store.listen(key) as bell:
        await store.set(key, b"data", 600.0)
        await store.get(key)
        connections = [store._reads._link._connection, store._writes._link._connection]
        fork = multiprocessing.get_context("fork")
        child = fork.Process(target=_child, args=(store, server.url))
        child.start()
        await asyncio.to_thread(child.join, 30)
        assert child.exitcode == 0
        assert await store.get(key) is not None
        await store.forget(key, 0.0)
        assert await bell.wait(30.0) == b""
        assert [store._reads._link._connection, store._writes._link._connection] == connections
    await store.aclose()
