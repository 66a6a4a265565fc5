"""What users write, under both strict type checkers; never run."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from typing import Any, Generic, TypeVar, assert_type, overload

from pydantic import BaseModel

import instructor
from samecall import Cache, Key, Policy
from samecall.instructor import cached, key_of

T = TypeVar("T")
cache = Cache("memory://", policy=Policy(ttl=60))


class User(BaseModel):
    name: str


# --- clients ------------------------------------------------------------------------------------


async def of_an_async_client(bare: instructor.AsyncInstructor) -> None:
    client = cached(bare, cache, policy=Policy(), namespace="n", account="a")
    assert_type(client, instructor.AsyncInstructor)
    user = await client.create(response_model=User, messages=[], cache_ttl=60)
    assert_type(user, User | Any)  # as instructor has it
    name: str = user.name
    assert_type(await client.chat.completions.create(response_model=User, messages=[]), User | Any)
    assert_type(await client.messages.create(response_model=User, messages=[]), User | Any)
    both = await client.create_with_completion(messages=[], response_model=User)
    assert_type(both, tuple[User, Any])
    assert_type(client.create_partial(User, []), AsyncGenerator[User, None])
    assert_type(client.create_iterable([], User), AsyncGenerator[User, None])
    assert_type(key_of(client, response_model=User, messages=[{"content": name}]), Key)


def of_a_synchronous_client(bare: instructor.Instructor) -> None:
    client = cached(bare, cache)
    assert_type(client, instructor.Instructor)
    assert_type(client.create(response_model=User, messages=[]), User)
    assert_type(client.create_partial(User, []), Generator[User, None, None])
    assert_type(client.create_iterable([], User), Generator[User, None, None])
    both = client.create_with_completion(messages=[], response_model=User)
    assert_type(both, tuple[User, Any])


async def of_a_key() -> None:
    async def call() -> User:
        return User(name="Ada")

    assert_type(await cache.get_or_call("k", call), User)
    assert_type(cache.statistics().calls, int)


async def mistakes_with_a_client(bare: instructor.AsyncInstructor) -> None:
    cached(bare)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    cached(bare, "redis://")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    user = await cached(bare, cache).create(response_model=User, messages=[])
    print(user.age)  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue]


# --- functions ----------------------------------------------------------------------------------


@cache.memoize
async def bare(text: str, *, most: int = 3) -> User:
    return User(name=text[:most])


@cache.memoize(ttl=60, version=2, ignore=["trace"], namespace="n")
async def with_settings(text: str, trace: str = "") -> list[User]:
    return [User(name=text)]


@cache.memoize
def blocking(text: str) -> User:
    return User(name=text)


def lowered(text: str) -> str:
    return text.lower()


@cache.memoize(key=lowered)
def blocking_with_settings(text: str) -> int:
    return len(text)


@cache.memoize
async def items(text: str) -> AsyncIterator[User]:
    yield User(name=text)


@cache.memoize(ttl=60)
async def generated(text: str) -> AsyncGenerator[int, None]:
    yield len(text)


@cache.memoize
async def given(text: str, model: type[T]) -> T:
    return model()


class Service:
    @cache.memoize(ignore=["self"])
    async def ask(self, text: str) -> User:
        return User(name=text)

    @cache.memoize(ignore=["self"])
    def ask_blocking(self, text: str) -> User:
        return User(name=text)

    @classmethod
    @cache.memoize
    async def of_class(cls, text: str) -> User:
        return User(name=text)

    @cache.memoize
    @classmethod
    def of_class_blocking(cls, text: str) -> User:
        return User(name=text)

    @staticmethod
    @cache.memoize
    async def of_nobody(model: type[User], text: str) -> User:
        return model(name=text)


@dataclasses.dataclass(frozen=True, slots=True)
class Shelf(Generic[T]):
    held: T

    @cache.memoize
    async def find(self, text: str, /, *more: int, exact: bool = True, **rest: int) -> T:
        return self.held

    @cache.memoize
    async def each(self, text: str) -> AsyncIterator[T]:
        yield self.held


@overload
async def either(given: int) -> int: ...
@overload
async def either(given: str) -> str: ...
@cache.memoize
async def either(given: int | str) -> int | str:
    return given


async def of_methods(service: Service) -> None:
    assert_type(await Service.of_class("a"), User)
    assert_type(await service.of_class("a"), User)
    assert_type(await Service.of_class.peek("a"), User | None)
    await Service.of_class.forget("a")
    Service.of_class_blocking("a")
    Service.of_class_blocking.forget("a")
    assert_type(await Service.of_nobody(User, "a"), User)
    assert_type(await service.of_nobody(User, "a"), User)
    assert_type(await Shelf("a").find("a", 1, exact=False, more_of=2), str)
    assert_type(await Shelf(1).find.peek("a"), int | None)
    async for each in Shelf(1).each("a"):
        assert_type(each, int)
    assert_type(await either(1), int)
    assert_type(await either("a"), str)
    await Shelf(1).find(text="a")  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]


async def of_functions(service: Service) -> None:
    assert_type(await bare("a", most=1), User)
    assert_type(await bare.refresh("a"), User)
    assert_type(await bare.peek("a"), User | None)
    assert_type(bare.key_of("a"), Key)
    await bare.forget("a", most=1)
    assert_type(await with_settings("a", trace="b"), list[User])
    assert_type(blocking("a"), User)
    assert_type(blocking.peek("a"), User | None)
    assert_type(blocking_with_settings("a"), int)
    assert_type(await service.ask("a"), User)
    assert_type(service.ask.key_of("a"), Key)
    assert_type(await Service.ask(service, "a"), User)
    assert_type(service.ask_blocking("a"), User)
    async for user in items("a"):
        assert_type(user, User)
    assert_type(await items.peek("a"), list[User] | None)
    assert_type(await given("a", User), User)
    async for number in generated.refresh("a"):
        assert_type(number, int)


async def mistakes(service: Service) -> None:
    await bare(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await bare("a", 1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    blocking()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await service.ask()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
