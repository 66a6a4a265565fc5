"""Synchronous functions under `Cache.memoize`: what they raise is for their caller alone."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from samecall import Cache


class Skipped(BaseException):
    """As a test runner's own exceptions are."""


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), Skipped("why"), asyncio.CancelledError()],
    ids=lambda error: type(error).__name__,
)
def test_what_is_no_exception_ends_nothing_for_others(error: BaseException) -> None:
    """It would end the event loop that all synchronous callers of the process share."""
    cache = Cache()

    @cache.memoize
    def ask(text: str) -> str:
        if text == "bad":
            raise error
        return text

    for _ in range(2):
        with pytest.raises(type(error)) as told:
            ask("bad")
        assert told.value.args == error.args
        assert ask("good") == "good"
    assert cache.statistics().provider_calls == 3


def test_who_waits_for_a_call_that_exits_makes_its_own() -> None:
    cache, first, gate = Cache(), threading.Event(), threading.Event()

    @cache.memoize
    def ask() -> str:
        if first.is_set():
            return "a"
        first.set()
        gate.wait(30)
        raise SystemExit(3)

    with ThreadPoolExecutor(3) as pool:
        leader = pool.submit(ask)
        first.wait(30)
        others = [pool.submit(ask) for _ in range(2)]
        while cache.statistics().callers_waiting < 3:
            pass
        gate.set()
        assert isinstance(leader.exception(30), SystemExit)
        assert [each.result(30) for each in others] == ["a", "a"]
    assert cache.statistics().provider_calls == 2


def test_key_and_tags_are_made_in_their_callers_thread() -> None:
    """They may ask a memoized function themselves, or go by what the thread holds."""
    cache, here = Cache(), threading.local()

    @cache.memoize
    def prefix(text: str) -> str:
        return f"p-{text}"

    @cache.memoize(
        key=lambda text: (prefix(text), here.tenant), tags=lambda text: [prefix(here.tenant)]
    )
    def ask(text: str) -> int:
        return next(numbers)

    def asks(tenant: str) -> list[int | None]:
        here.tenant = tenant
        got = [ask("a"), ask("a"), ask.peek("a"), ask.refresh("a")]
        ask.forget("a")
        return [*got, ask.peek("a")]

    numbers = iter(range(10))
    assert asks("one") == [0, 0, 0, 1, None]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(asks, "two").result(30) == [2, 2, 2, 3, None]
