"""Trouble in the store costs money and a little time, never an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from core_support import World, outcomes, spawn, virtual

from samecall import ConfigurationError, Policy
from samecall._entry import Key
from samecall._errors import StoreError, StoreRefused, StoreUnreachable
from samecall._key import key_from
from samecall._ports import BreakerChanged, StoreFaulted
from samecall._waiting import SHARE, patience

KEY = key_from("k", "default", None)
PATIENCE = 0.2 * SHARE  # of the default `op_timeout`


def breaker(w: World, cache: int = 0) -> list[bool]:
    return [event.open for event in w.ears[cache].of(BreakerChanged)]


@virtual
async def test_a_silent_store_opens_the_breaker_at_once(w: World) -> None:
    """The store's share of op_timeout for the first call; the next do not ask at all."""
    cache, provider = w.cache(), w.provider()
    provider.answer("yes")
    w.store.hold("acquire", "generations", "ping")
    before = w.clock.now()
    assert await cache.get_or_call("k", provider) == "yes"
    assert w.clock.now() - before == pytest.approx(PATIENCE)
    assert breaker(w) == [True]
    asked = w.store.calls["acquire"], w.store.calls["commit"]
    for number in range(5):
        before = w.clock.now()
        assert await cache.get_or_call(f"k{number}", provider) == "yes"
        assert w.clock.now() == before
    await w.turns()
    assert (w.store.calls["acquire"], w.store.calls["commit"]) == asked
    w.store.heal()  # the reply that is on its way when the cache closes is settled too


@virtual
async def test_answers_without_a_store_are_kept_here(w: World) -> None:
    """While the generations that are known count; after that nobody knows whose they are."""
    cache, provider = w.cache(), w.provider()
    provider.answer("yes")
    await cache.get_or_call("before", provider)
    await w.turns()
    every = "acquire", "generations", "commit", "release", "ping"
    w.store.raise_on(*every, error=StoreUnreachable("gone"))
    await cache.get_or_call("opens", provider)
    assert breaker(w) == [True]
    for key in "kk":
        assert await cache.get_or_call(key, provider) == "yes"
        await w.turns()
    assert provider.calls == 3
    await asyncio.sleep(10)
    for key in "ll":
        assert await cache.get_or_call(key, provider) == "yes"
        await w.turns()
    assert provider.calls == 5
    assert cache.statistics().stored == 1
    w.store.heal()
    await asyncio.sleep(1)


@virtual
async def test_a_silent_part_of_a_store_is_not_the_store(w: World) -> None:
    """Nobody asked the others meanwhile: a ping that one of them answers keeps the breaker shut."""
    w.store.in_parts = True  # type: ignore[attr-defined]
    cache, provider = w.cache(), w.provider()
    provider.answer("yes")
    w.store.hold("acquire", "generations")
    for key in ("k", "l"):
        before = w.clock.now()
        assert await cache.get_or_call(key, provider) == "yes"
        assert w.clock.now() - before == pytest.approx(PATIENCE)
        await asyncio.sleep(1)
    assert w.store.calls["ping"] == 2
    assert breaker(w) == []
    w.store.hold("ping", "release", "commit")  # now nobody answers
    before = w.clock.now()
    assert await cache.get_or_call("m", provider) == "yes"
    assert w.clock.now() - before == pytest.approx(PATIENCE)
    await asyncio.sleep(0.25)
    assert breaker(w) == [True]
    w.store.heal()
    await asyncio.sleep(2)
    assert breaker(w) == [True, False]


@pytest.mark.parametrize("in_parts", [True, False])
@virtual
async def test_one_that_answers_once_and_then_no_more(w: World, in_parts: bool) -> None:
    """A follower's subscription and second look have one `op_timeout` together."""
    w.store.in_parts = in_parts  # type: ignore[attr-defined]
    one, two, provider = w.cache(l1=None), w.cache(l1=None), w.provider()
    provider.answer("yes")
    await two.get_or_call("before", provider)
    provider.close()
    await asyncio.sleep(1.5)
    leading = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    w.store.hold("listen")
    following = asyncio.ensure_future(two.get_or_call("k", provider))
    await w.store.until_held("listen")
    w.store.hold("acquire", "generations")
    before = w.clock.now()
    await provider.until_waiting(2)
    assert w.clock.now() - before <= PATIENCE + 0.001
    assert breaker(w, 1) == []  # the look had less time than the store is due: a ping answers
    provider.answer("yes")
    assert await asyncio.gather(leading, following) == ["yes", "yes"]
    w.store.heal()
    assert breaker(w, 1) == []


@virtual
async def test_a_subscription_that_fails_late_and_then_silence(w: World) -> None:
    """What the subscription took is no longer there for the look."""
    one, provider = w.cache(l1=None), w.provider()

    class Late:
        def __getattr__(self, name: str) -> Any:
            return getattr(w.store, name)

        @asynccontextmanager
        async def listen(self, key: Key) -> AsyncGenerator[Any]:
            w.store.hold("acquire", "generations")
            await asyncio.sleep(0.1)
            raise StoreError("lost")
            yield

    two = w.cache(l1=None, store=Late())
    leading = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    before = w.clock.now()
    following = asyncio.ensure_future(two.get_or_call("k", provider))
    await provider.until_waiting(2)
    assert w.clock.now() - before <= PATIENCE + 0.001
    provider.answer("yes")
    assert await asyncio.gather(leading, following) == ["yes", "yes"]
    w.store.heal()
    await asyncio.sleep(1)


@virtual
async def test_one_that_is_silent_in_the_midst(w: World) -> None:
    """A hurried look that nobody answered, nor the ping after it: the breaker opens."""
    one, two, provider = w.cache(l1=None), w.cache(l1=None), w.provider()
    leading = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    w.store.hold("listen", "ping")
    following = asyncio.ensure_future(two.get_or_call("k", provider))
    await w.store.until_held("listen")
    w.store.hold("acquire", "generations")
    await provider.until_waiting(2)
    assert breaker(w, 1) == []
    await asyncio.sleep(0.21)
    assert breaker(w, 1) == [True]
    provider.answer("yes")
    assert await asyncio.gather(leading, following) == ["yes", "yes"]
    w.store.heal()
    await asyncio.sleep(1)


@virtual
async def test_generations_that_nobody_tells_are_waited_for_once(w: World) -> None:
    """What they were to be compared with is refused, and the call does not wait for them again."""
    w.store.in_parts = True  # type: ignore[attr-defined]
    one, two, provider = w.cache(), w.cache(l1=None), w.provider()
    provider.answer("yes")
    await one.get_or_call("k", provider)
    await w.turns()
    w.store.hold("generations")
    before = w.clock.now()
    assert await two.get_or_call("k", provider) == "yes"
    assert w.clock.now() - before == pytest.approx(PATIENCE)
    assert provider.calls == 2
    w.store.heal()
    await asyncio.sleep(1)


@virtual
async def test_tags_are_waited_for_together(w: World) -> None:
    """Each is asked for at once, and one `op_timeout` is over for all of them."""
    store, loop = w.cache()._rooms.here().store, asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()
    before = w.clock.now()
    asked = asyncio.ensure_future(store._all("generations", (first, second), 0.2))
    await asyncio.sleep(0.15)
    first.set_result(b"told")
    assert await asked is None
    assert w.clock.now() - before == pytest.approx(0.2, abs=0.02)


@virtual
async def test_who_calls_alone_does_not_wait_for_generations(w: World) -> None:
    """Somebody else asks for them in vain; what is known will do, however old it is."""
    w.store.in_parts = True  # type: ignore[attr-defined]
    cache, provider = w.cache(policy=Policy(op_timeout=3)), w.provider()
    provider.answer("yes")
    await cache.get_or_call("before", provider)
    w.store.hold("acquire", "generations")
    asking = asyncio.ensure_future(cache.get_or_call("k", provider))
    await asyncio.sleep(2.5)
    assert w.store.calls["generations"] == 1, "they were known when it asked"
    looking = asyncio.ensure_future(cache.peek("before"))
    await w.store.until_held("generations")
    before = w.clock.now()
    assert await asking == "yes"
    assert w.clock.now() - before == pytest.approx(3 * SHARE - 2.5)
    w.store.heal()
    await asyncio.wait([looking])


@virtual
async def test_a_part_of_which_another_answers_meanwhile(w: World) -> None:
    """Not even a ping without an answer opens the breaker then, nor is a second one sent."""
    w.store.in_parts = True  # type: ignore[attr-defined]
    cache, provider = w.cache(), w.provider()
    provider.answer("yes")
    w.store.hold("acquire", "generations", "ping")
    assert await asyncio.gather(*(cache.get_or_call(k, provider) for k in "kl")) == ["yes"] * 2
    await w.store.until_held("ping")
    w.store.heal("acquire", "generations")
    assert await cache.get_or_call("m", provider) == "yes"
    await asyncio.sleep(1)
    assert w.store.calls["ping"] == 1
    assert breaker(w) == []
    w.store.heal()
    await asyncio.sleep(10)


@virtual
async def test_a_refusing_store_opens_the_breaker_at_once(w: World) -> None:
    """A connection refused is as clear as silence."""
    cache, provider = w.cache(), w.provider()
    provider.answer("yes")
    w.store.raise_on("acquire", "commit", "ping", "release", error=StoreUnreachable("refused"))
    assert [await cache.get_or_call(f"k{n}", provider) for n in range(3)] == ["yes"] * 3
    assert breaker(w) == [True]
    assert w.store.calls["acquire"] == 1


@virtual
async def test_the_store_is_used_again_soon_after_it_is_back(w: World) -> None:
    """A probe in the background closes the breaker within 2 s; no caller pays for it."""
    cache, provider = w.cache(), w.provider()
    provider.answer("yes")
    w.store.raise_on("acquire", "ping", "release", "commit", error=StoreUnreachable("gone"))
    await cache.get_or_call("k", provider)
    await asyncio.sleep(60)
    assert breaker(w) == [True]
    w.store.heal()
    await asyncio.sleep(1.9)
    assert breaker(w) == [True, False]
    await cache.get_or_call("new", provider)
    await w.turns()
    assert cache.statistics().stored == 1


@virtual
async def test_calls_coalesce_while_the_store_is_away(w: World) -> None:
    """Also refreshes and ordinary calls of one key, whichever was first."""
    cache, provider = w.cache(), w.provider()
    w.store.raise_on("acquire", error=StoreUnreachable("gone"))
    w.store.hold("ping")
    tasks = spawn(3, lambda: cache.get_or_call("k", provider))
    tasks += spawn(3, lambda: cache.get_or_call("k", provider, mode="refresh"))
    await provider.until_waiting(1)
    tasks += spawn(3, lambda: cache.get_or_call("k", provider, mode="refresh"))
    tasks += spawn(3, lambda: cache.get_or_call("k", provider))
    await w.turns()
    provider.answer("yes")
    assert await asyncio.gather(*tasks) == ["yes"] * 12
    assert provider.calls == 1
    w.store.heal()


@virtual
async def test_the_bulkhead_bounds_calls_without_a_store(w: World) -> None:
    """So many in the air, and no more; a call within a call has its place already."""
    cache, provider = w.cache(Policy(bulkhead=2)), w.provider()
    w.store.raise_on("acquire", error=StoreUnreachable("gone"))
    w.store.hold("ping")
    tasks = [
        asyncio.ensure_future(
            cache.get_or_call(f"k{n}", lambda n=n: cache.get_or_call(f"in{n}", provider))
        )
        for n in range(5)
    ]
    await w.turns()
    assert provider.waiting == 2
    provider.answer_one("yes")
    await w.turns()
    assert (provider.waiting, provider.calls) == (2, 3)
    provider.answer("yes")
    assert await asyncio.gather(*tasks) == ["yes"] * 5
    w.store.heal()


@virtual
async def test_waiters_lead_when_the_store_dies(w: World) -> None:
    """They do not wait for a bell that nobody can ring."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    leading = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    following = asyncio.ensure_future(two.get_or_call("k", provider))
    await w.turns()
    assert provider.calls == 1
    everything = ("acquire", "renew", "commit", "release", "ping", "wait")
    w.store.raise_on(*everything, error=StoreUnreachable("gone"))
    before = w.clock.now()
    await provider.until_waiting(2)
    assert w.clock.now() - before <= 2.3
    provider.answer("yes")
    assert await asyncio.gather(leading, following) == ["yes", "yes"]
    w.store.heal()
    await asyncio.sleep(6)


@virtual
async def test_an_acquire_whose_reply_comes_late_is_settled(w: World) -> None:
    """It took the lease after its call had been answered: the lease is given back."""
    cache, provider = w.cache(), w.provider()
    provider.answer("yes")
    w.store.hold("acquire", "ping", "commit", "release")
    assert await cache.get_or_call("k", provider) == "yes"
    await w.turns()
    w.store.heal("acquire")
    await w.turns()
    w.store.heal()
    await asyncio.sleep(1)
    w.store.hold("acquire", times=1)
    second = asyncio.ensure_future(cache.get_or_call("k2", provider))
    assert await second == "yes"
    await w.turns()
    w.store.heal()
    await w.turns()
    assert w.memory.statistics().leases == 0


@virtual
async def test_a_lost_reply_of_acquire_keeps_others_waiting(w: World) -> None:
    """While we call, the lease that we do not know of keeps others waiting; the answer ends it.

    It proves nothing, so the COMMIT counts it as none, and frees it as it stores.
    """
    one, two, provider = w.cache(), w.cache(), w.provider()
    w.store.lose_reply("acquire", error=StoreUnreachable("lost"))
    leading = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    following = asyncio.ensure_future(two.get_or_call("k", provider))
    await asyncio.sleep(20)
    assert provider.calls == 1
    provider.answer("yes")
    assert await asyncio.gather(leading, following) == ["yes", "yes"]
    assert provider.calls == 1


@virtual
async def test_a_lost_reply_of_commit_stores_once(w: World) -> None:
    """Done is done, and the lease is free."""
    cache, provider = w.cache(), w.provider()
    w.store.lose_reply("commit", error=StoreUnreachable("lost"))
    provider.answer("yes")
    assert await cache.get_or_call("k", provider) == "yes"
    await w.turns()
    assert (await w.memory.get(KEY)) is not None
    assert w.memory.statistics().leases == 0


@virtual
async def test_a_busy_loop_is_no_slow_store(w: World) -> None:
    """A stretch of busy code far over op_timeout, with the reply due: no fault."""
    cache, provider = w.cache(), w.provider()
    provider.answer("yes")

    class Prompt:
        """Answers in 10 ms, by the loop's clock, through some turns of it."""

        def __getattr__(self, name: str) -> Any:
            return getattr(w.memory, name)

        async def acquire(self, *args: Any) -> Any:
            await asyncio.sleep(0.01)
            await w.turns(12)
            return await w.memory.acquire(*args)

    busy = w.cache(store=Prompt())
    for stalls in range(1, 13):
        task = asyncio.ensure_future(busy.get_or_call(f"k{stalls}", provider))
        for _ in range(stalls):
            await asyncio.sleep(0)
            w.clock.advance(3.0)
        assert await task == "yes"
    assert w.ears[1].of(StoreFaulted) == []
    assert breaker(w, 1) == []
    assert cache.statistics().calls == 0


@virtual
async def test_a_reply_that_needs_turns_of_a_busy_loop_gets_them(w: World) -> None:
    """Every turn takes longer than the whole patience; the reply is there and is not late."""
    loop, busy = asyncio.get_running_loop(), True

    def stall() -> None:
        w.clock.advance(1.0)
        if busy:
            loop.call_soon(stall)

    stall()
    assert await patience(asyncio.ensure_future(w.turns(12)), 0.2)
    assert not await patience(loop.create_future(), 0.2)
    busy = False


@virtual
async def test_a_login_refused_at_first_contact_is_told(w: World) -> None:
    """To everybody who asks; later refusals are a store in trouble."""
    cache, provider = w.cache(), w.provider()
    provider.answer("yes")
    w.store.raise_on("acquire", "release", "listen", error=StoreRefused("WRONGPASS"))
    got = await outcomes(*(cache.get_or_call("k", provider) for _ in range(3)))
    assert [type(error) for error in got] == [ConfigurationError] * 3
    assert "url_or_store" in str(got[0])
    assert provider.calls == 0
    w.store.heal()
    assert await cache.get_or_call("k", provider) == "yes"
    w.store.raise_on("acquire", "release", error=StoreRefused("WRONGPASS"))
    assert await cache.get_or_call("k2", provider) == "yes"


@virtual
async def test_only_the_first_question_may_be_refused_loudly(w: World) -> None:
    """A refused renewal or commit is trouble, whatever came before it."""
    cache = w.cache()
    w.store.raise_on("acquire")
    w.store.raise_on("renew", "commit", "release", error=StoreRefused("NOPERM"))

    async def call() -> str:
        await asyncio.sleep(10)
        return "yes"

    assert await cache.get_or_call("k", call) == "yes"
    await w.turns()
    faults = {event.operation for event in w.ears[0].of(StoreFaulted)}
    assert faults == {"acquire", "renew", "commit", "release"}


@virtual
async def test_a_store_that_breaks_its_contract_is_in_trouble(w: World) -> None:
    """Whatever it raises, the call is answered and the fault is told."""
    cache, provider = w.cache(), w.provider()
    provider.answer("yes")
    w.store.raise_on("acquire", "release", error=AttributeError("bug"))
    assert await cache.get_or_call("k", provider) == "yes"
    assert w.ears[0].of(StoreFaulted)[0].error == "AttributeError: bug"


@virtual
async def test_a_cancelled_flight_leaves_its_question_on_its_way(w: World) -> None:
    """A socket in the middle of a reply is nobody's to abandon; what it brings is settled."""
    gate, harmed = asyncio.Event(), 0

    class Touchy:
        def __getattr__(self, name: str) -> Any:
            return getattr(w.memory, name)

        async def acquire(self, *args: Any) -> Any:
            nonlocal harmed
            try:
                await gate.wait()
            except asyncio.CancelledError:
                harmed += 1
                raise
            return await w.memory.acquire(*args)

    cache, provider = w.cache(Policy(on_abandon="abandon"), store=Touchy()), w.provider()
    task = asyncio.ensure_future(cache.get_or_call("k", provider))
    await w.turns()
    task.cancel()
    await w.turns()
    assert task.cancelled()
    assert (harmed, cache.statistics().flights) == (0, 0)
    gate.set()
    await w.turns()
    assert (harmed, provider.calls, w.memory.statistics().leases) == (0, 0, 0)


@virtual
async def test_two_flights_of_one_key_agree_without_a_store(w: World) -> None:
    """A call and a refresh that both asked a silent store: one of them calls, for both."""
    cache, provider = w.cache(), w.provider()
    w.store.hold("acquire", "ping", "listen", "release", "commit")
    tasks = [
        asyncio.ensure_future(cache.get_or_call("k", provider)),
        asyncio.ensure_future(cache.get_or_call("k", provider, mode="refresh")),
    ]
    await provider.until_waiting(1)
    await asyncio.sleep(1)
    assert cache.statistics().flights == 2
    provider.answer("yes")
    assert await asyncio.gather(*tasks) == ["yes", "yes"]
    assert provider.calls == 1
    w.store.heal()
    await asyncio.sleep(6)
