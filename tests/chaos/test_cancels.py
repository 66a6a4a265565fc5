"""Callers that are cancelled, everywhere, over a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from redis.asyncio import Redis

from cancels import LOOPS, control, run, storm
from samecall import Cache, Policy
from samecall._breaker import Guard
from samecall._redis.link import Link
from samecall._room import Room
from samecall.testing import FaultProxy, GatedProvider, LocalCluster, LocalServer

PATIENT = 60.0


@pytest.mark.parametrize("loop", LOOPS)
def test_a_storm_crosses_no_answers_and_leaves_nothing(
    loop: str, shared_server: LocalServer
) -> None:
    """1,000 cancels and timeouts, in pieces of replies and out of step."""
    with FaultProxy.in_thread(shared_server.url) as proxy:
        proxy.set(latency=0.001, fragment=64)
        found = run(loop, storm(proxy.url, shared_server.url, 1000, "url", workers=100))
    assert found.cancelled >= 1000
    assert found.completed > 0
    assert found.crossed == []
    assert found.leaked == []
    assert not found.errors
    assert 0 < found.connections <= 22  # three of each store, four of each cache


@pytest.mark.parametrize("loop", LOOPS)
def test_a_storm_that_gives_its_connections_up(
    loop: str, shared_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caches think every slow reply lost: breakers open and close, and no lease is left."""
    faults: list[str] = []
    make, fault = Link.__init__, Guard._fault

    def hurried(link: Link, how: Any, limit: float) -> None:
        make(link, how, min(limit, 0.03) if limit < PATIENT else limit)

    def noted(guard: Guard, operation: str, why: str, *, opens: bool) -> None:
        faults.append(operation)
        fault(guard, operation, why, opens=opens)

    monkeypatch.setattr(Link, "__init__", hurried)
    monkeypatch.setattr(Guard, "_fault", noted)
    with FaultProxy.in_thread(shared_server.url) as proxy:
        proxy.set(latency=0.02, fragment=64)
        found = run(loop, storm(proxy.url, shared_server.url, 1000, "url", workers=100))
    assert {"acquire", "release", "commit"} & set(faults)
    assert found.crossed == []
    assert found.leaked == []


@pytest.mark.parametrize("loop", LOOPS)
def test_a_storm_on_a_cluster(loop: str) -> None:
    """600 cancels and timeouts over three primaries: nothing crossed, nothing left on any node."""
    with LocalCluster(node_timeout=60) as cluster:
        past = [f"redis://127.0.0.1:{node.port}" for node in cluster.nodes]
        found = run(loop, storm(cluster.url, past, 600, "url", workers=60))
    assert found.cancelled >= 600
    assert found.completed > 0
    assert found.crossed == []
    assert found.leaked == []
    assert not found.errors


async def test_the_harness_sees_a_crossing(server: LocalServer, proxy: FaultProxy) -> None:
    """A stray reply is an answer to plain redis-py, and to us a fault or a miss."""
    plain, ours = await control(proxy, server.url)
    assert len(plain.crossed) > plain.asked // 2
    assert ours.crossed == []
    assert ours.errors["LinkLost"] > 0
    assert ours.errors["counted by the cache"] > 0


class Step:
    """Runs a coroutine and cancels its task at the n-th suspension."""

    def __init__(self, at: int, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.struck = False
        self._at = at
        self._coroutine = coroutine

    def __await__(self) -> Any:
        inner = self._coroutine.__await__()
        value: Any = None
        error: BaseException | None = None
        for number in range(1, 1_000_000):
            try:
                out = inner.send(value) if error is None else inner.throw(error)
            except StopIteration as stop:
                return stop.value
            if number == self._at:
                self.struck = True
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_soon(task.cancel)
            value, error = None, None
            try:
                value = yield out
            except BaseException as caught:  # noqa: BLE001 - handed on to the coroutine
                error = caught
        return None


class Scene:
    """Two processes' caches on one server; what they leave behind is looked at in the end."""

    def __init__(self, url: str, raw: Redis, at: int, abandon: str) -> None:
        policy = Policy(lease=600, op_timeout=PATIENT, on_abandon=abandon)  # type: ignore[arg-type]
        self.one, self.two = (Cache(url, policy=policy) for _ in range(2))
        self.raw = raw
        self.at = at
        self.provider: GatedProvider[str] = GatedProvider()
        self.step: Step | None = None

    def ask(self, cache: Cache, *, stepped: bool = False) -> asyncio.Task[Any]:
        coroutine = cache.get_or_call("k", self.provider)
        return asyncio.ensure_future(self._stepped(coroutine) if stepped else coroutine)

    async def _stepped(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        self.step = Step(self.at, coroutine)
        return await self.step

    async def until(self, so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENT):
            while not so():
                await asyncio.sleep(0)

    async def close(self) -> None:
        for cache in (self.one, self.two):
            await self.until(lambda c=cache: not c.statistics().flights)  # type: ignore[misc]
            await cache.aclose()
        assert await self.raw.keys("*:l:*") == []
        assert await self.raw.pubsub_channels() == []
        async with asyncio.timeout(PATIENT):
            while len(await self.raw.client_list()) > 1:
                await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [task for task in left if "samecall" in task.get_name()]


async def _leader(scene: Scene) -> list[asyncio.Task[Any]]:
    led = scene.ask(scene.one, stepped=True)
    await scene.until(lambda: led.done() or scene.provider.waiting > 0)
    return [led]


async def _follower(scene: Scene) -> list[asyncio.Task[Any]]:
    led = scene.ask(scene.one)
    await scene.provider.until_waiting(1)
    return [led, scene.ask(scene.one, stepped=True)]


async def _remote(scene: Scene) -> list[asyncio.Task[Any]]:
    led = scene.ask(scene.one)
    await scene.provider.until_waiting(1)
    waits = scene.ask(scene.two, stepped=True)
    await scene.until(lambda: waits.done() or scene.two.statistics().callers_waiting == 1)
    return [led, waits]


@pytest.mark.parametrize("abandon", ["finish", "abandon"])
@pytest.mark.parametrize("who", [_leader, _follower, _remote], ids=["leader", "follower", "remote"])
async def test_a_caller_is_cancelled_at_every_suspension(
    who: Callable[[Scene], Coroutine[Any, Any, list[asyncio.Task[Any]]]],
    abandon: str,
    server: LocalServer,
    raw: Redis,
) -> None:
    """The others are answered, who asks next is answered, and nothing stays behind."""
    struck = True
    at = 0
    while struck:
        at += 1
        await raw.flushall()
        scene = Scene(server.url, raw, at, abandon)
        tasks = await who(scene)
        for _ in range(20):
            await asyncio.sleep(0)
        scene.provider.answer("yes")
        got = await asyncio.gather(*tasks, return_exceptions=True)
        assert scene.step is not None
        struck = scene.step.struck
        assert got[:-1] == ["yes"] * (len(got) - 1)
        assert struck == isinstance(got[-1], asyncio.CancelledError)
        assert await scene.two.get_or_call("k", scene.provider) == "yes"
        await scene.close()
    assert at > 1


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("place", [0, 1], ids=["leader", "remote"])
async def test_a_flight_is_cancelled_at_every_suspension(
    place: int,
    fails: bool,
    server: LocalServer,
    raw: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever ends a flight over a real server: its callers are answered, its lease is free."""
    fly = Room.fly
    at = 0
    struck = True
    while struck:
        at += 1
        await raw.flushall()
        scene = Scene(server.url, raw, at, "finish")
        flown: list[Room] = []
        steps: list[Step] = []

        async def stepping(room: Room, flight: Any, request: Any, begun: Any) -> None:
            flown.append(room)  # noqa: B023 - of this turn
            if len(flown) - 1 != place:  # noqa: B023
                return await fly(room, flight, request, begun)
            steps.append(Step(at, fly(room, flight, request, begun)))  # noqa: B023
            return await steps[0]  # noqa: B023

        monkeypatch.setattr(Room, "fly", stepping)
        led = scene.ask(scene.one)
        await scene.provider.until_waiting(1)
        waits = scene.ask(scene.two)
        waits.set_name("waits")
        for _ in range(30):
            await asyncio.sleep(0)
            await raw.ping()
        if fails:
            scene.provider.fail(ZeroDivisionError())
        else:
            scene.provider.answer("yes")
        got = await asyncio.gather(led, waits, return_exceptions=True)
        names = {getattr(each, "class_name", type(each).__name__) for each in got}
        assert names == ({"ZeroDivisionError"} if fails else {"str"}), got
        struck = steps[0].struck
        await scene.close()
    assert at > 2
