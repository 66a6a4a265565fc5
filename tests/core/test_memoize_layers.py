"""Memoized functions with something around or within: caches, decorators that give arguments."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest

from samecall import Cache, ConfigurationError, SamecallWarning
from samecall._memory import MemoryStore


async def test_each_of_two_caches_has_its_own() -> None:
    """The outer one with its own settings, also where both are on one store, or are one."""
    store = MemoryStore()
    calls = 0

    async def ask(text: str) -> str:
        nonlocal calls
        calls += 1
        return text

    async def words(text: str) -> AsyncIterator[str]:
        nonlocal calls
        calls += 1
        yield text

    near, far = Cache(store), Cache(store)
    for outer in (near, far):
        inner = far.memoize(ask)
        both = outer.memoize(namespace="outer", version=2)(inner)
        assert both.key_of("a") != inner.key_of("a")
        assert both.key_of("a").namespace == "outer"
        assert outer.memoize(inner).key_of("a") != inner.key_of("a")
        assert await both("a") == await both("a") == "a"
        await inner.forget("a")
        assert await both("a") == "a"
        streams = outer.memoize(far.memoize(words))
        for _ in range(2):
            assert [word async for word in streams("a")] == ["a"]
        await streams.forget("a")
    assert calls == 2
    assert near.statistics().provider_calls == 2


def test_of_a_synchronous_one() -> None:
    near, far = Cache(), Cache()

    @near.memoize
    @far.memoize
    def ask(text: str) -> str:
        return text

    assert ask("a") == ask("a") == "a"
    assert (near.statistics().calls, far.statistics().calls) == (2, 1)


async def test_of_a_bound_method_the_object_counts() -> None:
    near, far = Cache(), Cache()

    @dataclasses.dataclass
    class Shop:
        town: str

        @far.memoize
        async def price(self, thing: str) -> str:
            return f"{thing}, {self.town}"

    here, there = (near.memoize(Shop(town).price) for town in ("Turin", "Rome"))
    assert [await each("tea") for each in (here, there, here)] == [
        "tea, Turin", "tea, Rome", "tea, Turin",
    ]  # fmt: skip
    assert near.statistics().provider_calls == 2


async def test_a_decorator_in_between_may_give_arguments() -> None:
    """First or by name: its callers do not, and what they give counts."""
    cache = Cache()

    def with_session(function: Any) -> Any:
        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await function(object(), *args, **kwargs)

        return call

    def with_client(function: Any) -> Any:
        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await function(*args, client=object(), **kwargs)

        return call

    @cache.memoize(ignore=["session"])
    @with_session
    async def first(session: object, text: str, most: int = 3) -> str:
        return text[:most]

    @cache.memoize(ignore=["trace"])
    @with_client
    async def named(text: str, *, client: object, trace: object = None) -> str:
        return text

    @dataclasses.dataclass
    class Shop:
        town: str

        @cache.memoize
        @with_client
        async def price(self, thing: str, *, client: object) -> str:
            return f"{type(self).__name__}, {self.town}, {thing}"

    class Dear(Shop):
        pass

    assert [await first(text) for text in ("a", "b", "a")] == ["a", "b", "a"]
    assert await named("a", trace=object()) == await named("a") == "a"
    assert await named("b") == "b"
    for shop in (Shop("Turin"), Dear("Turin"), Shop("Rome")):
        expected = f"{type(shop).__name__}, {shop.town}, tea"
        assert await shop.price("tea") == await shop.price("tea") == expected
    assert cache.statistics().provider_calls == 7
    with pytest.raises(TypeError):
        await first("a", "b", "c", "d")


async def test_an_unkeyable_choice_is_said_to_be_one() -> None:
    cache = Cache()

    @cache.memoize(key=lambda text: {"a": [object()]})
    async def ask(text: str) -> str:
        return text

    with pytest.warns(
        SamecallWarning, match=r"ask\(what key= gives\.a\[0\]\): a value of type obj"
    ):
        assert await ask("a") == "a"


def test_a_plain_function_that_returns_an_async_generator_is_told() -> None:
    async def words() -> AsyncIterator[str]:
        yield "a"

    @functools.wraps(words)
    def plain() -> Any:
        return words()

    with pytest.raises(ConfigurationError, match="returned an async iterator: make it an async g"):
        Cache().memoize(plain)()


def test_a_bound_one_knows_its_object() -> None:
    class Shop:
        @Cache().memoize
        async def price(self, thing: str) -> str:
            return thing

    shop = Shop()
    assert shop.price.__self__ is shop  # type: ignore[attr-defined]
    assert [*inspect.signature(shop.price).parameters] == ["thing"]
