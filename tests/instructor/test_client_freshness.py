"""Freshness and forgetting as users of a cached client say them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

import instructor
from samecall import Cache, ConfigurationError, Policy
from samecall.instructor import cached, key_of
from samecall.testing import StubProvider
from samecall.testing.provider import Status


class User(BaseModel):
    name: str


def question(text: str = "who", **more: Any) -> dict[str, Any]:
    return {"response_model": User, "messages": [{"role": "user", "content": text}], **more}


async def stored(cache: Cache, count: int = 1) -> None:
    while cache.statistics().stored < count:
        await asyncio.sleep(0)


async def test_tags_and_forgetting_one_call(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """By the tag of the call, and by its arguments."""
    client = cached(bare, cache)
    for number in (1, 2):
        await client.create(**question(cache_tags=("people", "x")))
        await stored(cache, number)
        assert provider.calls == number
        await cache.forget_tag("people")
    await client.create(**question())
    await stored(cache, 3)
    await cache.forget_tag("people")
    assert await cache.peek(key_of(client, **question())) is not None
    await cache.forget(key_of(client, **question(cache_tags=("another",))))
    assert await cache.peek(key_of(client, **question())) is None


async def test_a_policy_for_one_call(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """`cache_policy` stands before the client's, and `cache_ttl` changes either."""
    client = cached(bare, cache, policy=Policy(should_store=lambda request, answer: False))
    await client.create(**question())
    assert cache.statistics().unwanted == 1
    policy = Policy(lifetime=lambda user: 60 if isinstance(user, User) else 0)
    await client.create(**question(cache_policy=policy))
    await stored(cache)
    await client.create(**question(cache_policy=policy, cache_ttl=5))
    assert provider.calls == 2


async def test_a_rule_may_be_any_object_that_can_be_called(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """One without a hash too, also where the call changes something of its policy."""

    @dataclass
    class Rule:
        name: str

        def __call__(self, request: Any, answer: Any) -> bool:
            return bool(answer.name == self.name)

    client = cached(bare, cache, policy=Policy(should_store=Rule("nobody")))
    for more in ({}, {"cache_ttl": 5}, {"timeout": 30.0}):
        await client.create(**question(**more))
    assert (cache.statistics().unwanted, provider.calls) == (3, 3)
    with pytest.raises(ConfigurationError, match="cache_policy takes a Policy"):
        await client.create(**question(cache_policy={"ttl": 5}))
    with pytest.raises(ConfigurationError, match="cache_tags takes"):
        await client.create(**question(cache_tags="people"))


async def test_should_store_hears_the_arguments_and_the_answer(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """As they were given to `create`, and as `create` returns it; with raw completions too."""
    heard: list[tuple[Any, Any]] = []

    def rule(request: Any, answer: Any) -> bool:
        heard.append((request, answer))
        return True

    client = cached(bare, cache, policy=Policy(should_store=rule))
    asked = question(temperature=0.5)
    user = await client.create(**asked)
    value, _ = await client.create_with_completion(**question("another"))
    (request, answer), (_, second) = heard
    assert answer is user
    assert second is value
    assert request["response_model"] is User
    assert request["messages"] == asked["messages"]
    assert request["temperature"] == 0.5
    assert "cache_policy" not in request


async def test_should_store_hears_the_arguments_of_a_stream(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """As of a call that does not stream; the answer is what `create` would return."""
    heard: list[tuple[Any, Any]] = []

    def rule(request: Any, answer: Any) -> bool:
        heard.append((request, answer))
        return bool(request["messages"][0]["content"] == "who")

    client = cached(bare, cache, policy=Policy(should_store=rule))
    for calls, text in ((1, "who"), (1, "who"), (2, "another"), (3, "another")):
        async for _ in client.create_partial(**question(text)):
            pass
        assert provider.calls == calls
    (request, answer), *_ = heard
    assert request["messages"] == question()["messages"]
    assert isinstance(answer, User)
    assert answer == await client.create(**question(), cache_policy=Policy())
    assert provider.calls == 3


async def test_what_should_store_hears_of_each_kind_of_stream(
    bare: instructor.AsyncInstructor, cache: Cache
) -> None:
    """A list of items, and the completion of raw events."""
    heard: list[Any] = []

    def rule(_: Any, answer: Any) -> bool:
        heard.append(answer)
        return False

    client = cached(bare, cache, policy=Policy(should_store=rule))
    items = [item async for item in client.create_iterable(**question())]
    raw = await client.create(**{**question(), "response_model": None}, stream=True)
    events = [event async for event in raw]
    listed, completion = heard
    assert list(listed) == items
    assert completion.object == "chat.completion"
    assert completion.id == events[0].id


async def test_a_stale_answer_of_a_client(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """While it is renewed, and while the provider is down."""
    policy = Policy(ttl=1e-6, stale_if_error=600, error_ttl=0)
    client = cached(bare, cache, policy=policy)
    provider.answer("who", {"name": "Ada"})
    assert (await client.create(**question())).name == "Ada"
    await stored(cache)
    provider.script("who", Status(503))
    assert (await client.create(**question(), max_retries=1)).name == "Ada"
    calls = provider.calls
    provider.answer("who", {"name": "Grace"})
    swr = policy.replace(stale_while_revalidate=600)
    assert (await client.create(**question(), cache_policy=swr)).name == "Ada"
    await stored(cache, 2)
    assert provider.calls == calls + 1
    assert (await client.create(**question(), cache_policy=swr)).name == "Grace"


async def test_variants_of_a_call_are_forgotten_by_its_key(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """`key_of` knows the client's policy, and with it how many answers there may be."""
    client = cached(bare, cache, policy=Policy(variants=4))
    for _ in range(100):
        await client.create(**question())
    assert 1 < provider.calls <= 4
    key = key_of(client, **question())
    assert await cache.peek(key) is not None
    await cache.forget(key)
    assert await cache.peek(key) is None
