"""Where workers leave word of themselves: one server, a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis_parts import PATIENT

from samecall import Cache
from samecall._redis import RedisStore, open_redis
from samecall._report import decode_report
from samecall.testing import LocalCluster


@pytest.fixture(params=["server", "cluster"])
async def board(request: pytest.FixtureRequest) -> AsyncIterator[RedisStore]:
    if request.param == "server":
        where: str = request.getfixturevalue("url")
    else:
        cluster: LocalCluster = request.getfixturevalue("cluster")
        where = cluster.url
    store = open_redis(where, op_timeout=PATIENT)()
    yield store
    await store.aclose()


async def test_the_last_word_of_each_worker_is_there(board: RedisStore) -> None:
    await board.post("one space:c:", "w/1", b"old", 60)
    await board.post("one space:c:", "w/1", b"new", 60)
    await board.post("one space:c:", "w2", b"two", 60)
    await board.post("other", "w2", b"three", 60)
    told = await board.posted("one space:c:")
    assert {(each.worker, each.data) for each in told} == {("w/1", b"new"), ("w2", b"two")}
    assert all(0 <= each.age < 60 for each in told)
    assert {each.namespace for each in await board.posted()} >= {"one space:c:", "other"}
    assert await board.posted("nobody") == []


async def test_a_short_word_of_one_takes_nobody_elses_down(board: RedisStore) -> None:
    await board.post("long", "w", b"x", 60)
    await board.post("short", "w", b"x", 0.001)
    assert len(await board.posted("long")) == 1


async def test_what_is_withdrawn_is_gone(board: RedisStore) -> None:
    await board.post("leaves", "w", b"x", 60)
    await board.post("stays", "w", b"x", 60)
    await board.withdraw("leaves")
    await board.withdraw("leaves")
    assert await board.posted("leaves") == []
    assert len(await board.posted("stays")) == 1


async def test_what_is_gone_is_not_told(board: RedisStore, url: str) -> None:
    await board.post("short", "w", b"x", 0.001)
    for _ in range(1_000):
        if not await board.posted("short"):
            break
    assert await board.posted("short") == []


async def test_every_key_has_an_end(board: RedisStore, raw: Redis, url: str) -> None:
    await board.post("ends", "w", b"x", 60)
    for name in (b"ends:c:w", b"samecall:c"):
        assert (await raw.pttl(name) > 0) is bool(await raw.exists(name))


async def test_a_cache_reports_without_being_asked(url: str, raw: Redis) -> None:
    async def call() -> str:
        return "yes"

    async with Cache(url, namespace="seen") as cache:
        for _ in range(5):
            await cache.get_or_call("k", call)
    watch = open_redis(url, op_timeout=PATIENT)()
    [told] = await watch.posted("seen")
    await watch.aclose()
    report = decode_report(told.data)
    assert report.counters["calls"] == 5
    assert report.counters["provider_calls"] == 1
    assert await raw.ttl(f"seen:c:{report.worker}") > 0


async def test_a_user_without_the_right_is_served_all_the_same(url: str, raw: Redis) -> None:
    await raw.execute_command(
        "ACL",
        "SETUSER",
        "narrow",
        "on",
        ">pw",
        "~tight:[vetlsgx]:*",
        "~samecall:ping",
        "&*",
        "+@all",
    )
    place = url.replace("redis://", "redis://narrow:pw@").replace("unix://", "unix://narrow:pw@")

    async def call() -> str:
        return "yes"

    async with Cache(place, namespace="tight") as cache:
        assert await cache.get_or_call("k", call) == "yes"
        await cache.aclose()
        now = cache.statistics()
    assert (now.stored, now.store_faults) == (1, 1)
    await raw.execute_command("ACL", "DELUSER", "narrow")
