"""Memoized functions with something around or within: caches, decorators that give arguments."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

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


async def test_what_a_decorator_was_given_counts() -> None:
    """One function, decorated in two ways, has answers of both; what cannot count is left out."""
    cache = Cache()

    def through(model: str, *more: object) -> Any:
        def decorate(function: Any) -> Any:
            @functools.wraps(function)
            async def call(*args: Any) -> Any:
                assert more
                return await function(*args, model)

            return call

        return decorate

    async def ask(text: str, model: str) -> str:
        return f"{model}: {text}"

    small, large = (cache.memoize(through(each, object())(ask)) for each in ("small", "large"))
    assert [await each("a") for each in (small, large, small, large)] == [
        "small: a", "large: a", "small: a", "large: a",
    ]  # fmt: skip
    assert cache.statistics().provider_calls == 2
    assert cache.statistics().uncached == 0


@dataclasses.dataclass(frozen=True)
class Options:
    model: str
    client: object = None


class Settings(BaseModel, frozen=True):
    model: str


class Setup(msgspec.Struct, frozen=True):
    model: str


class Loose(BaseModel):
    model: str


def asking(cache: Cache, options: Any) -> Any:
    @cache.memoize
    async def ask(text: str) -> str:
        return f"{options.model}: {text}"

    return ask


@pytest.mark.parametrize("kind", [Options, Settings, Setup])
async def test_frozen_things_that_a_nested_function_reads_count(kind: Any) -> None:
    """A factory that is given its settings makes functions of one name."""
    cache = Cache()
    for model in ("small", "large", "small"):
        assert await asking(cache, kind(model=model))("a") == f"{model}: a"
    assert cache.statistics().provider_calls == 2


async def test_a_frozen_thing_that_has_no_form_is_left_out() -> None:
    """As any object is that a nested function reads."""
    cache = Cache()
    for _ in range(2):
        assert await asking(cache, Options("small", client=object()))("a") == "small: a"
    assert cache.statistics().provider_calls == 1


async def test_two_of_one_name_that_read_other_models_are_told() -> None:
    """Models that are not frozen may count what has been asked, so they are no part of a key."""
    cache = Cache()
    for _ in range(2):
        assert await asking(cache, Loose(model="small"))("a") == "small: a"
    assert cache.statistics().provider_calls == 1
    with pytest.warns(SamecallWarning, match="two functions are called"):
        await asking(cache, Loose(model="large"))("a")


async def test_arguments_of_any_name() -> None:
    """Also those that a method's own arguments are called."""
    cache = Cache()

    @cache.memoize
    async def ask(*args: int, **kwargs: int) -> list[int]:
        return [*args, *kwargs.values()]

    assert await ask(1, self=2, args=3, kwargs=4, mode=5) == [1, 2, 3, 4, 5]
    assert await ask.peek(1, self=2, args=3, kwargs=4, mode=5) == [1, 2, 3, 4, 5]
    assert await ask.refresh(1, self=2) == [1, 2]
    await ask.forget(1, self=2)
    assert await ask.peek(1, self=2) is None
