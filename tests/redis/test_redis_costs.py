"""What a call costs, counted: round trips, commands, bytes, turns of the loop, bytecodes, rings.

None of these depends on the machine. A figure that goes up here is a slower cache everywhere.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType

import pytest
from redis.asyncio import Redis
from redis_parts import PATIENT, new_key

import samecall
from samecall import Cache, Policy, Seal
from samecall._breaker import Breaker
from samecall._embedded import EmbeddedServer
from samecall._entry import Key
from samecall._lineage import moment
from samecall._redis import link, names, open_redis
from samecall.testing import FaultProxy

MANY = 200
MOST_STEPS = 2_800
MOST_WITHOUT = 3_300
OURS = str(Path(samecall.__file__).parent)


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(url) as proxy:
        yield proxy


@asynccontextmanager
async def quiet(proxy: FaultProxy, seal: Seal | None = None) -> AsyncIterator[Cache]:
    """A cache that asks for nothing by itself, its connections made."""
    policy = Policy(op_timeout=PATIENT)
    async with Cache(proxy.url, l1=None, report=False, policy=policy, seal=seal) as cache:
        await cache.get_or_call(new_key(), answer)
        await settled(cache)
        yield cache


async def answer() -> str:
    return "a" * 400


async def never() -> str:
    raise AssertionError("this call has an answer already")


async def settled(cache: Cache) -> None:
    """Return once every answer is stored."""
    while cache._rooms.here().flights.statistics().storing:
        await asyncio.sleep(0.001)


async def cost(proxy: FaultProxy, act: Callable[[], Awaitable[object]]) -> tuple[int, int]:
    """Round trips and commands."""
    before = proxy.counts()
    await act()
    after = proxy.counts()
    return after.round_trips - before.round_trips, after.commands - before.commands


async def test_a_hit_is_one_round_trip(proxy: FaultProxy) -> None:
    """Two commands in it: the generations, and ACQUIRE."""
    async with quiet(proxy) as cache:
        key = new_key()
        await cache.get_or_call(key, answer)
        await settled(cache)
        assert await cost(proxy, lambda: cache.get_or_call(key, never)) == (1, 2)


async def test_a_hit_whose_generation_is_sealed_anew(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Costs one command more, for which nobody waits, three times in its validity."""
    async with quiet(proxy, Seal({"k": bytes(32)}, "k", generation_validity=3_600)) as cache:
        key, now = new_key(), moment()

        async def hit() -> None:
            await cache.get_or_call(key, never)
            while cache._rooms.here().generations._righting:
                await asyncio.sleep(0.001)

        await cache.get_or_call(key, answer)
        await settled(cache)
        for gone, costs in ((1_190, (1, 2)), (1_210, (2, 3)), (2_400, (1, 2)), (2_420, (2, 3))):
            then = now + gone * 1_000_000
            monkeypatch.setattr("samecall._lineage.moment", lambda then=then: then)
            assert await cost(proxy, hit) == costs


async def test_many_hits_of_one_tick_are_one_round_trip(proxy: FaultProxy) -> None:
    async with quiet(proxy) as cache:
        space = new_key().namespace
        keys = [new_key(space) for _ in range(MANY)]
        await asyncio.gather(*(cache.get_or_call(key, answer) for key in keys))
        await settled(cache)

        async def hits() -> None:
            await asyncio.gather(*(cache.get_or_call(key, never) for key in keys))

        assert await cost(proxy, hits) == (1, 2)


async def test_a_leader_is_one_round_trip_before_its_call_and_one_after(proxy: FaultProxy) -> None:
    """The caller does not wait for the second."""
    async with quiet(proxy) as cache:
        spent: list[int] = []

        async def call() -> str:
            spent.append(proxy.counts().round_trips)
            return await answer()

        async def lead() -> None:
            await cache.get_or_call(new_key(), call)
            spent.append(proxy.counts().round_trips)
            await settled(cache)

        before = proxy.counts().round_trips
        assert await cost(proxy, lead) == (2, 3)
        assert spent[0] == before + 1
        assert spent[1] <= before + 2


async def test_others_are_told_before_a_crowd_has_its_answers(proxy: FaultProxy) -> None:
    """COMMIT is on its way when the first caller goes on: its process may have many to answer."""
    async with quiet(proxy) as cache:
        key, under_way = new_key(), list[int]()

        async def ask() -> None:
            await cache.get_or_call(key, answer)
            under_way.append(len(cache._rooms.here().store.store._writes._flying))

        await asyncio.gather(*(ask() for _ in range(MANY)))
        assert under_way[0] == 1


async def test_a_follower_asks_subscribes_and_looks_again(url: str, raw: Redis) -> None:
    """Whatever the call takes, and however many wait in one process."""
    async with (
        FaultProxy(url) as near,
        FaultProxy(url) as far,
        quiet(near) as leads,
        quiet(far) as follows,
    ):
        key, gate, called = new_key(), asyncio.Event(), asyncio.Event()

        async def call() -> str:
            called.set()
            await gate.wait()
            return await answer()

        async def follow() -> None:
            waiting = [asyncio.ensure_future(follows.get_or_call(key, never)) for _ in range(MANY)]
            await subscribed(raw, key)
            gate.set()
            await asyncio.gather(*waiting)

        leading = asyncio.ensure_future(leads.get_or_call(key, call))
        await called.wait()
        # generations and ACQUIRE; SUBSCRIBE; ACQUIRE; a look at the generations of what came;
        # UNSUBSCRIBE; and one PING of the line that listens
        trips, commands = await cost(far, follow)
        await leading
        assert trips <= 6
        assert commands <= 7


async def subscribed(raw: Redis, key: Key) -> None:
    """Return once somebody listens."""
    channel = names.channel(key, 0).encode()
    while (await raw.pubsub_numsub(channel))[0][1] == 0:
        await asyncio.sleep(0.001)


async def test_a_hit_costs_few_turns_of_the_loop(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its task, its generation, the landing: nothing else that the loop has to run."""
    async with quiet(proxy) as cache:
        ask = await stored(cache)
        turns = 0
        run = asyncio.events.Handle._run

        def counted(handle: asyncio.Handle) -> None:
            nonlocal turns
            turns += 1
            run(handle)

        monkeypatch.setattr(asyncio.events.Handle, "_run", counted)
        await ask()
        monkeypatch.undo()
        assert turns <= 5 * MANY


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="settrace tells of no opcodes there")
async def test_a_hit_takes_few_steps_of_the_interpreter(proxy: FaultProxy) -> None:
    """Bytecodes of our own code: 2,480 of them on Python 3.11, whatever the machine."""
    async with quiet(proxy) as cache:
        ask = await stored(cache)
        assert 0 < await steps_of(ask()) <= MOST_STEPS * MANY


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="settrace tells of no opcodes there")
async def test_a_call_without_redis_takes_few_steps_of_the_interpreter(
    own_server: EmbeddedServer,
) -> None:
    """With the breaker open it is less work than a call that `memory://` coordinates."""
    away, memory = Cache(own_server.url, policy=Policy(bulkhead=MANY)), Cache()
    async with away, memory:
        await away.get_or_call(new_key(), answer)
        own_server.close()
        room = away._rooms.here()
        while room.store.state is not Breaker.OPEN:
            await away.get_or_call(new_key(), answer)

        async def asked(cache: Cache) -> None:
            await asyncio.gather(*(cache.get_or_call(new_key(), answer) for _ in range(MANY)))

        without = await steps_of(asked(away))
        assert 0 < without <= MOST_WITHOUT * MANY
        assert without <= await steps_of(asked(memory))


async def steps_of(work: Awaitable[object]) -> int:
    """Bytecodes of our own code that run meanwhile."""
    steps = 0

    def opcode(frame: FrameType, event: str, arg: object) -> object:
        nonlocal steps
        steps += event == "opcode"
        return opcode

    def called(frame: FrameType, event: str, arg: object) -> object:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return opcode

    before = sys.gettrace()
    sys.settrace(called)
    try:
        await work
    finally:
        sys.settrace(before)
    return steps


async def test_a_hit_sends_few_bytes(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """One name, the token, and how to take it: the names of error and lease are made there."""
    async with quiet(proxy) as cache:
        ask = await stored(cache)
        sent = 0
        pack = link.pack

        def counted(commands: Sequence[link.Command]) -> list[bytes]:
            nonlocal sent
            packed = pack(commands)
            sent += sum(map(len, packed))
            return packed

        monkeypatch.setattr(link, "pack", counted)
        await ask()
        monkeypatch.undo()
        assert 0 < sent <= 120 * MANY


async def test_a_hit_leaves_nothing_for_the_collector(proxy: FaultProxy) -> None:
    """Rings would cost more than the hit: 24 objects each took 40 % of its time."""
    async with quiet(proxy) as cache:
        ask = await stored(cache)
        gc.collect()
        before = held()
        gc.disable()
        try:
            await ask()
            more = held() - before
        finally:
            gc.enable()
        assert more.total() < MANY // 10, more


async def test_a_read_that_waits_is_one_object_for_the_collector(url: str) -> None:
    """A thousand wait together; two more of each made a fifth of what they cost."""
    store, last, token = open_redis(url)(), Nobody(), b"t" * 16
    keys = [new_key() for _ in range(MANY)]
    told = last.told
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for key in keys:
            store.acquire_into(last, key, token, b"", 5, told)
        more = len(gc.get_objects()) - before
    finally:
        gc.enable()
    await store.aclose()
    assert MANY <= more <= 1.1 * MANY


class Nobody:
    """Wants no answer."""

    def done(self) -> bool:
        return False

    def told(self, reply: object, *, late: bool) -> None: ...

    def set_result(self, reply: object, /) -> None: ...

    def set_exception(self, error: Exception, /) -> None: ...


def held() -> Counter[str]:
    """What a hit is made of, as far as it is there."""
    # a look stays for a moment with the vigil that watched over it, and holds none of these
    names = "Entry", "Flight", "Request", "Found", "Claim"
    kinds = [type(each) for each in gc.get_objects()]
    return Counter(
        kind.__name__
        for kind in kinds
        if kind.__name__ in names and kind.__module__.startswith("samecall")
    )


async def stored(cache: Cache) -> Callable[[], Awaitable[None]]:
    """So many hits at once, asked for the first time already."""
    space = new_key().namespace
    keys = [new_key(space) for _ in range(MANY)]

    async def ask() -> None:
        await asyncio.gather(*(cache.get_or_call(key, answer) for key in keys))

    await ask()
    await settled(cache)
    await ask()
    return ask


async def test_what_is_stored_is_small(url: str, raw: Redis) -> None:
    """The envelope around 400 bytes of an answer, compressed."""
    async with Cache(url, l1=None, report=False) as cache:
        key = new_key()
        await cache.get_or_call(key, answer)
        await settled(cache)
        assert await raw.strlen(names.value(key)) <= 200
