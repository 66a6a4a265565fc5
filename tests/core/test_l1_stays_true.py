"""L1 over a shared store: what changes anywhere is dropped here, and doubt drops everything."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from samecall import L1, Cache, Key
from samecall._key import key_from
from samecall._redis import names
from samecall.testing.servers import LocalServer

LONG = L1(ttl=86_400)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer() as server:
        yield server


@pytest.fixture
async def raw(server: LocalServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url) as raw:
        yield raw


@pytest.fixture
def space() -> str:
    return f"true-{secrets.token_hex(6)}"


async def until(so: Callable[[], bool]) -> None:
    """Return once it is so; a test that waits for ever is ended by its limit."""
    while not so():
        await asyncio.sleep(0.001)


def held(cache: Cache, key: Key) -> bool:
    l1 = cache._rooms.l1
    return l1 is not None and l1.look(key) is not None


def told(cache: Cache) -> bool:
    return cache._rooms.here().trust._told


async def answer() -> str:
    return "a"


async def other() -> str:
    return "b"


async def never() -> str:
    raise AssertionError("this call has an answer already")


def ends(cache: Cache, key: Key) -> float:
    """Seconds for which the copy is trusted."""
    l1 = cache._rooms.l1
    assert l1 is not None
    return l1._values._items[key].ends - cache._clock.now()


async def commands(raw: Redis) -> int:
    """What the server was asked so far, our own questions and the ear's PING apart."""
    stats = await raw.info("commandstats")
    own = {"cmdstat_info", "cmdstat_ping"}
    return sum(each["calls"] for name, each in stats.items() if name not in own)


async def until_subscribed(raw: Redis, channel: bytes) -> None:
    while (await raw.pubsub_numsub(channel))[0][1] == 0:
        await asyncio.sleep(0.001)


async def settled(cache: Cache) -> None:
    await until(lambda: cache._rooms.here().flights.statistics().storing == 0)


class Eavesdropper:
    """Hears when a key has changed."""

    def __init__(self, heard: asyncio.Event) -> None:
        self.heard = heard
        self.stamps: list[bytes] = []

    def told(self) -> None: ...

    def changed(self, key: Key, stamp: bytes) -> None:
        if stamp:
            self.stamps.append(stamp)
            self.heard.set()

    def renewed(self, namespace: str, tag: str) -> None: ...

    def doubtful(self) -> None: ...


async def filled(cache: Cache, key: Key) -> None:
    """Held by L1 on the word of a store that tells of its changes."""
    await until(lambda: told(cache))
    l1 = cache._rooms.l1
    assert l1 is not None
    while not held(cache, key) or l1._values._items[key].ends - cache._clock.now() < 10:
        l1.drop(key)  # what was copied before the store began to tell
        assert await cache.get_or_call(key, never) == "a"
        await asyncio.sleep(0.001)


async def all_heard(cache: Cache, raw: Redis, space: str) -> None:
    """Return once all changes of before were heard: what is told later comes later."""
    fence, l1 = key_from("fence", space), cache._rooms.l1
    await cache.get_or_call(fence, answer)
    await settled(cache)
    await filled(cache, fence)
    async with raw.pipeline() as both:
        both.set(names.change(fence), b"", px=1_000)
        both.delete(names.change(fence))
        await both.execute()
    assert l1 is not None
    await until(lambda: not held(cache, fence))


async def test_a_forget_elsewhere_drops_the_copy(
    server: LocalServer, raw: Redis, space: str
) -> None:
    """Also a refresh: whoever writes, whoever holds."""
    async with (
        Cache(server.url, namespace=space, l1=LONG) as one,
        Cache(server.url, namespace=space, l1=LONG) as two,
    ):
        key = key_from("k", space)
        await one.get_or_call(key, answer)
        await two.get_or_call(key, never)
        await filled(one, key)
        await filled(two, key)
        await one.forget(key)
        await all_heard(two, raw, space)
        assert not held(two, key)
        await two.get_or_call(key, answer)
        await filled(one, key)
        await filled(two, key)
        await one.get_or_call(key, answer, mode="refresh")
        await settled(one)
        await all_heard(two, raw, space)
        assert not held(two, key)


async def test_who_led_and_who_followed_answer_from_memory(
    server: LocalServer, raw: Redis, space: str
) -> None:
    """A COMMIT calls back no copies where none can be; the next calls send nothing."""
    async with (
        Cache(server.url, namespace=space, l1=LONG, report=False) as one,
        Cache(server.url, namespace=space, l1=LONG, report=False) as two,
    ):
        key, gate, called = key_from("k", space), asyncio.Event(), asyncio.Event()

        async def slow() -> str:
            called.set()
            await gate.wait()
            return "a"

        for cache in (one, two):
            await cache.peek(key)
            await until(lambda cache=cache: told(cache))
        leading = asyncio.create_task(one.get_or_call(key, slow))
        await called.wait()
        following = asyncio.create_task(two.get_or_call(key, never))
        channel = names.channel(key, 0).encode()
        await until_subscribed(raw, channel)
        gate.set()
        assert (await leading, await following) == ("a", "a")
        await until(lambda: one.statistics().stored == 1)
        await settled(one)
        before = await commands(raw)
        for cache in (one, two):
            assert await cache.get_or_call(key, never) == "a"
            assert cache.statistics().l1_hits == 1
            assert ends(cache, key) > 10
        assert await commands(raw) == before
        await one.forget(key)
        await until(lambda: not held(two, key))
        assert not held(one, key)


async def test_who_led_while_the_line_came_up_trusts_its_copy(
    server: LocalServer, space: str
) -> None:
    """What may have gone untold was before its COMMIT, which judges that."""
    async with Cache(server.url, namespace=space, l1=LONG) as cache:
        key = key_from("k", space)

        async def slow() -> str:
            await until(lambda: told(cache))
            return "a"

        await cache.get_or_call(key, slow)
        assert ends(cache, key) > 10


async def test_a_first_value_is_told_to_nobody(server: LocalServer, space: str) -> None:
    """Fleets of thousands would hear of every miss of each other's."""
    async with Cache(server.url, namespace=space, l1=LONG) as cache:
        key, heard = key_from("k", space), Eavesdropper(asyncio.Event())
        await cache.peek(key)
        await until(lambda: told(cache))
        cache._rooms.here().store.store._ear.watch(space, heard)
        await cache.get_or_call(key, answer)
        await until(lambda: cache.statistics().stored == 1)
        await cache.get_or_call(key, other, mode="refresh")
        there = cache._rooms.l1.look(key).stamp
        await until(lambda: there in heard.stamps)
        assert heard.stamps == [there]


async def test_who_refreshes_keeps_the_new_copy(server: LocalServer, space: str) -> None:
    """The message says which entry is there now; everybody else drops theirs."""
    async with (
        Cache(server.url, namespace=space, l1=LONG) as one,
        Cache(server.url, namespace=space, l1=LONG) as two,
    ):
        key = key_from("k", space)
        await one.get_or_call(key, answer)
        await filled(two, key)
        await until(lambda: told(one))
        heard = asyncio.Event()
        one._rooms.here().store.store._ear.watch(space, Eavesdropper(heard))
        assert await one.get_or_call(key, other, mode="refresh") == "b"
        await until(lambda: not held(two, key))
        await heard.wait()
        assert held(one, key)
        assert await one.get_or_call(key, never) == "b"
        assert await two.get_or_call(key, never) == "b"


async def test_a_refresh_of_what_was_evicted_drops_the_copies(
    server: LocalServer, raw: Redis, space: str
) -> None:
    async with (
        Cache(server.url, namespace=space, l1=LONG) as one,
        Cache(server.url, namespace=space, l1=LONG) as two,
    ):
        key = key_from("k", space)
        await one.get_or_call(key, answer)
        await filled(two, key)
        await raw.unlink(names.value(key))
        assert await one.get_or_call(key, other, mode="refresh") == "b"
        await settled(one)
        await all_heard(two, raw, space)
        assert not held(two, key)


async def test_what_is_imported_drops_the_copies(
    server: LocalServer, raw: Redis, space: str, tmp_path: Path
) -> None:
    async with (
        Cache(server.url, namespace=space, l1=LONG) as one,
        Cache(server.url, namespace=space, l1=LONG) as two,
    ):
        key = key_from("k", space)
        await one.get_or_call(key, answer)
        await filled(two, key)
        await one.export(tmp_path / "all.jsonl")
        assert (await one.import_(tmp_path / "all.jsonl")).stored == 1
        await all_heard(two, raw, space)
        assert not held(two, key)


async def test_a_lost_line_drops_everything(server: LocalServer, raw: Redis, space: str) -> None:
    """And once it is back, copies are trusted again."""
    async with Cache(server.url, namespace=space, l1=LONG) as cache:
        key = key_from("k", space)
        await cache.get_or_call(key, answer)
        await filled(cache, key)
        ear = cache._rooms.here().store.store._ear  # type: ignore[attr-defined]
        await raw.client_kill_filter(_type="pubsub", skipme=True)
        await until(lambda: not ear.true)
        assert not held(cache, key)
        await filled(cache, key)


async def test_a_flushed_database_drops_everything(
    server: LocalServer, raw: Redis, space: str
) -> None:
    async with Cache(server.url, namespace=space, l1=LONG) as cache:
        key = key_from("k", space)
        await cache.get_or_call(key, answer)
        await filled(cache, key)
        await raw.flushdb()
        await until(lambda: not held(cache, key))


async def test_a_new_namespace_is_heard_too(server: LocalServer, space: str) -> None:
    async with Cache(server.url, namespace=space, l1=LONG) as cache, Cache(server.url) as other:
        first, second = key_from("k", space), key_from("k", f"{space}-2")
        for key in (first, second):
            await cache.get_or_call(key, answer)
            await filled(cache, key)
        await filled(cache, first)
        for key in (first, second):
            await other.forget(key)
            await until(lambda key=key: not held(cache, key))


async def test_of_many_namespaces_a_few_are_heard(
    server: LocalServer, space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies of the others are trusted for a second, and all that is told goes on being heard."""
    monkeypatch.setattr("samecall._trust._MOST", 2)
    async with Cache(server.url, namespace=space, l1=LONG) as cache, Cache(server.url) as other:
        keys = [key_from("k", f"{space}-{number}") for number in range(20)]
        await cache.get_or_call(keys[0], answer)
        await filled(cache, keys[0])
        ear = cache._rooms.here().store.store._ear
        task, l1 = ear._task, cache._rooms.l1
        assert l1 is not None
        for key in keys[1:]:
            await cache.get_or_call(key, answer)
            assert l1._values._items[key].ends - cache._clock.now() <= 1
            await cache.get_or_call(key, answer, mode="refresh")
            assert l1._values._items[key].ends - cache._clock.now() <= 1
        assert ear._task is task
        assert len(ear._namespaces) == 2
        assert held(cache, keys[0])
        await other.forget(keys[0])
        await until(lambda: not held(cache, keys[0]))


async def test_a_fill_whose_key_changed_meanwhile_is_not_kept(
    server: LocalServer, space: str
) -> None:
    async with Cache(server.url, namespace=space, l1=LONG) as cache, Cache(server.url) as other:
        key = key_from("k", space)
        await cache.get_or_call(key, answer)
        await filled(cache, key)
        trust = cache._rooms.here().trust
        entry = cache._rooms.l1.look(key)
        fill = trust.begin(key)
        assert fill is not None
        await other.forget(key)
        await until(lambda: not held(cache, key))
        era = cache._rooms.l1.era
        trust.keep(fill, entry, cache._clock.now(), math.inf, era)
        trust.end(fill)
        assert not held(cache, key)
        assert trust._fills == {}


@pytest.mark.parametrize(
    ("heard", "kept"),
    [((), True), (("new",), True), (("new", "new"), True), (("",), False), (("new", ""), False)],
)
async def test_a_fill_is_kept_if_it_is_what_is_there(
    server: LocalServer, space: str, heard: tuple[str, ...], kept: bool
) -> None:
    """Whatever is told before the copy is made, in whatever order."""
    async with Cache(server.url, namespace=space, l1=LONG) as cache:
        key = key_from("k", space)
        await cache.get_or_call(key, answer)
        await filled(cache, key)
        trust, entry = cache._rooms.here().trust, cache._rooms.l1.look(key)
        cache._rooms.l1.drop(key)
        fill = trust.begin(key)
        for name in heard:
            trust.changed(key, entry.stamp if name else b"")
        era = cache._rooms.l1.era
        trust.keep(fill, entry, cache._clock.now(), math.inf, era)
        trust.end(fill)
        assert held(cache, key) is kept


async def test_generations_known_before_the_line_is_true_count_for_nothing(
    server: LocalServer, space: str
) -> None:
    """They may have changed while nobody told."""
    async with Cache(server.url, namespace=space, l1=LONG) as cache:
        await cache.get_or_call("k", answer)
        await until(lambda: told(cache))
        trust, copies = cache._rooms.here().trust, cache._rooms.copies
        trust.doubtful()
        assert copies.learn(space, ("",), (b"g",), copies.era, cache._clock.now())
        trust.told()
        assert copies.of(space, ("",)) is None


async def test_generations_are_believed_while_their_end_would_be_told(
    server: LocalServer, space: str
) -> None:
    """No second look at them each second; a tag that is forgotten elsewhere is told."""
    async with (
        Cache(server.url, namespace=space, l1=LONG) as one,
        Cache(server.url, namespace=space, l1=LONG) as two,
    ):
        key, copies = key_from("k", space), two._rooms.copies
        await one.get_or_call(key, answer, tags=("t",))
        await until(lambda: told(two))
        await two.get_or_call(key, never, tags=("t",))
        assert copies.end(space, ("", "t")) - two._clock.now() > 10
        await one.forget_tag("t", namespace=space)
        await until(lambda: copies.of(space, ("", "t")) is None)
        assert await two.get_or_call(key, other, tags=("t",)) == "b"


async def test_untracked_a_copy_is_trusted_for_a_second(
    server: LocalServer, raw: Redis, space: str
) -> None:
    """A login that may not track: calls are answered, and L1 trusts its copies for a second."""
    await raw.execute_command(
        "ACL", "SETUSER", space, "on", ">pw", "~*", "&*", "+@all", "-client|tracking"
    )
    url = server.url.replace("redis://", f"redis://{space}:pw@")
    async with Cache(url, namespace=space, l1=LONG) as cache:
        key = key_from("k", space)
        await cache.get_or_call(key, answer)
        l1 = cache._rooms.l1
        assert l1 is not None
        assert l1._values._items[key].ends - cache._clock.now() <= 1
        assert not told(cache)
        assert cache.statistics().store_faults == 0


@pytest.mark.parametrize("l1", [None, L1(ttl=1)])
async def test_who_keeps_no_long_copies_has_no_line(
    server: LocalServer, raw: Redis, space: str, l1: L1 | None
) -> None:
    async with Cache(server.url, namespace=space, l1=l1) as cache:
        await cache.get_or_call("k", answer)
        ear = cache._rooms.here().store.store._ear
        assert ear._task is None
