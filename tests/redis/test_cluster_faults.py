"""A cluster in motion: slots that move, primaries that change or die, scripts that are lost."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from redis.asyncio import RedisCluster
from redis_parts import PATIENT, new_data, new_key

from samecall import Cache, Policy
from samecall._entry import Key
from samecall._errors import NodeUnreachable, StoreError, StoreRefused
from samecall._ports import Hit, Lead, Wait
from samecall._redis import RedisStore, open_redis
from samecall._redis.topology import consult, slot_of
from samecall.testing import FaultProxy, GatedProvider, LocalCluster
from samecall.testing.clusters import Member

LONG = 600.0
SOON = 30.0


@pytest.fixture(scope="module")
def lively() -> Iterator[LocalCluster]:
    """A cluster for the tests that kill nodes; each leaves it sound."""
    with LocalCluster(node_timeout=0.7) as cluster:
        yield cluster


@pytest.fixture
async def calm(cluster: LocalCluster) -> AsyncIterator[RedisStore]:
    """A patient store on the shared cluster."""
    store = open_redis(cluster.url, op_timeout=PATIENT)()
    yield store
    await store.aclose()


def key_in(slot: int) -> Key:
    """A key that no other test uses, in one slot."""
    while slot_of((key := new_key()).hex.encode()) != slot:
        pass
    return key


def key_on(cluster: LocalCluster, node: object) -> Key:
    """A key that no other test uses, in a slot of one primary."""
    while cluster.owner(slot_of((key := new_key()).hex.encode())) is not node:
        pass
    return key


def primaries(cluster: LocalCluster) -> list[Member]:
    """The nodes that own slots."""
    return [cluster.owner(slot) for slot in (0, 8000, 16383)]


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that comes, or the test's time is over."""
    async with asyncio.timeout(60):
        while not await true():
            await asyncio.sleep(0.01)


async def sound(cluster: LocalCluster) -> None:
    """Wait until all nodes are in their places."""
    await until(lambda: asyncio.to_thread(cluster.sound))


class Halfway:
    """Holds a slot's move in the middle until the test lets it go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._go = threading.Event()

    def __call__(self) -> None:
        self._loop.call_soon_threadsafe(self.reached.set)
        self._go.wait(60)

    def go_on(self) -> None:
        self._go.set()


async def test_calls_live_on_all_nodes(calm: RedisStore, cluster: LocalCluster) -> None:
    """Each call has its slot, and no request names keys of two."""
    keys = [new_key() for _ in range(300)]
    got = await asyncio.gather(*(calm.acquire(key, b"t", b"", LONG) for key in keys))
    assert got == [Lead(b"")] * 300
    owners = [cluster.nodes.index(cluster.owner(slot_of(key.hex.encode()))) for key in keys[:40]]
    assert len(set(owners)) == 3


async def test_at_most_four_connections_per_node(calm: RedisStore, cluster: LocalCluster) -> None:
    """Whatever the load: reads, writes, notifications, and now and then a look around."""
    before = await asyncio.to_thread(_clients, cluster)

    async def work() -> None:
        key = new_key()
        async with calm.listen(key):
            await calm.acquire(key, b"t", b"", LONG)
            await calm.renew(key, b"t", LONG)
            await calm.commit(key, b"t", b"", new_data(key), LONG)
            await calm.get(key)

    await asyncio.gather(*(work() for _ in range(300)))
    after = await asyncio.to_thread(_clients, cluster)
    assert max(b - a for a, b in zip(before, after, strict=True)) <= 4


def _clients(cluster: LocalCluster) -> list[int]:
    lists = [cluster.say(node, "CLIENT", "LIST", "TYPE", "NORMAL") for node in cluster.nodes]
    lists += [cluster.say(node, "CLIENT", "LIST", "TYPE", "PUBSUB") for node in cluster.nodes]
    counts = [len(str(each).split("\\n")) for each in lists]
    half = len(cluster.nodes)
    return [counts[i] + counts[i + half] for i in range(half)]


async def test_clear_counts_what_lies_on_all_nodes(calm: RedisStore) -> None:
    """A namespace is cleared on every primary."""
    keys = [new_key("cleared") for _ in range(100)]
    for key in keys:
        await calm.set(key, new_data(key), LONG)
    assert await calm.clear("cleared") == 100
    assert await calm.clear("cleared") == 0


async def test_script_flush_is_not_noticed(calm: RedisStore, cluster: LocalCluster) -> None:
    """Nodes that have lost their scripts get them again, in the middle of a load."""

    def flush() -> None:
        for node in cluster.nodes[:3]:
            cluster.say(node, "SCRIPT", "FLUSH")

    async def work() -> None:
        for _ in range(30):
            key = new_key()
            assert await calm.acquire(key, b"t", b"", LONG) == Lead(b"")
            assert await calm.renew(key, b"t", LONG) is True
            assert await calm.commit(key, b"t", b"", new_data(key), LONG) is True
            assert isinstance(await calm.acquire(key, b"u", b"", LONG), Hit)

    load = asyncio.gather(*(work() for _ in range(10)))
    while not load.done():
        await asyncio.to_thread(flush)
    await load


async def test_resharding_under_load(calm: RedisStore, cluster: LocalCluster) -> None:
    """Slots that move back and forth under a load: no error, no answer lost, no wrong owner."""
    slots = [11, 12, 13]
    home = cluster.owner(11)
    away = cluster.nodes[1] if home is not cluster.nodes[1] else cluster.nodes[2]
    moving = True

    async def work(slot: int) -> int:
        done = 0
        while moving:
            key = await asyncio.to_thread(key_in, slot)
            assert await calm.acquire(key, b"t", b"", LONG) == Lead(b"")
            assert isinstance(await calm.acquire(key, b"u", b"", LONG), Wait)
            data = new_data(key)
            assert await calm.commit(key, b"t", b"", data, LONG) is True
            found = await calm.acquire(key, b"u", b"", LONG)
            assert isinstance(found, Hit)
            assert found.data == data
            done += 1
        return done

    load = asyncio.gather(*(work(slot) for slot in slots))
    for to in (away, home) * 3:
        for slot in slots:
            await asyncio.to_thread(cluster.move_slot, slot, to)
    moving = False
    assert min(await load) > 0


async def test_a_slot_on_its_way(calm: RedisStore, cluster: LocalCluster) -> None:
    """Half-way through the move of a slot single keys are found, on whichever side they are."""
    slot, home = 21, cluster.owner(21)
    away = cluster.nodes[1] if home is not cluster.nodes[1] else cluster.nodes[2]
    keys = [key_in(slot) for _ in range(10)]
    for key in keys:
        await calm.set(key, new_data(key), LONG)
    halfway = Halfway()
    move = asyncio.create_task(asyncio.to_thread(cluster.move_slot, slot, away, halfway))
    await halfway.reached.wait()
    found = await asyncio.gather(*(calm.get(key) for key in keys))
    assert all(found)
    # several keys in one script: neither side has them all, and the lease is taken by itself
    new, data = key_in(slot), new_data(keys[0])
    assert await calm.acquire(new, b"t" * 16, b"", LONG) == Lead(b"")
    assert await calm.acquire(new, b"t" * 16, b"", LONG) == Lead(b"")
    waiting = await calm.acquire(new, b"u" * 16, b"", LONG)
    assert isinstance(waiting, Wait)
    assert waiting.token == b"t" * 16
    assert isinstance(await calm.acquire(keys[0], b"u" * 16, b"", LONG), Hit)
    stamp = (await calm.get(keys[0])).data[3:19]
    assert await calm.acquire(keys[0], b"u" * 16, stamp, LONG) == Lead(stamp)
    assert await calm.release(keys[0], b"u" * 16) is True
    committing = asyncio.ensure_future(calm.commit(new, b"t" * 16, b"", data, LONG))
    done, _ = await asyncio.wait([committing], timeout=0.05)
    assert not done
    halfway.go_on()
    await move
    assert await committing is True
    assert isinstance(await calm.acquire(new, b"u" * 16, b"", LONG), Hit)
    await asyncio.to_thread(cluster.move_slot, slot, home)


async def test_calls_coalesce_while_their_slot_is_on_its_way(cluster: LocalCluster) -> None:
    """Two processes, a move that stands still, the promised 200 ms for Redis: one call."""
    slot, home = 22, cluster.owner(22)
    away = cluster.nodes[1] if home is not cluster.nodes[1] else cluster.nodes[2]
    halfway = Halfway()
    keys = [key_in(slot) for _ in range(5)]
    one, two = (Cache(cluster.url, policy=Policy(op_timeout=1)) for _ in range(2))
    providers: list[GatedProvider[str]] = [GatedProvider() for _ in keys]
    asks = list(zip(keys, providers, strict=True))
    await asyncio.gather(*(cache.get_or_call("warm", _warm) for cache in (one, two)))
    move = asyncio.create_task(asyncio.to_thread(cluster.move_slot, slot, away, halfway))
    await halfway.reached.wait()
    leading = asyncio.gather(*(one.get_or_call(key, provider) for key, provider in asks))
    await asyncio.gather(*(provider.until_waiting(1) for provider in providers))
    following = asyncio.gather(*(two.get_or_call(key, provider) for key, provider in asks))
    store: Any = two._rooms.here().store.store
    async with asyncio.timeout(SOON):
        while store.statistics()["bells"] < len(keys):
            await asyncio.sleep(0.001)
    for provider in providers:
        provider.answer("yes")
    assert await leading == ["yes"] * len(keys)
    halfway.go_on()
    await move
    assert await following == ["yes"] * len(keys)
    assert [provider.calls for provider in providers] == [1] * len(keys)
    await asyncio.gather(one.aclose(), two.aclose())
    await asyncio.to_thread(cluster.move_slot, slot, home)


@pytest.mark.parametrize("how", ["the slot moves there and back", "a replica takes over"])
async def test_calls_in_flight_while_their_slot_changes_hands(
    cluster: LocalCluster, how: str
) -> None:
    """The lease is from before, the COMMIT from after, and others wait all the time: one call."""
    slot, home = 23, cluster.owner(23)
    away = cluster.nodes[1] if home is not cluster.nodes[1] else cluster.nodes[2]
    keys = [key_in(slot) for _ in range(5)]
    one, two, three = (Cache(cluster.url, policy=Policy(op_timeout=PATIENT)) for _ in range(3))
    providers: list[GatedProvider[str]] = [GatedProvider() for _ in keys]
    asks = list(zip(keys, providers, strict=True))
    leading = asyncio.gather(*(one.get_or_call(key, provider) for key, provider in asks))
    await asyncio.gather(*(provider.until_waiting(1) for provider in providers))
    following = asyncio.gather(
        *(cache.get_or_call(key, provider) for key, provider in asks for cache in (two, three))
    )
    async with asyncio.timeout(SOON):
        for cache in (two, three):
            store: Any = cache._rooms.here().store.store
            while store.statistics()["bells"] < len(keys):
                await asyncio.sleep(0.001)
    if how == "a replica takes over":
        await asyncio.to_thread(cluster.failover, home)
        await sound(cluster)
    else:
        for to in (away, home, away):
            await asyncio.to_thread(cluster.move_slot, slot, to)
    for provider in providers:
        provider.answer("yes")
    assert await leading == ["yes"] * len(keys)
    assert await following == ["yes"] * (2 * len(keys))
    assert [provider.calls for provider in providers] == [1] * len(keys)
    assert one.statistics().stored == len(keys)
    for cache in (one, two, three):
        assert cache.statistics().store_faults == 0
        await cache.aclose()
    if how != "a replica takes over":
        await asyncio.to_thread(cluster.move_slot, slot, home)


async def _warm() -> str:
    return "warm"


async def test_bells_follow_their_slot(calm: RedisStore, cluster: LocalCluster) -> None:
    """When a slot moves, its bells ring, and hear what is said at its new place."""
    slot, home = 31, cluster.owner(31)
    away = cluster.nodes[1] if home is not cluster.nodes[1] else cluster.nodes[2]
    keys = [key_in(slot) for _ in range(5)]
    other = open_redis(cluster.url, op_timeout=PATIENT)()
    async with contextlib.AsyncExitStack() as stack:
        bells = [await stack.enter_async_context(calm.listen(key)) for key in keys]
        neighbours = [
            await stack.enter_async_context(calm.listen(key_on(cluster, node)))
            for node in (home, away)
        ]
        for to in (away, home, away, home):
            await asyncio.to_thread(cluster.move_slot, slot, to)
            for bell in bells:
                for _ in range(2):  # at the loss, and at the new place
                    assert await bell.wait(SOON) == b""
            for key, bell in zip(keys, bells, strict=True):
                await other.acquire(key, b"t", b"", LONG)
                data = new_data(key)
                await other.commit(key, b"t", b"", data, LONG)
                while (ring := await bell.wait(SOON)) == b"":
                    pass
                assert ring == data
                await other.forget(key, 0.0)
                assert await bell.wait(SOON) == b""
        # on the same connections, in slots that stayed
        assert [await bell.wait(0.0) for bell in neighbours] == [None, None]
    await other.aclose()


async def test_a_planned_failover_under_load(cluster: LocalCluster) -> None:
    """A replica takes over in good order: no error, and a lease that was taken is kept."""
    store = open_redis(cluster.url, op_timeout=PATIENT)()
    primary = cluster.owner(41)
    key = key_in(41)
    moving = True

    async def work() -> int:
        done = 0
        while moving:
            one = new_key()
            assert await store.acquire(one, b"t", b"", LONG) == Lead(b"")
            assert await store.commit(one, b"t", b"", new_data(one), LONG) is True
            done += 1
        return done

    async with store.listen(key) as bell:
        assert await store.acquire(key, b"t", b"", LONG) == Lead(b"")
        load = asyncio.gather(*(work() for _ in range(5)))
        await asyncio.to_thread(cluster.failover, primary)
        await sound(cluster)
        assert isinstance(await store.acquire(key, b"u", b"", LONG), Wait)
        data = new_data(key)
        assert await store.commit(key, b"t", b"", data, LONG) is True
        while (ring := await bell.wait(SOON)) == b"":
            pass
        assert ring == data
        moving = False
        assert min(await load) > 0
    await store.aclose()


async def test_a_primary_killed_in_mid_flight(lively: LocalCluster) -> None:
    """A COMMIT outlives the failover, the waiting bell rings, and the entry is there for all."""
    store = open_redis(lively.url, op_timeout=PATIENT)()
    other = open_redis(lively.url, op_timeout=PATIENT)()
    primary = lively.nodes[0]
    key = key_on(lively, primary)
    async with other.listen(key) as bell:
        assert await store.acquire(key, b"t", b"", LONG) == Lead(b"")
        primary.kill()
        assert await bell.wait(SOON) == b""
        data = new_data(key)
        commit = asyncio.ensure_future(store.commit(key, b"t", b"", data, LONG))
        await asyncio.to_thread(lively.failover, primary)
        assert await commit is True
        while (ring := await bell.wait(SOON)) == b"":
            got = await other.acquire(key, b"u", b"", LONG)
            if isinstance(got, Hit):
                ring = got.data
                break
        assert ring == data
    await asyncio.to_thread(primary.start)
    await sound(lively)
    await store.aclose()
    await other.aclose()


async def test_the_other_nodes_go_on(lively: LocalCluster) -> None:
    """A dead primary costs its own slots quick errors that are no outage; nobody else notices."""
    store = open_redis(lively.url, op_timeout=1.0)()  # for so long the first one is held
    # this node's replica is paused, so that nobody takes over
    primary = lively.owner(9000)
    replica = lively.replica_of(primary)
    dead = [key_on(lively, primary) for _ in range(20)]
    alive = [key_on(lively, node) for node in primaries(lively) if node is not primary]
    for node in lively.nodes:
        lively.say(node, "CONFIG", "SET", "cluster-require-full-coverage", "no")
    replica.pause()
    primary.kill()
    with contextlib.suppress(StoreError):
        await asyncio.wait_for(store.get(dead[0]), 60)
    for key in dead:
        asked = asyncio.ensure_future(store.acquire(key, b"t", b"", LONG))
        for _ in range(3):
            await asyncio.sleep(0)
        assert asked.done()  # nobody waits for a node that is known to be lost
        assert type(asked.exception()) is StoreError
    for key in alive:
        assert await store.acquire(key, b"t", b"", LONG) == Lead(b"")
    await store.ping()  # a store of which a part is gone is not gone
    release = asyncio.ensure_future(store.release(dead[0], b"t"))  # it settles: it is held
    await asyncio.sleep(0)
    assert not release.done()
    replica.resume()
    primary.start()
    await sound(lively)
    assert await release in (True, False)

    async def served() -> bool:
        try:
            await store.acquire(dead[1], b"t", b"", LONG)
        except StoreError:
            return False
        return True

    await until(served)
    for node in lively.nodes:
        lively.say(node, "CONFIG", "SET", "cluster-require-full-coverage", "yes")
    await store.aclose()


async def test_a_node_that_falls_silent_and_comes_back(lively: LocalCluster) -> None:
    """It is lost, the store is not, and it is asked again once it answers."""
    store = open_redis(lively.url, op_timeout=0.3)()
    primary = lively.owner(9000)
    replica = lively.replica_of(primary)
    lively.say(replica, "CONFIG", "SET", "cluster-replica-no-failover", "yes")
    for node in lively.nodes:
        lively.say(node, "CONFIG", "SET", "cluster-require-full-coverage", "no")
    key = key_on(lively, primary)
    assert await store.acquire(key, b"t", b"", LONG) == Lead(b"")
    primary.pause()
    try:
        with pytest.raises(StoreError) as caught:
            await store.get(key)
        assert type(caught.value) is NodeUnreachable
    finally:
        primary.resume()

    async def served() -> bool:
        try:
            return isinstance(await store.acquire(key, b"u", b"", LONG), Wait)
        except StoreError:
            return False

    await until(served)
    await sound(lively)
    for node in lively.nodes:
        lively.say(node, "CONFIG", "SET", "cluster-require-full-coverage", "yes")
    lively.say(replica, "CONFIG", "SET", "cluster-replica-no-failover", "no")
    await store.aclose()


async def test_a_lost_subscription_is_no_lost_node(calm: RedisStore, cluster: LocalCluster) -> None:
    """Nor is one that is refused: whoever asks the node right after has an answer."""
    node = cluster.owner(500)
    keys = [key_on(cluster, node) for _ in range(3)]
    async with calm.listen(keys[0]) as bell:
        for rounds in range(3):
            await asyncio.to_thread(cluster.say, node, "CLIENT", "KILL", "TYPE", "PUBSUB")
            assert await bell.wait(SOON) == b""
            assert isinstance(await calm.acquire(keys[1], b"t", b"", LONG), Lead)
            assert await bell.wait(SOON) == b"", rounds  # subscribed anew
    cluster.say(node, "ACL", "SETUSER", "default", "-ssubscribe")
    try:
        with pytest.raises(StoreRefused):
            async with calm.listen(keys[2]):
                pass
        assert isinstance(await calm.acquire(keys[1], b"t", b"", LONG), Lead)
    finally:
        cluster.say(node, "ACL", "SETUSER", "default", "+ssubscribe")


@contextlib.asynccontextmanager
async def cutting(cluster: LocalCluster, node: Member, key: Key) -> AsyncIterator[Any]:
    """A proxy that cuts a node's replies, and a store that has asked the node for `key` before."""
    async with FaultProxy(f"redis://127.0.0.1:{node.port}") as proxy:
        client = RedisCluster(
            host="127.0.0.1",
            port=cluster.nodes[0].port,
            address_remap=lambda at: (at[0], proxy.port if at[1] == node.port else at[1]),
        )
        store: Any = open_redis(client, op_timeout=PATIENT)()
        assert await store.acquire(key, b"t", b"", LONG) == Lead(b"")
        proxy.set(cut_after=20)  # enough for the login, and not for a reply
        yield proxy, store
        await store.aclose()


async def test_a_lost_connection_is_no_lost_node(cluster: LocalCluster) -> None:
    """Two in a row end under a job, which is held; another one goes to the node all the same."""
    node = cluster.owner(500)
    keys = [key_on(cluster, node) for _ in range(3)]
    async with cutting(cluster, node, keys[0]) as (proxy, store):
        held = asyncio.ensure_future(store.acquire(keys[1], b"t", b"", LONG))
        while not store._reads._router._held:
            await asyncio.sleep(0)
        proxy.heal()
        assert await store.acquire(keys[2], b"t", b"", LONG) == Lead(b"")
        assert await held == Lead(b"")


async def test_a_node_that_cuts_every_reply_is_not_asked_for_ever(cluster: LocalCluster) -> None:
    """Twice, over two connections each: who waits calls for himself. It is alive all the time."""
    node = cluster.owner(500)
    first, second = key_on(cluster, node), key_on(cluster, node)
    async with cutting(cluster, node, first) as (proxy, store):
        before = proxy.counts().connections
        with pytest.raises(NodeUnreachable):
            await store.acquire(second, b"t", b"", LONG)
        assert proxy.counts().connections - before <= 8  # looks at the node among them
        assert store._reads._router.standing()
        proxy.heal()


async def test_a_closed_store_leaves_nothing(cluster: LocalCluster) -> None:
    """After `aclose` everything is a `StoreError`, and no task is left."""
    store = open_redis(cluster.url, op_timeout=PATIENT)()
    key = new_key()
    async with store.listen(key):
        await store.set(key, b"data", LONG)
    await store.aclose()
    for work in (store.get(key), store.ping(), store.clear("x")):
        with pytest.raises(StoreError):
            await work
    with pytest.raises(StoreError):
        async with store.listen(key):
            pass
    assert not [t for t in asyncio.all_tasks() if "samecall" in t.get_name()]


async def test_servers_without_sharded_channels(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before version 7 one subscription on any node hears what is said on all of them."""
    from samecall._redis import router

    async def older(settings: Any, limit: float) -> Any:
        ranges, _ = await consult(settings, limit)
        return ranges, False

    monkeypatch.setattr(router, "consult", older)
    one = open_redis(cluster.url, op_timeout=PATIENT)()
    two = open_redis(cluster.url, op_timeout=PATIENT)()
    keys = [new_key() for _ in range(20)]
    async with contextlib.AsyncExitStack() as stack:
        bells = [await stack.enter_async_context(one.listen(key)) for key in keys]
        assert one.statistics()["channels"] == 20
        for key, bell in zip(keys, bells, strict=True):
            assert await two.acquire(key, b"t", b"", LONG) == Lead(b"")
            data = new_data(key)
            assert await two.commit(key, b"t", b"", data, LONG) is True
            assert await bell.wait(SOON) == data
    counts = [cluster.say(node, "PUBSUB", "SHARDCHANNELS") for node in cluster.nodes]
    assert not any(
        channel.startswith(b"0:ns-") and keys[0].hex.encode() in channel
        for channels in counts
        for channel in channels
    )
    await one.aclose()
    await two.aclose()
