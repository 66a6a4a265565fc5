"""`NativeCache`: instructor's own `cache=` over our stores."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

import instructor
from samecall import Cache, ConfigurationError, Policy, SamecallWarning
from samecall._memory import MemoryStore
from samecall._portal import portal_for
from samecall.instructor import NativeCache, _native, cached
from samecall.testing import LocalServer, ManualClock, StubProvider

MESSAGES = [{"role": "user", "content": "Who wrote the first program?"}]


class Person(BaseModel):
    name: str


@pytest.fixture
def native() -> NativeCache:
    return NativeCache("memory://")


def eventually(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_get_and_set(native: NativeCache) -> None:
    assert native.get("a") is None
    for value in ("text", '{"model": "{}"}', {"a": [1, None]}, b"\xff", "text again"):
        native.set("a", value)
        assert native.get("a") == value
    assert native.get("b") is None


async def test_inside_a_running_loop(native: NativeCache) -> None:
    native.set("a", "text")
    assert native.get("a") == "text"
    assert await asyncio.to_thread(native.get, "a") == "text"


def test_from_many_threads(native: NativeCache) -> None:
    def work(number: int) -> Any:
        native.set(f"k{number % 5}", str(number % 5))
        return native.get(f"k{number % 5}")

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(200))) == [str(number % 5) for number in range(200)]


def test_ttl() -> None:
    clock = ManualClock()
    native = NativeCache(Cache(MemoryStore(clock=clock), clock=clock, l1=None), ttl=1000)
    lives = {"default": None, "int": 10, "float": 0.5, "delta": timedelta(seconds=20)}
    for name, life in lives.items():
        native.set(name, name, ttl=life)
    for never in (0, -1, timedelta(0)):
        native.set("never", "never", ttl=never)
    assert native.get("never") is None
    left = []
    for step in (0, 1, 10, 20, 1000):
        clock.advance(step)
        left.append([name for name in lives if native.get(name) == name])
    assert left == [
        ["default", "int", "float", "delta"], ["default", "int", "delta"], ["default", "delta"],
        ["default"], [],
    ]  # fmt: skip


@pytest.mark.parametrize("fleet", [True, False], ids=["shared", "own"])
async def test_from_provider(monkeypatch: pytest.MonkeyPatch, redis_url: str, fleet: bool) -> None:
    async with StubProvider() as provider:
        monkeypatch.setenv("OPENAI_API_KEY", "no-key")
        monkeypatch.setenv("OPENAI_BASE_URL", provider.openai_url)
        space = f"native-{time.monotonic_ns()}"

        def client(*, is_async: bool) -> Any:
            own = {"cache": NativeCache(redis_url, namespace=space)}
            if fleet:
                own["cache_namespace"] = "fleet"
            return instructor.from_provider("openai/stub-1", async_client=is_async, **own)

        asked = {"response_model": Person, "messages": MESSAGES, "cache_ttl": 60}
        first = client(is_async=True)
        answers = [await first.create(**asked), await first.create(**asked)]
        answers.append(await client(is_async=True).create(**asked))
        answers.append(await asyncio.to_thread(client(is_async=False).create, **asked))
        assert len({answer.model_dump_json() for answer in answers}) == 1
        assert provider.calls == (1 if fleet else 3)


def test_a_store_that_stalls_or_is_gone_costs_time_and_no_answer() -> None:
    with LocalServer() as server:
        patient = NativeCache(server.url, policy=Policy(op_timeout=20.0), l1=None)
        patient.set("a", "text")
        patient.set("a", "text")  # the second waits for the first to be stored
        assert patient.get("a") == "text"
        native = NativeCache(server.url, policy=Policy(op_timeout=0.05), l1=None)
        server.pause()
        try:
            assert native.get("a") is None
            native.set("b", "text")
        finally:
            server.resume()
    native.set("c", "text")
    assert native.get("c") is None
    assert native.cache.statistics().store_faults > 0


def test_what_cannot_be_stored_is_told_and_not_raised(native: NativeCache) -> None:
    with pytest.warns(SamecallWarning, match="not cached"):
        native.set("a", object())
    assert native.get("a") is None


@pytest.mark.parametrize("wrong", [True, "60", math.nan])
def test_a_ttl_that_is_none_costs_no_answer(native: NativeCache, wrong: Any) -> None:
    """Who tells it tells it after the call, which is paid for."""
    with pytest.warns(SamecallWarning, match="not cached: ttl takes seconds"):
        native.set("a", "text", ttl=wrong)
    assert native.get("a") is None


def test_for_ever_is_ten_years(native: NativeCache) -> None:
    for number, ttl in enumerate((sys.maxsize, 10**400, math.inf, timedelta.max)):
        native.set(f"k{number}", "text", ttl=ttl)
        assert native.get(f"k{number}") == "text"


def test_trouble_is_no_exception_where_warnings_are_errors(
    native: NativeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is shown all the same."""

    def broken(_: object) -> object:
        raise RuntimeError("no more threads")

    monkeypatch.setattr(_native, "loop_for", broken)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("error")
        native.set("a", "text")
        assert native.get("a") is None
    assert ["no more threads" in str(each.message) for each in told] == [True, True]


def test_from_the_portals_own_thread_it_is_a_miss(native: NativeCache) -> None:
    native.set("a", "text")
    assert portal_for(native.cache).call(native.get, "a") is None


def test_callers_wait_no_longer_for_the_thread_than_they_said() -> None:
    native = NativeCache("memory://", policy=Policy(op_timeout=0.01))

    def kept() -> bool:  # on a busy machine not at once, by the promise
        native.set("a", "text")
        return native.get("a") == "text"

    eventually(kept)
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        free.wait(30)

    portal = portal_for(native.cache)
    holding = portal.start_task_soon(hold)
    held.wait(30)
    try:
        assert native.get("a") is None
    finally:
        free.set()
        holding.result()
    eventually(lambda: native.get("a") == "text")


def test_bad_input(native: NativeCache) -> None:
    for wrong in (3, "nonsense://", None):
        with pytest.raises(ConfigurationError, match="url_or_store takes"):
            NativeCache(wrong)
    with pytest.raises(ConfigurationError, match="ttl takes"):
        NativeCache(ttl=-1)
    with pytest.raises(ConfigurationError, match="namespace is told to the Cache itself"):
        NativeCache(Cache(), namespace="tenant")
    with pytest.raises(ConfigurationError, match="namespace takes"):
        NativeCache(namespace="")
    with pytest.raises(ConfigurationError, match="cannot be combined"):
        cached(instructor.from_provider("openai/gpt-4o", api_key="no", cache=native), Cache())
