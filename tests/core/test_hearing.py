"""Followers whom no bell rings for: logins that may not subscribe or publish, messages dropped."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from core_support import World, virtual

from samecall import Cache, Policy
from samecall._errors import StoreRefused
from samecall._key import key_from
from samecall._stamps import new_token

KEY = key_from("k", "default", None)


def mute(w: World) -> None:
    """Leaders publish, and nobody hears it."""
    w.memory._bells.ring = lambda *_: None  # type: ignore[method-assign]


async def followed(w: World, one: Cache, two: Cache, key: str, seconds: float) -> float:
    """How long after the leader's answer its follower had it."""
    loop, provider = asyncio.get_running_loop(), w.provider()
    leading = asyncio.ensure_future(one.get_or_call(key, provider))
    await provider.until_waiting(1)
    following = asyncio.ensure_future(two.get_or_call(key, provider))
    await asyncio.sleep(seconds)
    provider.answer("yes")
    assert await leading == "yes"
    done = loop.time()
    assert await following == "yes"
    assert provider.calls == 1
    return loop.time() - done


@virtual
@pytest.mark.parametrize("seconds", [0.2, 0.5, 1.0, 2.0])
async def test_a_follower_that_may_not_subscribe(w: World, seconds: float) -> None:
    """It looks for itself, soon at first: it waits as long again at most, and never over 2 s."""
    one, two = w.cache(), w.cache()
    w.store.raise_on("listen", error=StoreRefused("NOPERM"))
    assert await followed(w, one, two, "k", seconds) <= min(seconds + 0.2, 2.01)


@virtual
async def test_a_long_wait_without_bells_stays_within_its_commands(w: World) -> None:
    """20 commands in 30 s: its share of ACQUIREs, and one SUBSCRIBE that was refused."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    w.store.raise_on("listen", error=StoreRefused("NOPERM"))
    leading = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    before = w.store.calls["acquire"]
    following = asyncio.ensure_future(two.get_or_call("k", provider))
    await asyncio.sleep(30)
    assert w.store.calls["acquire"] - before + 1 <= 20
    provider.answer("yes")
    assert await asyncio.gather(leading, following) == ["yes", "yes"]


@virtual
async def test_what_is_published_reaches_nobody(w: World) -> None:
    """The first follower finds out by its look after 2 s; those after it look sooner."""
    one, two = w.cache(), w.cache()
    ring = w.memory._bells.ring
    mute(w)
    assert 1.0 < await followed(w, one, two, "first", 1.0) <= 2.01
    for key in ("second", "third"):
        assert await followed(w, one, two, key, 0.8) <= 0.3
    w.memory._bells.ring = ring  # type: ignore[method-assign]
    assert await followed(w, one, two, "heard again", 1.0) == pytest.approx(0.0, abs=0.01)
    mute(w)
    assert 1.0 < await followed(w, one, two, "trusted again", 1.0) <= 2.01


@virtual
async def test_a_look_at_the_right_moment_blames_no_bell(w: World) -> None:
    """An answer that the look after the subscription finds is no message that was missed."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    w.store.hold("listen", times=1)
    leading = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    following: asyncio.Future[Any] = asyncio.ensure_future(two.get_or_call("k", provider))
    await w.store.until_held("listen")
    provider.answer("yes")
    assert await leading == "yes"
    w.store.heal()
    assert await following == "yes"
    provider = w.provider()
    asked = w.store.calls["acquire"]
    leading = asyncio.ensure_future(one.get_or_call("k2", provider))
    await provider.until_waiting(1)
    following = asyncio.ensure_future(two.get_or_call("k2", provider))
    await asyncio.sleep(1.9)
    assert w.store.calls["acquire"] - asked == 3  # the leader's, the follower's, its second look
    provider.answer("yes")
    assert await asyncio.gather(leading, following) == ["yes", "yes"]


@virtual
async def test_a_leader_with_a_longer_lease_is_still_deposed_without_bells(w: World) -> None:
    """Short looks at first change nothing about when a dead leader is given up."""
    dead, two, provider = new_token(KEY), w.cache(policy=Policy(lease=5)), w.provider()
    w.store.raise_on("listen", error=StoreRefused("NOPERM"))
    await w.memory.acquire(KEY, dead, b"", 3_600.0)
    provider.answer("yes")
    began = asyncio.get_running_loop().time()
    assert await two.get_or_call("k", provider) == "yes"
    assert 4.9 <= asyncio.get_running_loop().time() - began <= 7.5
