"""Prometheus: a real scrape of a real HTTP endpoint."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families
from watch_support import Priced

from samecall import Cache
from samecall._entry import Key, Spent
from samecall._events import BreakerChanged, CallAnswered, StoreFaulted
from samecall.prometheus import PrometheusObserver


class Scrape:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.observer = PrometheusObserver(self.registry)
        self.server, self.thread = start_http_server(0, "127.0.0.1", self.registry)

    def __call__(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        url = f"http://127.0.0.1:{self.server.server_port}/metrics"
        text = urllib.request.urlopen(url).read().decode()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture
def scrape() -> Iterator[Scrape]:
    scrape = Scrape()
    yield scrape
    scrape.server.shutdown()
    scrape.server.server_close()
    scrape.thread.join()


def at(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


MODEL = {"model": "gpt-4o-mini", "provider": "openai"}


async def test_a_scrape_tells_calls_latencies_and_tokens(scrape: Scrape) -> None:
    async def call() -> str:
        return "yes"

    async with Cache(observers=[scrape.observer]) as cache:
        for _ in range(3):
            await cache.get_or_call("k", call, codec=Priced())
    told = scrape()
    assert told[at("samecall_calls_total", how="l1", error="", **MODEL)] == 2
    assert told[at("samecall_calls_total", how="led", error="", **MODEL)] == 1
    assert told[at("samecall_call_seconds_count", how="l1", error="", **MODEL)] == 2
    assert told[at("samecall_call_seconds_bucket", how="l1", error="", le="+Inf", **MODEL)] == 2
    assert told[at("samecall_provider_calls_total", error="", **MODEL)] == 1
    assert told[at("samecall_paid_tokens_total", kind="input", **MODEL)] == 1000
    assert told[at("samecall_saved_tokens_total", kind="input", **MODEL)] == 2000
    assert told[at("samecall_saved_tokens_total", kind="output", **MODEL)] == 200


async def test_errors_and_trouble(scrape: Scrape) -> None:
    async def call() -> str:
        raise ValueError("no")

    async with Cache(observers=[scrape.observer]) as cache:
        with pytest.raises(ValueError, match="no"):
            await cache.get_or_call("k", call, codec=Priced())
    scrape.observer.on_event(StoreFaulted("get", "gone"))
    scrape.observer.on_event(BreakerChanged(open=True))
    told = scrape()
    assert told[at("samecall_calls_total", how="led", error="ValueError", **MODEL)] == 1
    assert told[at("samecall_provider_calls_total", error="ValueError", **MODEL)] == 1
    assert told[at("samecall_store_faults_total", operation="get")] == 1
    assert told[at("samecall_breaker_open")] == 1


def test_before_the_first_call(scrape: Scrape) -> None:
    assert scrape()[at("samecall_uncached_total")] == 0


def test_two_on_one_registry_are_refused_by_nobody() -> None:
    PrometheusObserver(None)
    assert list(PrometheusObserver(CollectorRegistry()).describe()) == []


def test_models_without_end_and_many_threads(scrape: Scrape) -> None:
    def work(worker: int) -> None:
        for number in range(1_000):
            spent = Spent(f"m{worker}-{number}", "p", 1, 1)
            scrape.observer.on_event(CallAnswered(Key(b"k" * 32), "l1", 0.001, None, spent))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = [v for (name, _), v in scrape().items() if name == "samecall_calls_total"]
    assert len(counts) <= 101
    assert sum(counts) == 4_000
