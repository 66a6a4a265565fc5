"""Two caches on one store are two processes: one of them leads."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from core_support import FleetCodec, World, outcomes, spawn, virtual

from samecall import Entry, Payload, Policy, RemoteCallError
from samecall._entry import Kind, encode_entry, new_stamp
from samecall._key import key_from
from samecall._ports import Hit, Lead, Wait
from samecall._stamps import new_token

KEY = key_from("k", "default", None)
DEAD = new_token(KEY)


def envelope(value: bytes = b"\xa6theirs") -> bytes:
    return encode_entry(KEY, Entry(Kind.VALUE, Payload("plain", value), new_stamp(), 60.0, 60.0))


@virtual
async def test_one_call_of_two_processes(w: World) -> None:
    """The followers' answer rides in the bell: one question each, and the second look."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    tasks = [
        *spawn(50, lambda: one.get_or_call("k", provider)),
        *spawn(50, lambda: two.get_or_call("k", provider)),
    ]
    await provider.until_waiting(1)
    await w.turns()
    provider.answer([1])
    answers = await asyncio.gather(*tasks)
    assert answers == [[1]] * 100
    assert len({id(answer) for answer in answers}) == 100
    assert provider.calls == 1
    assert two.statistics().coalesced_remote == 50
    assert w.store.calls["acquire"] == 3
    assert w.store.calls["listen"] == 1


@virtual
async def test_the_second_look(w: World) -> None:
    """A commit between WAIT and the subscription rings for nobody, and is seen all the same."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    w.store.hold("listen", times=1)
    leading = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    following = asyncio.ensure_future(two.get_or_call("k", provider))
    await w.store.until_held("listen")
    provider.answer("yes")
    assert await leading == "yes"
    await w.turns()
    before = w.clock.now()
    w.store.heal("listen")
    assert await following == "yes"
    assert w.clock.now() == before
    assert provider.calls == 1


@virtual
async def test_an_error_is_told(w: World) -> None:
    """A leader's failure wakes the followers, who have it by name."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    tasks = [asyncio.ensure_future(c.get_or_call("k", provider)) for c in (one, two, two)]
    await provider.until_waiting(1)
    await w.turns()
    before = w.clock.now()
    provider.fail(ZeroDivisionError("no"))
    got = await outcomes(*tasks)
    assert [type(error) for error in got] == [ZeroDivisionError, RemoteCallError, RemoteCallError]
    assert got[1] is not got[2]
    assert (got[1].class_name, provider.calls) == ("ZeroDivisionError", 1)
    assert w.clock.now() == before


@virtual
async def test_a_release_wakes_the_next_leader(w: World) -> None:
    """An abandoned call frees its key at once."""
    one, two, provider = w.cache(Policy(on_abandon="abandon")), w.cache(), w.provider()
    leading = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    following = asyncio.ensure_future(two.get_or_call("k", provider))
    await w.turns()
    before = w.clock.now()
    leading.cancel()
    await w.turns()
    assert (provider.waiting, provider.calls, w.clock.now()) == (1, 2, before)
    provider.answer("yes")
    assert await following == "yes"


@pytest.mark.parametrize("lease", [0.5, 5.0])
@virtual
async def test_takeover_of_a_dead_leader(w: World, lease: float) -> None:
    """A lease that ends unrenewed is taken within half a second."""
    cache, provider = w.cache(Policy(lease=lease)), w.provider()
    provider.answer("yes")
    assert isinstance(await w.memory.acquire(KEY, DEAD, b"", lease), Lead)
    before = w.clock.now()
    assert await cache.get_or_call("k", provider) == "yes"
    assert lease <= w.clock.now() - before < lease + 0.5


@virtual
async def test_a_long_call_is_made_once(w: World) -> None:
    """Renewal keeps the lease for as long as the call takes, and ends with it."""
    policy = Policy(lease=1)
    one, two, provider = w.cache(policy), w.cache(policy), w.provider()
    tasks = [asyncio.ensure_future(c.get_or_call("k", provider)) for c in (one, two)]
    await asyncio.sleep(20)
    assert provider.calls == 1
    provider.answer("yes")
    assert await asyncio.gather(*tasks) == ["yes", "yes"]
    await w.turns()
    renewals = w.store.calls["renew"]
    assert renewals >= 55
    await asyncio.sleep(5)
    assert w.store.calls["renew"] == renewals


@pytest.mark.parametrize("why", ["forgotten", "taken"])
@virtual
async def test_a_lost_lease(w: World, why: str) -> None:
    """The call is finished and answered; its commit is refused."""
    one, provider = w.cache(Policy(lease=3)), w.provider()
    task = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    if why == "forgotten":
        await w.memory.forget(KEY, 60)
    else:
        w.memory._leases.free_all()
        assert isinstance(await w.memory.acquire(KEY, DEAD, b"", 60), Lead)
    await asyncio.sleep(10)
    provider.answer("yes")
    assert await task == "yes"
    await w.turns()
    assert one.statistics().stored == 0
    assert await one.peek("k") is None
    assert one._rooms.l1 is not None
    assert one._rooms.l1.look(KEY) is None
    assert w.store.calls["renew"] <= 2
    await w.memory.release(KEY, DEAD)


@virtual
async def test_a_silent_leader_with_a_longer_lease_is_deposed(w: World) -> None:
    """Nobody waits longer than its own lease for one who does not renew."""
    cache, provider = w.cache(Policy(lease=5)), w.provider()
    provider.answer("yes")
    await w.memory.acquire(KEY, DEAD, b"", 600)
    before = w.clock.now()
    assert await cache.get_or_call("k", provider) == "yes"
    assert w.clock.now() - before < 5.5


@pytest.mark.parametrize("lease", [0.3, 5.0])
@virtual
async def test_a_leader_that_renews_is_never_deposed(w: World, lease: float) -> None:
    """However long it takes, and however short the lease of who waits."""
    one, two, provider = w.cache(Policy(lease=60)), w.cache(Policy(lease=lease)), w.provider()
    leading = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    following = asyncio.ensure_future(two.get_or_call("k", provider))
    await asyncio.sleep(100)
    assert provider.calls == 1
    provider.answer("yes")
    assert await asyncio.gather(leading, following) == ["yes", "yes"]


@pytest.mark.parametrize("changes", [False, True])
@virtual
async def test_nobody_is_the_hostage_of_who_renews_for_ever(w: World, changes: bool) -> None:
    """No call lasts longer than its deadline: who waits longer is answered by a call of its own."""
    cache, provider = w.cache(Policy(lease=5, deadline=60)), w.provider()
    provider.answer("yes")
    token, before = new_token(KEY), w.clock.now()

    async def hold() -> None:
        nonlocal token
        await w.memory.acquire(KEY, token, b"", 5)
        while True:
            await asyncio.sleep(1)
            await w.memory.renew(KEY, token, 5)
            if changes:
                await w.memory.release(KEY, token)
                token = new_token(KEY)
                await w.memory.acquire(KEY, token, b"", 5)

    holding = asyncio.ensure_future(hold())
    await w.turns()
    assert await cache.get_or_call("k", provider) == "yes"
    assert 60 < w.clock.now() - before < 70
    assert provider.calls == 1
    holding.cancel()
    await w.turns()
    await w.memory.release(KEY, token)


@virtual
async def test_slow_replies_are_no_renewals(w: World) -> None:
    """A dead leader does not look alive because the store answers now fast, now slowly."""
    cache, provider = w.cache(Policy(lease=5, op_timeout=2)), w.provider()
    provider.answer("yes")
    await w.memory.acquire(KEY, DEAD, b"", 600)

    class Uneven:
        calls = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(w.memory, name)

        async def acquire(self, *args: Any) -> Any:
            reply = await w.memory.acquire(*args)
            Uneven.calls += 1
            await asyncio.sleep(0.1 * (Uneven.calls % 2))
            return reply

    uneven = w.cache(Policy(lease=5, op_timeout=2), store=Uneven())
    before = w.clock.now()
    assert await uneven.get_or_call("k", provider) == "yes"
    assert w.clock.now() - before < 6
    assert cache.statistics().calls == 0


@virtual
async def test_a_store_that_cannot_depose_is_not_pestered(w: World) -> None:
    """A refused release is no reason to ask in a circle."""
    cache, provider = w.cache(Policy(lease=5)), w.provider()
    w.store.raise_on("release")
    await w.memory.acquire(KEY, DEAD, b"", 60)
    provider.answer("yes")
    assert await cache.get_or_call("k", provider) == "yes"
    assert w.store.calls["acquire"] < 50


@pytest.mark.parametrize("ridden", [b"garbage", b"x" * 200])
@virtual
async def test_garbage_that_rides_is_refused(w: World, ridden: bytes) -> None:
    """The key is the truth: what the bell brings must be an entry of this key."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    tasks = [asyncio.ensure_future(c.get_or_call("k", provider)) for c in (one, two)]
    await provider.until_waiting(1)
    await w.turns()
    w.memory._bells.ring(KEY, ridden)
    await w.turns()
    provider.answer("yes")
    assert await asyncio.gather(*tasks) == ["yes", "yes"]
    assert two.statistics().coalesced_remote == 1
    assert provider.calls == 1


@virtual
async def test_an_error_where_a_value_belongs(w: World) -> None:
    """An entry of another kind at the value's place is a miss, and so the other way round."""
    cache, provider = w.cache(), w.provider()
    provider.answer("yes")
    error = Entry(Kind.ERROR, Payload("error", b""), new_stamp(), 60.0, 60.0)
    await w.memory.set(KEY, encode_entry(KEY, await w.of_now(error)), 60)
    assert await cache.get_or_call("k", provider) == "yes"
    await w.turns()
    found = await w.memory.get(KEY)
    assert found is not None
    await w.memory.acquire(KEY, DEAD, b"*", 60)
    await w.memory.fail(KEY, DEAD, found.data, 60)
    w.memory.drop(KEY)
    assert await w.cache().get_or_call("k", provider) == "yes"
    assert provider.calls == 2


@virtual
async def test_own_limits_of_a_leader_are_not_the_followers(w: World) -> None:
    """Reach OWN in one process: the other leads by itself, woken at once."""
    one, two, provider, codec = w.cache(), w.cache(), w.provider(), FleetCodec()
    leading = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    following = asyncio.ensure_future(two.get_or_call("k", provider, codec=codec))
    await w.turns()
    before = w.clock.now()
    provider.fail_one(TimeoutError())
    await provider.until_waiting(1)
    assert w.clock.now() == before
    provider.answer("yes")
    assert [type(one) for one in await outcomes(leading, following)] == [TimeoutError, str]


@pytest.mark.parametrize("end", ["commit", "fail"])
@virtual
async def test_an_end_that_the_store_does_not_take_frees_the_key(w: World, end: Any) -> None:
    """Who waits elsewhere is woken at once, and leads."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    w.store.raise_on(end, times=1)
    leading = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    following = asyncio.ensure_future(two.get_or_call("k", provider))
    await w.turns()
    before = w.clock.now()
    if end == "commit":
        provider.answer_one("first")
    else:
        provider.fail_one(ZeroDivisionError())
    await outcomes(leading)
    await w.turns()
    assert (provider.waiting, provider.calls, w.clock.now()) == (1, 2, before)
    provider.answer("second")
    assert await following == "second"


@virtual
async def test_a_commit_that_its_loop_cancels_is_sent_again(w: World) -> None:
    """What carries the bytes may be cancelled with the flight, as at the end of `asyncio.run`."""
    sent = asyncio.Event()

    class Frail:
        def __getattr__(self, name: str) -> Any:
            return getattr(w.memory, name)

        async def commit(self, *args: Any) -> bool:
            if not sent.is_set():
                sent.set()
                await asyncio.Event().wait()
            return await w.memory.commit(*args)

    cache, provider = w.cache(store=Frail()), w.provider()
    provider.answer("paid")
    assert await cache.get_or_call("k", provider) == "paid"
    await sent.wait()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await w.turns()
    assert await w.memory.get(KEY) is not None


@virtual
async def test_the_protocols_words(w: World) -> None:
    """The model says WAIT with the leader's token, then HIT."""
    one, provider = w.cache(), w.provider()
    task = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    assert isinstance(await w.memory.acquire(KEY, bytes(16), b"", 5), Wait)
    provider.answer("yes")
    await task
    await w.turns()
    assert isinstance(await w.memory.acquire(KEY, bytes(16), b"", 5), Hit)
