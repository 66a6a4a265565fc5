"""Functions that ask an instructor client, as the decorators of its caching article take them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

import instructor
from samecall import Cache
from samecall._memoize.own import own
from samecall.instructor import cached
from samecall.testing import StubProvider


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
