"""Batches, cancellation, lost connections: what the lanes promise."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import ANY

import pytest
from redis.asyncio import Redis
from redis_parts import PATIENT, new_data, new_key

from samecall._embedded import EmbeddedServer
from samecall._errors import StoreError, StoreUnreachable
from samecall._ports import Found, Hit, Lead, Wait
from samecall._redis import RedisStore, names, open_redis, scripts
from samecall._redis.link import pack
from samecall._stamps import stamp_of

LONG = 600.0


@pytest.fixture
async def calm(own_server: EmbeddedServer) -> AsyncIterator[tuple[RedisStore, Redis]]:
    """A store and a plain client, alone on a server."""
    store = open_redis(own_server.url, op_timeout=PATIENT)()
    raw = Redis.from_url(own_server.url.replace("redis+unix", "unix"), protocol=2)
    yield store, raw
    await raw.aclose()
    await store.aclose()


def token() -> bytes:
    return os.urandom(16)


async def calls_of(raw: Redis, command: str) -> int:
    stats: dict[str, Any] = await raw.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


async def clients(raw: Redis) -> list[dict[str, str]]:
    own = str(await raw.client_id())
    return [each for each in await raw.client_list() if each["id"] != own]


async def test_one_tick_is_one_command(calm: tuple[RedisStore, Redis]) -> None:
    """What one tick asks for goes out as one EVALSHA, each with its own answer."""
    store, raw = calm
    await store.acquire(new_key(), token(), b"", LONG)
    keys = [new_key() for _ in range(200)]
    for key in keys[::2]:
        await store.set(key, key.digest, LONG)
    await raw.config_resetstat()
    got = await asyncio.gather(*(store.acquire(key, token(), b"", LONG) for key in keys))
    assert await calls_of(raw, "evalsha") == 1
    assert [each.data for each in got[::2] if isinstance(each, Hit)] == [
        key.digest for key in keys[::2]
    ]
    assert got[1::2] == [Lead(b"")] * 100


async def test_what_differs_within_one_batch(calm: tuple[RedisStore, Redis]) -> None:
    """Each key's own token, lease and stamp, also where most of one command have them alike."""
    store, raw = calm
    keys = [new_key() for _ in range(6)]
    kept, refused, *free = keys
    for key in (kept, refused):
        await store.set(key, new_data(key), LONG)
    stamp = stamp_of((await store.get(refused) or Found(b"", 0.0)).data)
    tokens = [token() for _ in keys]
    tokens[4] = b"short"
    leases = [LONG, LONG, LONG, 60.0, LONG, LONG]
    seens = [b"", stamp, b"", b"", b"", b"*"]
    asked = zip(keys, tokens, seens, leases, strict=True)
    got = await asyncio.gather(*(store.acquire(*each) for each in asked))
    assert isinstance(got[0], Hit)
    assert got[1:] == [Lead(stamp), *[Lead(b"")] * 4]
    assert await raw.exists(names.lease(kept)) == 0
    for key, own, lease in list(zip(keys, tokens, leases, strict=True))[1:]:
        assert await raw.get(names.lease(key)) == own
        assert lease - 30 < await raw.ttl(names.lease(key)) <= lease
    assert await store.acquire(free[0], token(), b"", LONG) == Wait(tokens[2], ANY, b"")


async def test_the_next_batch_gathers_while_one_is_in_flight(
    calm: tuple[RedisStore, Redis], own_server: EmbeddedServer
) -> None:
    """Everything that is asked for while Redis is busy goes out together after it."""
    store, raw = calm
    await store.acquire(new_key(), token(), b"", LONG)
    await raw.config_resetstat()
    await raw.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
    asked = []
    for _ in range(50):
        asked.append(asyncio.ensure_future(store.acquire(new_key(), token(), b"", LONG)))
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert store.statistics()["reads"] == 50
    await raw.execute_command("CLIENT", "UNPAUSE")
    await asyncio.gather(*asked)
    assert await calls_of(raw, "evalsha") <= 3


async def test_at_most_four_connections(calm: tuple[RedisStore, Redis]) -> None:
    """Whatever the load, a store has three connections."""
    store, raw = calm

    async def work() -> None:
        key, own = new_key(), token()
        async with store.listen(key):
            await store.acquire(key, own, b"", LONG)
            await store.renew(key, own, LONG)
            await store.commit(key, own, b"", new_data(key), LONG)
            await store.get(key)

    await asyncio.gather(*(work() for _ in range(300)))
    assert len(await clients(raw)) <= 4


async def test_a_cancelled_caller_never_reaches_the_socket(
    calm: tuple[RedisStore, Redis],
) -> None:
    """Callers that leave harm neither the connection nor the answers of the others."""
    store, raw = calm
    await store.ping()
    before = {each["id"] for each in await clients(raw)}
    for turns in range(40):
        keys = [new_key() for _ in range(20)]
        for key in keys:
            await store.set(key, key.digest, LONG)
        asked = [asyncio.ensure_future(store.get(key)) for key in keys]
        for _ in range(turns % 8):
            await asyncio.sleep(0)
        for each in asked[::2]:
            each.cancel()
        got = await asyncio.gather(*asked[1::2])
        assert [found.data for found in got if found] == [key.digest for key in keys[1::2]]
    assert before <= {each["id"] for each in await clients(raw)}


async def test_a_caller_that_leaves_before_the_send_takes_no_lease(store: RedisStore) -> None:
    """An ACQUIRE that nobody waits for any more is not sent."""
    key = new_key()
    asked = asyncio.ensure_future(store.acquire(key, token(), b"", LONG))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait([asked])
    assert await store.acquire(key, token(), b"", LONG) == Lead(b"")


async def test_a_release_goes_out_without_its_caller(store: RedisStore) -> None:
    """What settles a lease is sent even if who asked for it was cancelled at once."""
    key, own = new_key(), token()
    await store.acquire(key, own, b"", LONG)
    asked = asyncio.ensure_future(store.release(key, own))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait([asked])
    await store.set(new_key(), b"data", LONG)  # behind it on the same lane
    assert await store.acquire(key, token(), b"", LONG) == Lead(b"")


async def test_script_flush_is_not_noticed(calm: tuple[RedisStore, Redis]) -> None:
    """A server that has lost its scripts gets them again."""
    store, raw = calm
    for _ in range(5):
        key, own = new_key(), token()
        assert await store.acquire(key, own, b"", LONG) == Lead(b"")
        await raw.script_flush()
        assert await store.renew(key, own, LONG) is True
        await raw.script_flush()
        assert await store.commit(key, own, b"", new_data(key), LONG) is True
        await raw.script_flush()
        assert await store.get(key) is not None


async def test_connections_killed_between_two_requests(calm: tuple[RedisStore, Redis]) -> None:
    """A connection that the server closed while it was idle costs nobody an error."""
    store, raw = calm
    for _ in range(5):
        key, own = new_key(), token()
        assert await store.acquire(key, own, b"", LONG) == Lead(b"")
        await raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert await store.commit(key, own, b"", new_data(key), LONG) is True
        await raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def test_a_stalled_server(own_server: EmbeddedServer) -> None:
    """A server that falls silent gives `StoreUnreachable`, and is used again when it is back."""
    store = open_redis(own_server.url, op_timeout=0.05)()
    key, own = new_key(), token()
    await store.acquire(key, own, b"", LONG)
    os.killpg(own_server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnreachable):
            await store.get(key)
        with pytest.raises(StoreUnreachable):
            await store.commit(key, own, b"", new_data(key), LONG)
    finally:
        os.killpg(own_server.pid, signal.SIGCONT)
    patient = open_redis(own_server.url, op_timeout=PATIENT)()
    await patient.ping()
    await store.ping()
    await patient.aclose()
    await store.aclose()


async def test_no_server() -> None:
    """Nothing listens: `StoreUnreachable`, for all who asked, and nothing hangs."""
    store = open_redis("redis://127.0.0.1:1/0", op_timeout=PATIENT)()
    got = await asyncio.gather(
        *(store.get(new_key()) for _ in range(50)), store.ping(), return_exceptions=True
    )
    assert {type(each) for each in got} == {type(got[0])}
    assert isinstance(got[0], StoreUnreachable)
    with pytest.raises(StoreUnreachable):
        async with store.listen(new_key()):
            pass
    await store.aclose()


async def test_wrong_types_count_as_absent(store: RedisStore, raw: Redis) -> None:
    """A list where a value, error or lease should be is as good as nothing, and is overwritten."""
    key, own = new_key(), token()
    for kind in "vel":
        await raw.lpush(f"{key.namespace}:{kind}:{{{key.hex}}}", "x")
    assert await store.get(key) is None
    got = await store.acquire(key, own, b"", LONG)
    assert got == Lead(b"", b"", ("value", "error", "lease"))
    data = new_data(key)
    assert await store.commit(key, own, b"", data, LONG) is True
    got = await store.acquire(key, token(), b"", LONG)
    assert isinstance(got, Hit)
    assert got.data == data


async def test_a_lease_without_a_ttl_is_free(store: RedisStore, raw: Redis) -> None:
    """Nobody waits for a lease that would never end, and it refuses no commit."""
    key = new_key()
    lease = f"{key.namespace}:l:{{{key.hex}}}"
    await raw.set(lease, b"somebody")
    assert await store.commit(key, token(), b"", new_data(key), LONG) is True
    key = new_key()
    lease = f"{key.namespace}:l:{{{key.hex}}}"
    await raw.set(lease, b"somebody")
    assert await store.acquire(key, token(), b"", LONG) == Lead(b"")
    assert await raw.pttl(lease) > 0


async def test_a_value_without_a_ttl_has_nothing_left(store: RedisStore, raw: Redis) -> None:
    """A value that somebody made eternal reads as expired."""
    key = new_key()
    await store.set(key, new_data(key), LONG)
    await raw.persist(f"{key.namespace}:v:{{{key.hex}}}")
    found = await store.get(key)
    assert found is not None
    assert found.left == 0.0


async def test_every_script_may_be_sent_twice(store: RedisStore) -> None:
    """A lost reply is asked for again: commit and fail say yes the second time too."""
    key, own = new_key(), token()
    data = new_data(key)
    await store.acquire(key, own, b"", LONG)
    assert [await store.commit(key, own, b"", data, LONG) for _ in range(2)] == [True, True]
    key = new_key()
    await store.acquire(key, own, b"", LONG)
    assert [await store.fail(key, own, data, LONG) for _ in range(2)] == [True, True]


async def test_a_full_reply_is_continued(calm: tuple[RedisStore, Redis]) -> None:
    """Values beyond what one reply may hold come with the next, each with its own key."""
    store, raw = calm
    keys = [new_key() for _ in range(20)]
    for key in keys:
        await store.set(key, key.digest * 2**15, LONG)  # 1 MiB each
    await raw.config_resetstat()
    got = await asyncio.gather(*(store.acquire(key, token(), b"", LONG) for key in keys))
    assert [each.data[:32] for each in got if isinstance(each, Hit)] == [k.digest for k in keys]
    assert await calls_of(raw, "evalsha") > 1


async def test_no_room_for_a_lease(calm: tuple[RedisStore, Redis]) -> None:
    """A server out of memory gives hits as ever, and a `StoreError` where it must write."""
    store, raw = calm
    hit, miss = new_key(), new_key()
    await store.set(hit, new_data(hit), LONG)
    await raw.config_set("maxmemory", "1")
    got, refused = await asyncio.gather(
        store.acquire(hit, token(), b"", LONG),
        store.acquire(miss, token(), b"", LONG),
        return_exceptions=True,
    )
    with pytest.raises(StoreError):
        await store.ping()
    await raw.config_set("maxmemory", "0")
    assert isinstance(got, Hit)
    assert isinstance(refused, StoreError)


async def test_a_stray_reply_is_never_an_answer(calm: tuple[RedisStore, Redis]) -> None:
    """With an unread reply on the line the next request fails; it does not get that reply."""
    store, _ = calm
    key = new_key()
    await store.set(key, new_data(key), LONG)
    assert await store.get(key) is not None
    link: Any = store._reads._link
    connection = await link.connect()
    other = new_key()  # a whole and well-formed answer, but to another question
    name = f"{other.namespace}:v:{{{other.hex}}}"
    stray = (b"EVALSHA", scripts.LOOK.sha, 1, name, 999_999, *scripts.LOOK.head)
    await connection.send_packed_command(pack([stray]), check_health=False)
    with pytest.raises(StoreError):
        await store.get(key)
    assert await store.get(key) is not None


async def test_a_reply_that_nobody_can_read_ends_its_own_job(
    calm: tuple[RedisStore, Redis],
) -> None:
    """And whoever shares the batch has an answer."""
    store, _ = calm
    key = new_key()
    await store.set(key, new_data(key), LONG)
    assert await store.get(key) is not None  # from now on the server knows the script

    def breaks(_: Any) -> Any:
        raise ZeroDivisionError

    broken = store._reads.ask(scripts.LOOK, (f"{key.namespace}:v:x",), (), read=breaks)
    done, _ = await asyncio.wait((broken,), timeout=PATIENT / 3)
    assert done
    assert isinstance(broken.exception(), StoreError)
    assert isinstance(await store.acquire(key, token(), b"", LONG), Hit)
    assert store.statistics()["reads"] == 0


async def test_a_closed_store(own_server: EmbeddedServer) -> None:
    """After `aclose` everything is a `StoreError`, and the server sees no connection."""
    store = open_redis(own_server.url, op_timeout=PATIENT)()
    key = new_key()
    async with store.listen(key):
        await store.set(key, b"data", LONG)
        await store.get(key)
    await store.aclose()
    with pytest.raises(StoreError):
        await store.get(key)
    with pytest.raises(StoreError):
        async with store.listen(key):
            pass
    assert not [t for t in asyncio.all_tasks() if "samecall" in t.get_name()]


def test_a_flight_releases_when_its_loop_ends(server: EmbeddedServer) -> None:
    """A RELEASE from a cancellation handler goes out although `asyncio.run` has ended the lane."""
    key, own = new_key(), token()

    async def flight(store: RedisStore, leads: asyncio.Event) -> None:
        await store.acquire(key, own, b"", LONG)
        leads.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert await store.release(key, own) is True
            raise

    async def main() -> None:
        store = open_redis(server.url, op_timeout=PATIENT)()
        leads = asyncio.Event()
        main.flight = asyncio.ensure_future(flight(store, leads))  # type: ignore[attr-defined]
        await leads.wait()
        # the lane has work in flight when the loop's end cancels it
        main.busy = asyncio.ensure_future(store.set(new_key(), b"x", LONG))  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def look() -> None:
        store = open_redis(server.url, op_timeout=PATIENT)()
        assert await store.acquire(key, token(), b"", LONG) == Lead(b"")
        await store.aclose()

    asyncio.run(main())
    assert main.flight.cancelled()  # type: ignore[attr-defined]
    asyncio.run(look())


async def test_a_lane_that_is_cancelled_fails_its_jobs_and_starts_again(
    calm: tuple[RedisStore, Redis],
) -> None:
    """Readers get a `StoreError`, what settles a lease is sent again, later jobs work."""
    store, raw = calm
    key, own = new_key(), token()
    await store.acquire(key, own, b"", LONG)
    await raw.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
    read = asyncio.ensure_future(store.get(key))
    commit = asyncio.ensure_future(store.commit(key, own, b"", new_data(key), LONG))
    for _ in range(3):
        await asyncio.sleep(0)
    for task in asyncio.all_tasks():
        if task.get_name().startswith("samecall-redis"):
            task.cancel()
    with pytest.raises(StoreError):
        await read
    await raw.execute_command("CLIENT", "UNPAUSE")
    assert await commit is True
    assert await store.get(key) is not None


async def test_a_busy_loop_is_not_a_slow_server(store: RedisStore, url: str) -> None:
    """A loop that was blocked for longer than the deadline still takes a reply lying there."""
    import time

    impatient = open_redis(url, op_timeout=0.2)()
    key = new_key()
    large = os.urandom(2**20)  # takes the loop several turns to read
    await store.set(key, large, LONG)
    await impatient.get(key)
    for _ in range(3):
        asked = asyncio.ensure_future(impatient.get(key))
        for _ in range(3):
            await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251 - the point
        found = await asked
        assert found is not None
        assert found.data == large
    await impatient.aclose()


async def test_waiters_are_told_what_is_left(store: RedisStore) -> None:
    """WAIT carries the leader's token, the rest of its lease and the stamp of the value."""
    key, own = new_key(), token()
    await store.acquire(key, own, b"", LONG)
    got = await store.acquire(key, token(), b"", LONG)
    assert isinstance(got, Wait)
    assert (got.token, got.seen) == (own, b"")
