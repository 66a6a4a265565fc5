"""Hits in memory, told by the shorter way: nothing is lost by it, and nobody is passed over."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from watch_support import Priced

from samecall import Cache
from samecall._entry import Key, Spent
from samecall._events import CallAnswered, Event
from samecall._gauges import BOUNDS, Watch
from samecall.logs import LogObserver
from samecall.prometheus import PrometheusObserver

KEY, SPENT = Key(b"k" * 32), Spent("gpt-4o-mini", "openai", 1000, 100)
TIMES = (0.0, 0.0001, 0.00011, 0.003, 1.0, 100.0, 100.1, 5_000.0)


class Ears:
    def __init__(self) -> None:
        self.heard: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.heard.append(event)

    def hits(self) -> list[CallAnswered]:
        return [each for each in self.heard if isinstance(each, CallAnswered) and each.how == "l1"]


async def asked(hits: int, *observers: Any) -> None:
    async def call() -> str:
        return "answer"

    async with Cache(observers=observers) as cache:
        key = cache._key("k")
        await cache.get_or_call(key, call, codec=Priced())
        while not cache.statistics().stored:
            await asyncio.sleep(0)
        for _ in range(hits):
            assert cache.at_hand(key, Priced()) == "answer"


def test_both_ways_count_the_same() -> None:
    """Buckets, their edges, sums and tokens; of more entries than are held apart."""
    one, two = Watch(), Watch()
    for number in range(3_000):
        leader, seconds = number.to_bytes(16, "big"), TIMES[number % len(TIMES)]
        for _ in range(1 + 300 * (number == 7)):
            one.hit(KEY, seconds, SPENT, leader)
            two.take(CallAnswered(KEY, "l1", seconds, None, SPENT, leader))
    (one_series,), (two_series,) = one.calls().values(), two.calls().values()
    assert one.calls().keys() == two.calls().keys()
    for name in ("count", "input", "output", "buckets"):
        assert getattr(one_series, name) == getattr(two_series, name)
    assert one_series.seconds == pytest.approx(two_series.seconds)
    assert one_series.buckets[-1] > 0
    assert len(one_series.buckets) == len(BOUNDS) + 1


def test_threads_lose_no_count() -> None:
    """While others read."""
    watch, each, done = Watch(), 20_000, threading.Event()

    def hit(number: int) -> None:
        for count in range(each):
            watch.hit(KEY, 0.001, None, (number * 7 + count % 50).to_bytes(16, "big"))

    def read() -> None:
        while not done.is_set():
            watch.calls()

    threads = [threading.Thread(target=hit, args=(number,)) for number in range(4)]
    reader = threading.Thread(target=read)
    for thread in (reader, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    reader.join()
    (series,) = watch.calls().values()
    assert series.count == 4 * each


async def test_an_observer_without_it_hears_events() -> None:
    """Also beside one that has it."""
    ears, prometheus = Ears(), PrometheusObserver(None)
    await asked(20, ears, prometheus)
    assert len(ears.hits()) == 20
    assert {hit.spent for hit in ears.hits()} == {SPENT}
    assert (
        sum(series.count for at, series in prometheus._watch.calls().items() if at[0] == "l1") == 20
    )


async def test_a_class_that_hears_events_its_own_way_hears_all() -> None:
    """What it has of another class would go round it."""

    class Own(PrometheusObserver):
        heard = 0

        def on_event(self, event: Event) -> None:
            self.heard += isinstance(event, CallAnswered)
            super().on_event(event)

    own = Own(None)
    await asked(20, own)
    assert own.heard == 21


async def test_what_it_raises_becomes_a_warning() -> None:
    """And from then on events are told."""

    class Odd(Ears):
        def on_event(self, event: Event) -> None:
            super().on_event(event)

        def on_hit(self, *_: object) -> None:
            raise ValueError

    odd = Odd()
    await asked(3, odd)
    assert len(odd.hits()) == 3


async def test_logs_of_hits(caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG, as of any other way."""
    caplog.set_level(logging.DEBUG, "samecall")
    await asked(2, LogObserver())
    hits = [record for record in caplog.records if getattr(record, "samecall_how", "") == "l1"]
    assert [record.levelno for record in hits] == [logging.DEBUG] * 2
    assert hits[0].samecall_model == "gpt-4o-mini"  # type: ignore[attr-defined]
