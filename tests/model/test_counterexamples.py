"""Ways to break a promise that the model found, played against the code."""

import asyncio

import pytest

from samecall import Cache
from samecall._entry import Entry, Key, Kind, Payload, encode_entry
from samecall._failopen import FailOpenStore
from samecall._lease import Claim, ClaimState
from samecall._memory import MemoryStore
from samecall._policy import Policy
from samecall._ports import SEEN_ANY, SEEN_NOTHING, BreakerChanged, Lead, MonotonicClock
from samecall._stamps import new_token
from samecall.testing import FaultyStore, GatedProvider

KEY = Key(b"k" * 32)
OTHER = new_token(KEY)


def entry(stamp: bytes, kind: Kind = Kind.VALUE) -> bytes:
    return encode_entry(KEY, Entry(kind, Payload("json", b"1"), stamp, 60.0, 60.0))


def nothing() -> None:
    """Nobody wants to know that a COMMIT is on its way."""


class Fleet:
    """A store that can be held up, and one process in front of it."""

    def __init__(self) -> None:
        self.store = FaultyStore(MemoryStore())
        self.back = asyncio.Event()
        self.process = FailOpenStore(self.store, self.hear, "memory://")

    def hear(self, event: object) -> None:
        if isinstance(event, BreakerChanged) and not event.open:
            self.back.set()

    def claim(self, seen: bytes = SEEN_NOTHING) -> Claim:
        policy = Policy(op_timeout=0.02, lease=30)
        return Claim(
            self.process, KEY, policy, seen, MonotonicClock(), lambda _: None, lambda _: None
        )

    async def alone_with_a_late_lease(self) -> Claim:
        """A claim whose ACQUIRE came only after it had been given up, and after a forget."""
        claim = self.claim()
        self.store.hold("acquire")
        assert await claim.resolve() is None
        assert claim.state is ClaimState.ALONE
        await self.store.forget(KEY, 600.0)
        self.store.heal("acquire")
        while await self.store.renew(KEY, claim.stamp, 30.0) is False:
            await asyncio.sleep(0)
        await self.back.wait()
        return claim


@pytest.fixture
async def fleet():
    fleet = Fleet()
    yield fleet
    await fleet.process.aclose(1.0)


async def test_a_lease_that_came_late_commits_nothing_over_a_forget(fleet):
    claim = await fleet.alone_with_a_late_lease()
    assert not await claim.commit(entry(claim.stamp), 60.0, nothing)
    assert await fleet.store.get(KEY) is None
    assert isinstance(await fleet.store.acquire(KEY, OTHER, SEEN_NOTHING, 30.0), Lead)


async def test_a_lease_that_comes_while_it_commits_proves_nothing_either(fleet):
    claim = fleet.claim()
    fleet.store.hold("acquire")
    assert await claim.resolve() is None
    await fleet.store.forget(KEY, 600.0)
    await fleet.back.wait()
    fleet.store.hold("commit")
    committing = asyncio.ensure_future(claim.commit(entry(claim.stamp), 60.0, nothing))
    await fleet.store.until_held("commit")
    fleet.store.heal("acquire")
    while fleet.store.calls["release"] < 1:  # for the late reply
        await asyncio.sleep(0)
    await fleet.store.acquire(KEY, claim.stamp, SEEN_NOTHING, 30.0)  # and once more, from the wire
    fleet.store.heal("commit")
    assert not await committing
    assert await fleet.store.get(KEY) is None


async def test_a_refresh_whose_lease_came_late_replaces_nothing_newer(fleet):
    """It called without an answer to its ACQUIRE: what was stored meanwhile it has not seen."""
    claim = fleet.claim(SEEN_ANY)
    fleet.store.hold("acquire")
    assert await claim.resolve() is None
    await fleet.store.store.set(KEY, entry(OTHER), 60.0)
    fleet.store.heal("acquire")
    while await fleet.store.renew(KEY, claim.stamp, 30.0) is False:
        await asyncio.sleep(0)
    await fleet.back.wait()
    assert not await claim.commit(entry(claim.stamp), 60.0, nothing)
    assert (await fleet.store.get(KEY)).data == entry(OTHER)


async def test_a_doubled_acquire_commits_nothing_over_a_forget(fleet):
    """It was carried out and answered, the key was forgotten, and it is carried out once more."""
    claim = fleet.claim()
    assert await claim.resolve() is None
    assert claim.state is ClaimState.LEADING
    await fleet.store.forget(KEY, 600.0)
    await fleet.store.acquire(KEY, claim.stamp, SEEN_NOTHING, 30.0)
    assert not await claim.commit(entry(claim.stamp), 60.0, nothing)
    assert await fleet.store.get(KEY) is None
    assert isinstance(await fleet.store.acquire(KEY, OTHER, SEEN_NOTHING, 30.0), Lead)


async def test_a_doubled_acquire_tells_no_error_over_a_forget(fleet):
    claim = fleet.claim()
    assert await claim.resolve() is None
    await fleet.store.forget(KEY, 600.0)
    await fleet.store.acquire(KEY, claim.stamp, SEEN_NOTHING, 30.0)
    await claim.fail(entry(claim.stamp, Kind.ERROR), 60.0)
    assert isinstance(await fleet.store.acquire(KEY, OTHER, SEEN_NOTHING, 30.0), Lead)


async def test_a_lease_that_came_late_tells_no_error_over_a_forget(fleet):
    claim = await fleet.alone_with_a_late_lease()
    await claim.fail(entry(claim.stamp, Kind.ERROR), 60.0)
    assert isinstance(await fleet.store.acquire(KEY, OTHER, SEEN_NOTHING, 30.0), Lead)


async def test_who_called_alone_still_stores_where_nothing_came_between(fleet):
    claim = fleet.claim()
    fleet.store.raise_on("acquire", times=1)
    assert await claim.resolve() is None
    assert await claim.commit(entry(claim.stamp), 60.0, nothing)
    found = await fleet.store.get(KEY)
    assert found is not None


async def waiting(fleet, waits, resolving):
    while fleet.store.calls["wait"] < waits:
        assert not resolving.done()
        await asyncio.sleep(0)


async def test_a_message_from_before_is_only_a_hint(fleet):
    """Forgotten, or refused, and still on its way when a new flight listens."""
    await fleet.store.acquire(KEY, OTHER, SEEN_NOTHING, 30.0)
    claim = fleet.claim()
    resolving = asyncio.ensure_future(claim.resolve())
    await waiting(fleet, 1, resolving)
    fleet.store.store._bells.ring(KEY, entry(new_token(KEY)))
    await waiting(fleet, 2, resolving)
    asked = fleet.store.calls["acquire"]
    await fleet.store.commit(KEY, OTHER, SEEN_NOTHING, entry(OTHER), 60.0)
    answer = await resolving
    assert answer.stamp == OTHER
    assert fleet.store.calls["acquire"] == asked, "the leader's own entry needs no second look"


async def test_what_a_leader_stores_bears_its_token():
    store = FaultyStore(MemoryStore())
    cache = Cache(store, l1=None)
    provider = GatedProvider()
    asking = asyncio.ensure_future(cache.get_or_call(KEY, provider))
    await provider.until_waiting(1)
    other = await store.acquire(KEY, OTHER, SEEN_NOTHING, 30.0)
    provider.answer({"a": 1})
    await asking
    await cache.aclose()
    assert (await store.get(KEY)).data[3:19] == other.token
