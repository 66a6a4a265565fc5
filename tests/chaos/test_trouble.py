"""Redis in every kind of trouble: calls are answered, once where that is possible, and counted."""

from __future__ import annotations

import asyncio

import pytest

from samecall import Cache, Policy
from samecall._entry import Key
from samecall._errors import StoreError
from samecall._redis import RedisStore, open_redis
from samecall.testing import FaultProxy, GatedProvider, LocalServer
from trouble import FAULTS, trouble

PATIENT = 30.0


@pytest.mark.parametrize("name", FAULTS)
async def test_every_call_is_answered(name: str, server: LocalServer) -> None:
    """In the air when the trouble begins, during it and after it, with no exception of ours."""
    fault = FAULTS[name]
    # patience where nothing falls silent: a slow machine must not look like a slow Redis
    op_timeout = 0.2 if fault.breaks else PATIENT
    found = await trouble(name, server, waves=1, keys=8, op_timeout=op_timeout)
    assert found.wrong == []
    assert found.asked >= 2 * 8 * 4
    assert found.keys == 16
    assert found.most_per_key <= (1 if fault.once else 2)  # at most one of each process
    if fault.told is not None:
        assert bool(found.faults) is fault.told
    if fault.breaks is not None:
        assert bool(found.opened) is fault.breaks


async def test_an_open_breaker_asks_nothing(proxy: FaultProxy) -> None:
    """Calls go on without Redis, one per key, and nobody meets the fault again."""
    cache = Cache(proxy.url, policy=Policy(op_timeout=0.2))
    provider: GatedProvider[str] = GatedProvider()
    provider.answer("yes")
    await cache.get_or_call("first", provider)
    proxy.set(refuse=True)
    await cache.get_or_call("second", provider)
    faults = cache.statistics().store_faults
    assert faults > 0
    provider.close()
    asked = [asyncio.ensure_future(cache.get_or_call(f"k{n % 50}", provider)) for n in range(200)]
    await provider.until_waiting(50)
    assert provider.waiting == 50
    provider.answer("yes")
    assert await asyncio.gather(*asked) == ["yes"] * 200
    assert cache.statistics().store_faults == faults
    await cache.aclose()


async def test_what_was_lost_in_a_black_hole_leaves_no_lease(
    proxy: FaultProxy, server: LocalServer
) -> None:
    """An ACQUIRE that arrives after its caller gave up is given back."""
    cache = Cache(proxy.url, policy=Policy(op_timeout=0.2, lease=600))
    provider: GatedProvider[str] = GatedProvider()
    provider.answer("yes")
    await cache.get_or_call("first", provider)
    proxy.set(black_hole=True)
    assert await cache.get_or_call("second", provider) == "yes"
    proxy.heal()
    other = Cache(server.url, policy=Policy(op_timeout=PATIENT, lease=600, wait=PATIENT))
    assert await other.get_or_call("second", provider) == "yes"
    await other.aclose()
    await cache.aclose()


async def test_a_subscription_lost_on_its_way_is_asked_for_again(proxy: FaultProxy) -> None:
    """Once, as with every command; who waits for somebody else's call is not deaf for it."""
    store = open_redis(proxy.url, op_timeout=PATIENT)()
    key, other = Key(b"k" * 32), Key(b"o" * 32)
    async with store.listen(key):
        proxy.set(black_hole=True)
        entering = asyncio.ensure_future(_enter(store, other))
        while not _asked(store):
            await asyncio.sleep(0)
        proxy.reset()
        proxy.heal()
        await entering
        proxy.set(cut_after=20)  # enough for the login, and not for a confirmation
        proxy.reset()
        async with asyncio.timeout(PATIENT):
            with pytest.raises(StoreError):
                await _enter(store, Key(b"p" * 32))
    await store.aclose()


async def _enter(store: RedisStore, key: Key) -> None:
    async with store.listen(key):
        pass


def _asked(store: RedisStore) -> bool:
    return store._bells._owed > 0
