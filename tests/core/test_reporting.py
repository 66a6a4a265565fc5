"""Every worker leaves word of itself: once a second, only of what is new, off the calls' way."""

from __future__ import annotations

import asyncio
import math
import random
import threading
from collections import Counter
from typing import Any

import pytest
from core_support import World, outcomes, spawn, virtual
from test_events import SPENT, Priced

from samecall import Cache, Entry, Payload
from samecall._board import Posted
from samecall._entry import Key, Kind, Spent
from samecall._errors import StoreError, Undecodable
from samecall._events import StoreFaulted
from samecall._memory import MemoryStore
from samecall._report import (
    Report,
    Row,
    bucket,
    decode_report,
    encode_report,
    percentiles,
)
from samecall._tally import Tally
from samecall._tiers import Tiers


async def reports(w: World) -> list[Report]:
    return [decode_report(each.data) for each in await w.memory.posted()]


@virtual
async def test_a_worker_tells_what_its_statistics_say(w: World) -> None:
    one, two, provider = w.cache(store=w.memory), w.cache(store=w.memory), w.provider()
    tasks = [
        *spawn(3, lambda: one.get_or_call("k", provider, codec=Priced())),
        *spawn(2, lambda: two.get_or_call("k", provider, codec=Priced())),
    ]
    await provider.until_waiting(1)
    await w.turns()
    assert await reports(w) == []
    provider.answer("yes")
    await asyncio.gather(*tasks)
    await outcomes(one.get_or_call("k", provider, codec=Priced()))
    await asyncio.sleep(1.1)
    told = await reports(w)
    assert len(told) == len({report.worker for report in told}) == 2
    sums = Counter[str]()
    for report in told:
        sums.update(report.counters)
    both = one.statistics(), two.statistics()
    assert sums["calls"] == sum(each.calls for each in both) == 6
    assert sums["provider_calls"] == 1
    rows = [report.models["openai/gpt-x"] for report in told]
    assert sum(row.provider_calls for row in rows) == 1
    assert sum(row.paid_input for row in rows) == SPENT.input
    assert sum(row.saved_input for row in rows) == 5 * SPENT.input
    assert sum(row.saved_output for row in rows) == 5 * SPENT.output
    assert sum(sum(row.ways.values()) for row in rows) == 6
    assert sum(hot.calls for report in told for hot in report.hot) == 6
    assert {hot.model for report in told for hot in report.hot} == {"gpt-x"}
    timed = [report.latency["provider"] for report in told if "provider" in report.latency]
    assert [sum(buckets.values()) for buckets in timed] == [1]


class Counting(MemoryStore):
    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.posts = 0
        self.refuse: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def post(self, namespace: str, worker: str, data: bytes, ttl: float) -> None:
        self.posts += 1
        if self.refuse is not None:
            raise self.refuse
        if self.gate is not None:
            await self.gate.wait()
        await super().post(namespace, worker, data, ttl)


@virtual
async def test_it_is_posted_once_a_second_and_not_when_nothing_is_new(w: World) -> None:
    store = Counting(clock=w.clock)
    cache, provider = w.cache(store=store), w.provider()
    provider.answer("yes")
    for _ in range(100):
        await cache.get_or_call("k", provider)
    assert store.posts == 0
    await asyncio.sleep(1.1)
    assert store.posts == 1
    await asyncio.sleep(100)
    assert store.posts == 1
    await cache.get_or_call("k", provider)
    await asyncio.sleep(1.1)
    assert store.posts == 2


@virtual
async def test_the_end_posts_what_is_left(w: World) -> None:
    store = Counting(clock=w.clock)
    cache, provider = w.cache(store=store), w.provider()
    provider.answer("yes")
    await cache.get_or_call("k", provider)
    await cache.aclose()
    [posted] = await store.posted("default")
    assert decode_report(posted.data).counters["calls"] == 1
    assert await store.posted("other") == []


@virtual
async def test_a_store_that_refuses_is_told_of_once_and_asked_no_more(w: World) -> None:
    store = Counting(clock=w.clock)
    store.refuse = StoreError("NOPERM")
    cache, provider = w.cache(store=store), w.provider()
    provider.answer("yes")
    for _ in range(3):
        assert await cache.get_or_call("k", provider) == "yes"
        await asyncio.sleep(1.1)
    assert store.posts == 1
    assert [event.operation for event in w.ears[0].of(StoreFaulted)] == ["report"]


@virtual
async def test_a_store_that_hangs_holds_up_nobody(w: World) -> None:
    store = Counting(clock=w.clock)
    store.gate = asyncio.Event()
    cache, provider = w.cache(store=store), w.provider()
    provider.answer("yes")
    for _ in range(3):
        assert await cache.get_or_call("k", provider) == "yes"
        await asyncio.sleep(1.1)
    assert store.posts == 3
    assert cache.statistics().store_faults == 0


@virtual
async def test_of_tiers_the_far_store_has_the_report(w: World) -> None:
    near, far = Counting(clock=w.clock), Counting(clock=w.clock)
    cache, provider = w.cache(store=Tiers(near, far)), w.provider()
    provider.answer("yes")
    await cache.get_or_call("k", provider)
    await asyncio.sleep(1.1)
    assert (near.posts, far.posts) == (0, 1)


@virtual
async def test_nothing_is_counted_where_nothing_is_reported(w: World) -> None:
    store = Counting(clock=w.clock)
    cache, provider = w.cache(store=store, report=False), w.provider()
    provider.answer("yes")
    await cache.get_or_call("k", provider)
    await asyncio.sleep(5)
    await cache.aclose()
    assert store.posts == 0


@pytest.mark.parametrize("report", [None, 1, "yes"])
def test_report_takes_a_bool(report: Any) -> None:
    with pytest.raises(ValueError, match="report takes a bool"):
        Cache(report=report)


async def test_loops_of_one_process_report_together() -> None:
    store = MemoryStore()
    cache = Cache(store)

    async def call() -> str:
        return "yes"

    async def ask() -> None:
        await cache.get_or_call("k", call)
        await cache.aclose()

    threads = [threading.Thread(target=lambda: asyncio.run(ask())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    await ask()
    [posted] = await store.posted()
    report = decode_report(posted.data)
    assert report.counters["calls"] == 4
    assert sum(hot.calls for hot in report.hot) == 4


# --- the tally is bounded -------------------------------------------------------------------------


def entry(number: int, spent: Spent | None = SPENT) -> Entry:
    return Entry(Kind.VALUE, Payload("plain", b"", spent), number.to_bytes(16, "big"), 1.0, 1.0)


def key(number: int) -> Key:
    return Key(number.to_bytes(32, "big"))


def test_a_million_calls_and_models_stay_small_and_the_hot_ones_are_found() -> None:
    tally, draw = Tally(), random.Random(1)
    for number in range(50_000):
        spent = Spent(f"m{number % 1000}", "p", 1, 1)
        tally.hit("l2", key(number), entry(number, spent))
        hot = draw.randrange(3)
        tally.hit("l1", key(10**6 + hot), entry(10**6 + hot))
    tally.fold()
    assert len(tally.models) <= 66
    assert len(tally._hot) <= 512
    assert [hot.digest for hot in tally.hottest()[:3]] != []
    assert {hot.digest for hot in tally.hottest()[:3]} == {key(10**6 + i).digest for i in range(3)}
    assert sum(hot.calls for hot in tally.hottest()[:3]) == 50_000
    assert sum(sum(row.ways.values()) for row in tally.models.values()) == 100_000


def test_who_led_saved_nothing() -> None:
    tally = Tally()
    tally.hit("led", key(1), entry(1))
    tally.fold()
    assert tally.models["openai/gpt-x"] == Row(ways={"led": 1})


# --- percentiles ----------------------------------------------------------------------------------


def test_percentiles_are_right_within_two_percent() -> None:
    draw = random.Random(1)
    latencies = sorted(draw.lognormvariate(-3, 2) for _ in range(10_000))
    counts = Counter(bucket(latency) for latency in latencies)
    for part, told in zip((0.5, 0.9, 0.99), percentiles(counts, (0.5, 0.9, 0.99)), strict=True):
        true = latencies[math.ceil(part * 10_000) - 1]
        assert abs(told - true) <= 0.02 * true


def test_a_latency_of_nothing_and_percentiles_of_nothing() -> None:
    assert bucket(0.0) == bucket(-1.0) == bucket(1e-9)
    assert math.isnan(percentiles({}, [0.5])[0])


# --- the record -----------------------------------------------------------------------------------


def test_a_report_comes_back_as_it_was() -> None:
    report = Report(
        worker="w", models={"a/b": Row(ways={"l1": 2})}, latency={"l1": {-3: 4}}, counters={"x": 1}
    )
    assert decode_report(encode_report(report)) == report


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x80", b"\x81\xa6worker\x01", b"\xff" * 40])
def test_bytes_that_are_no_report_are_refused(data: bytes) -> None:
    with pytest.raises(Undecodable):
        decode_report(data)


async def test_memory_forgets_what_is_old() -> None:
    store = MemoryStore()
    await store.post("n", "w", b"1", 0.0)
    await store.post("n", "v", b"2", 60.0)
    [only] = await store.posted()
    assert isinstance(only, Posted)
    assert (only.namespace, only.worker, only.data) == ("n", "v", b"2")
