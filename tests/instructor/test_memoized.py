"""Functions that ask an instructor client, as the decorators of its caching article take them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, TypeVar

import openai
import pytest
from instructor.v2.core.response_model import prepare_response_model
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

import instructor
from samecall import Cache
from samecall._memoize.own import own
from samecall.instructor import cached
from samecall.testing import StubProvider

M = TypeVar("M")


class User(BaseModel):
    name: str


def asked(text: str) -> Any:
    return [{"role": "user", "content": text}]


MODES = [instructor.Mode.TOOLS, instructor.Mode.JSON]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kept", [False, True], ids=["bare", "cached"])
async def test_its_answer_is_kept_and_of_the_class_that_it_names(
    sdk: openai.AsyncOpenAI, provider: StubProvider, mode: instructor.Mode, kept: bool
) -> None:
    """One of its own, in a list, a tuple or a dict; the first time as ever after."""
    bare: Any = instructor.from_openai(sdk, model="stub-1", mode=mode)
    client: Any = cached(bare, Cache()) if kept else bare
    cache = Cache()

    @cache.memoize
    async def one(text: str) -> User:
        return await client.create(response_model=User, messages=asked(text))  # type: ignore[no-any-return]

    @cache.memoize
    async def many(text: str) -> list[User]:
        return await client.create(response_model=list[User], messages=asked(text))  # type: ignore[no-any-return]

    @cache.memoize
    async def each(*texts: str) -> dict[str, list[User]]:
        calls = (client.create(response_model=User, messages=asked(text)) for text in texts)
        return {"users": await asyncio.gather(*calls)}

    @cache.memoize
    async def whole(text: str) -> tuple[User, ChatCompletion]:
        return await client.create_with_completion(response_model=User, messages=asked(text))  # type: ignore[no-any-return]

    @cache.memoize
    async def stream(*texts: str) -> AsyncIterator[User]:
        for text in texts:
            yield await client.create(response_model=User, messages=asked(text))

    first = await one("a"), await many("b"), await each("c", "d"), await whole("e")
    items = [user async for user in stream("f", "g")]
    calls = provider.calls
    assert calls == 7
    assert (await one("a"), await many("b"), await each("c", "d"), await whole("e")) == first
    assert [user async for user in stream("f", "g")] == items
    assert provider.calls == calls
    user, users, by_name, (beside, completion) = first
    assert {type(each) for each in (user, *users, *by_name["users"], beside, *items)} == {User}
    assert (type(users), type(completion)) == (list, ChatCompletion)
    assert cache.statistics().uncached == 0
    assert vars(user) == {"name": user.name}  # and nothing of the raw response


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    user: User
    more: frozenset[str] = frozenset()
    again: Report | None = None


class Team(BaseModel):
    lead: User
    others: dict[str, list[User]] = {}
    note: str = ""


class Pair(NamedTuple):
    one: User
    two: User


@pytest.mark.parametrize("kept", [False, True], ids=["bare", "cached"])
async def test_it_is_kept_in_whatever_a_function_makes_of_it(
    sdk: openai.AsyncOpenAI, kept: bool
) -> None:
    """What came of several calls stands in a class of the function's own."""
    bare: Any = instructor.from_openai(sdk, model="stub-1")
    client: Any = cached(bare, Cache()) if kept else bare
    cache = Cache()

    async def ask(text: str, model: type[M]) -> M:
        return await client.create(response_model=model, messages=asked(text))  # type: ignore[no-any-return]

    @cache.memoize
    async def report(text: str) -> Report:
        user = await ask(text, User)
        return Report(user, again=Report(user))

    @cache.memoize
    async def team(text: str) -> Team:
        return Team(lead=await ask(text, User), others={"x": [await ask("b", User)]})

    @cache.memoize
    async def pairs(text: str) -> list[Pair]:
        return [Pair(await ask(text, User), await ask("b", User))]

    named = cache.memoize(ask)
    first = await report("a"), await team("a"), await pairs("a"), await named("a", User)
    assert cache.statistics().provider_calls == 4
    assert (await report("a"), await team("a"), await pairs("a"), await named("a", User)) == first
    assert cache.statistics().provider_calls == 4
    assert first[1].model_dump(exclude_unset=True).keys() == {"lead", "others"}
    assert cache.statistics().uncached == 0


def test_what_holds_itself_is_met_once() -> None:
    """And what cannot be copied stays: the answer is paid for."""

    class Odd(BaseModel):
        held: Any = None

        def __copy__(self) -> Odd:
            raise ValueError("no")

    made = instructor_class(User)
    ring: list[Any] = [User(name="a")]
    ring.append(ring)
    assert own(ring) is ring
    wide: list[Any] = [made(name="a")]
    for _ in range(100):
        wide = [wide, wide]
    narrow = own(wide)
    for _ in range(100):
        assert narrow[0] is narrow[1]
        narrow = narrow[0]
    assert type(narrow[0]) is User
    odd = Odd(held=made(name="a"))
    assert own(odd) is odd


def instructor_class(model: type[BaseModel]) -> type[BaseModel]:
    """As instructor makes it of a response model."""
    return prepare_response_model(model)  # type: ignore[return-value]


def test_a_synchronous_one() -> None:
    cache = Cache()
    with (
        StubProvider.in_thread() as provider,
        openai.OpenAI(api_key="key", base_url=provider.openai_url) as sdk,
    ):
        client = instructor.from_openai(sdk, model="stub-1")

        @cache.memoize
        def extract(text: str) -> User:
            return client.create(response_model=User, messages=asked(text))

        first = extract("a")
        assert extract("a") == first
        assert (type(first), provider.calls) == (User, 1)


def test_what_is_nobody_elses_class_stays_as_it_is() -> None:
    """The very object; also one of a subclass that happens to have the name of its base."""

    class Known(User):
        age: int = 1

    Known.__qualname__ = User.__qualname__
    held = [User(name="a"), Known(name="b")]
    for value in (held, (1, held), {"a": held, "b": 2}, held[1], [1.5] * 3, "text", None, {1}):
        assert own(value) is value
