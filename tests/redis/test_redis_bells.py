"""Notifications over one connection: subscriptions, disconnects, absence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis_parts import PATIENT, new_data, new_key

from samecall._embedded import EmbeddedServer
from samecall._entry import Key
from samecall._errors import StoreError
from samecall._redis import RedisStore, bells, heart, open_redis

SOON = 30.0


@pytest.fixture
async def calm(own_server: EmbeddedServer) -> AsyncIterator[tuple[RedisStore, Redis]]:
    """A store and a plain client, alone on a server."""
    store = open_redis(own_server.url, op_timeout=PATIENT)()
    raw = Redis.from_url(own_server.url.replace("redis+unix", "unix"), protocol=2)
    yield store, raw
    await raw.aclose()
    await store.aclose()


def channel(key: Key, db: int = 0) -> str:
    return f"{db}:{key.namespace}:n:{{{key.hex}}}"


async def kill_pubsub(raw: Redis) -> None:
    assert await raw.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 1


async def test_many_bells_share_one_connection_and_few_commands(
    calm: tuple[RedisStore, Redis],
) -> None:
    """1,500 keys with two bells each: one connection, subscribed in a handful of commands."""
    store, raw = calm
    keys = [new_key() for _ in range(1500)]
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(store.listen(key)) for key in keys + keys))
        stats: dict[str, Any] = await raw.info("commandstats")
        assert stats["cmdstat_subscribe"]["calls"] <= 4
        listed = await raw.client_list(_type="pubsub")
        assert [each["sub"] for each in listed] == ["1500"]
        assert store.statistics()["bells"] == 3000


async def test_who_has_entered_hears_everything(store: RedisStore, raw: Redis) -> None:
    """A bell is entered only once the server has confirmed it."""
    for _ in range(50):
        key = new_key()
        async with store.listen(key) as bell:
            assert await raw.publish(channel(key), b"now") == 1
            assert await bell.wait(SOON) == b"now"


async def test_listening_again_right_after_an_unsubscribe(
    calm: tuple[RedisStore, Redis], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscription on its way out is not taken for the new one."""
    store, raw = calm
    monkeypatch.setattr(bells, "_LINGER", 0.0)
    key = new_key()
    async with store.listen(new_key()):  # keeps the connection
        for turns in range(100):
            async with store.listen(key) as bell:
                assert await raw.publish(channel(key), b"now") == 1
                assert await bell.wait(SOON) == b"now"
            for _ in range(turns % 7):
                await asyncio.sleep(0)


async def test_a_bell_cancelled_before_its_confirmation(
    calm: tuple[RedisStore, Redis], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who leaves while the subscription is under way spoils nobody else's."""
    store, raw = calm
    monkeypatch.setattr(bells, "_LINGER", 0.0)
    async with store.listen(new_key()):
        for turns in range(60):
            key = new_key()

            async def enter(key: Key = key) -> None:
                async with store.listen(key):
                    await asyncio.Event().wait()

            hasty = asyncio.ensure_future(enter())
            for _ in range(turns % 6):
                await asyncio.sleep(0)
            hasty.cancel()
            async with store.listen(key) as bell:
                assert await raw.publish(channel(key), b"now") == 1
                assert await bell.wait(SOON) == b"now"
        while len(await raw.pubsub_channels()) > 1:
            await asyncio.sleep(0)


async def test_the_last_bell_unsubscribes(
    calm: tuple[RedisStore, Redis], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last one has left, subscriptions, connection and task end."""
    store, raw = calm
    monkeypatch.setattr(bells, "_LINGER", 0.0)
    key = new_key()
    async with store.listen(key), store.listen(key):
        assert store.statistics()["channels"] == 1
    while await raw.client_list(_type="pubsub"):
        await asyncio.sleep(0)
    assert store.statistics()["channels"] == 0
    async with store.listen(key) as bell:
        await raw.publish(channel(key), b"again")
        assert await bell.wait(SOON) == b"again"


async def test_a_disconnect_rings_every_bell(calm: tuple[RedisStore, Redis]) -> None:
    """All look again at the disconnect and after the new subscription; then all is as before."""
    store, raw = calm
    keys = [new_key() for _ in range(20)]
    async with AsyncExitStack() as stack:
        bells: list[Any] = [await stack.enter_async_context(store.listen(key)) for key in keys]
        board: Any = store._bells
        channels = [board._channels[channel(key).encode()] for key in keys]
        for _ in range(3):
            await kill_pubsub(raw)
            for live in (False, True):
                async with asyncio.timeout(SOON):
                    while {each.live for each in channels} != {live}:
                        await asyncio.sleep(0.001)
                assert {bell._rings.popleft() if bell._rings else None for bell in bells} == {b""}
            for key, bell in zip(keys, bells, strict=True):
                assert await raw.publish(channel(key), key.digest) == 1
                assert await bell.wait(SOON) == key.digest


async def test_a_bell_lives_through_a_restart(own_server: EmbeddedServer) -> None:
    """Bells ring when the server goes and again when one is back in its place."""
    store = open_redis(own_server.url, op_timeout=PATIENT)()
    key = new_key()
    async with store.listen(key) as bell:
        place = Path(own_server.socket)
        away = place.rename(f"{place}.away")  # noqa: ASYNC240 - at once
        raw = Redis(unix_socket_path=f"{own_server.socket}.away", protocol=2)
        await kill_pubsub(raw)
        assert await bell.wait(SOON) == b""  # it is gone, and no connection can be made
        with pytest.raises(StoreError):
            async with store.listen(new_key()):
                pass
        away.rename(place)
        assert await bell.wait(SOON) == b""
        await raw.publish(channel(key), b"back")
        assert await bell.wait(SOON) == b"back"
        await raw.aclose()
    await store.aclose()


async def test_a_cancelled_reader_rings_and_comes_back(calm: tuple[RedisStore, Redis]) -> None:
    """Even if somebody cancels the reading task, a bell that waits hears again."""
    store, raw = calm
    key = new_key()
    async with store.listen(key) as bell:
        for task in asyncio.all_tasks():
            if task.get_name() == "samecall-redis-bells":
                task.cancel()
        assert await bell.wait(SOON) == b""
        assert await bell.wait(SOON) == b""  # subscribed anew
        await raw.publish(channel(key), b"now")
        assert await bell.wait(SOON) == b"now"


async def test_databases_are_separate(own_server: EmbeddedServer) -> None:
    """Pub/sub knows no database numbers; the channels do."""
    one = open_redis(own_server.url, op_timeout=PATIENT)()
    two = open_redis(f"{own_server.url}?db=2", op_timeout=PATIENT)()
    key = new_key()
    async with one.listen(key) as here, two.listen(key) as there:
        await one.acquire(key, b"t", b"", 600.0)
        data = new_data(key)
        await one.commit(key, b"t", b"", data, 600.0)
        await two.forget(key, 0.0)
        assert await here.wait(SOON) == data
        assert await there.wait(SOON) == b""
    assert await one.get(key) is not None
    await one.aclose()
    await two.aclose()


async def test_a_pile_of_rings_keeps_the_newest(store: RedisStore, raw: Redis) -> None:
    """Who does not listen for long has a bounded pile, and the last ring is on it."""
    key = new_key()
    async with store.listen(key) as bell, store.listen(key) as other:
        for i in range(100):
            await raw.publish(channel(key), b"%d" % i)
        while await other.wait(SOON) != b"99":
            pass
        heard = []
        while (ring := await bell.wait(0.0)) is not None:
            heard.append(ring)
    assert heard == [b"96", b"97", b"98", b"99"]


async def pings(raw: Redis) -> int:
    """How many PINGs the server was sent."""
    stats: dict[str, Any] = await raw.info("commandstats")
    return int(stats.get("cmdstat_ping", {}).get("calls", 0))


async def test_a_quiet_line_is_asked_and_one_that_talks_is_not(
    calm: tuple[RedisStore, Redis], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait of 30 s costs no PING at all while its line has something to say."""
    store, raw = calm
    beats: list[heart.Heart] = []
    made = heart.Heart.__init__
    monkeypatch.setattr(heart.Heart, "__init__", lambda h, beat: beats.append(h) or made(h, beat))
    key = new_key()
    async with store.listen(key) as bell:
        [its], before = beats, await pings(raw)
        its._due()  # as its timer does: it has just heard the confirmation
        assert await raw.publish(channel(key), b"now") == 1
        assert await bell.wait(SOON) == b"now"
        assert await pings(raw) == before
        its._heard -= heart.QUIET
        its._due()
        while await pings(raw) == before:
            await asyncio.sleep(0)
        assert await raw.publish(channel(key), b"still here") == 1
        assert await bell.wait(SOON) == b"still here"
        assert await pings(raw) == before + 1


async def test_a_line_that_told_nothing_is_asked_at_once(calm: tuple[RedisStore, Redis]) -> None:
    """Once, whatever the number of those who missed a ring."""
    store, raw = calm
    async with store.listen(new_key()) as one, store.listen(new_key()) as other:
        before = await pings(raw)
        for bell in (one, other, one):
            bell.missed()
        while await pings(raw) == before:
            await asyncio.sleep(0)
        assert await pings(raw) == before + 1
