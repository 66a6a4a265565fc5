"""Every kind of caller over every store: functions, threads, and instructor's own cache."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from openai import AsyncOpenAI, OpenAI
from place_support import PATIENT, Place, stored, until
from pydantic import BaseModel

import instructor
from samecall import Cache, Entry, Payload, Policy
from samecall._entry import Kind, encode_entry
from samecall._key import key_from
from samecall._ports import Lead
from samecall._stamps import new_token
from samecall.instructor import NativeCache, cached
from samecall.testing import GatedProvider, StubProvider


class Person(BaseModel):
    name: str


class Point(msgspec.Struct):
    x: float


async def test_an_async_function(place: Place) -> None:
    """One call of forty in two processes; it is refreshed and forgotten for both."""
    provider = GatedProvider[list[Person]]()

    def made(cache: Cache) -> Any:
        @cache.memoize(tags=lambda text: [f"of-{text}"])
        async def find(text: str) -> list[Person]:
            return await provider(text)

        return find

    here, there = place.cache(), place.cache()
    one, other = made(here), made(there)
    asked = [asyncio.ensure_future(one("ada")) for _ in range(20)]
    await provider.until_waiting(1)
    asked += [asyncio.ensure_future(other("ada")) for _ in range(20)]
    await until(lambda: there.statistics().callers_waiting == 20)
    provider.answer([Person(name="Ada")])
    answers = await asyncio.gather(*asked)
    assert answers == [[Person(name="Ada")]] * 40
    assert len({id(answer) for answer in answers}) == 40
    assert provider.calls == 1
    await stored(here)
    provider.answer([Person(name="Augusta Ada")])
    await other.refresh("ada")
    await stored(there)
    assert (await one("ada"))[0].name == "Augusta Ada"
    await here.forget_tag("of-ada")
    assert await other.peek("ada") is None
    assert provider.calls == 2


async def test_an_async_generator(place: Place) -> None:
    """One stream for two processes, live and afterwards."""
    called, gate, begun = 0, asyncio.Event(), asyncio.Event()

    def made(cache: Cache) -> Any:
        @cache.memoize
        async def points(count: int) -> AsyncIterator[Point]:
            nonlocal called
            called += 1
            for number in range(count):
                yield Point(float(number))
                begun.set()
                await gate.wait()

        return points

    here, there = place.cache(), place.cache()
    one, other = made(here), made(there)

    async def take(points: Any) -> list[Point]:
        return [point async for point in points(3)]

    first = asyncio.ensure_future(take(one))
    await begun.wait()
    second = asyncio.ensure_future(take(other))
    await until(lambda: there.statistics().flights == 1)
    gate.set()
    expected = [Point(0.0), Point(1.0), Point(2.0)]
    assert await first == await second == expected
    await stored(here)
    assert await take(other) == expected
    assert called == 1


@pytest.mark.parametrize("what", ["nothing", "short", "foreign", "another's", "cut"])
async def test_bytes_that_are_no_entry_of_this_call(place: Place, what: str) -> None:
    """A miss, and counted, by who leads and by who waits; the answer of one call replaces them."""
    one, two = place.cache(), place.cache()
    other, provider = GatedProvider[Any](), GatedProvider[Any]()
    other.answer("another")
    await one.get_or_call("another", other)
    await stored(one)
    found = await place.held(one, "another")
    assert found is not None
    forms = {"nothing": b"", "short": b"x" * 18, "foreign": b"\xff" * 80}
    data = forms.get(what, found.data if what == "another's" else found.data[:-1])
    await place.store(one).set(key_from("k", place.namespace), data, 60.0)
    leads = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    waits = asyncio.ensure_future(two.get_or_call("k", provider))
    await until(lambda: two.statistics().undecodable >= 1)
    provider.answer("yes")
    assert [await leads, await waits] == ["yes", "yes"]
    await stored(one, 2)
    assert await two.peek("k") == "yes"
    assert provider.calls == 1
    assert one.statistics().undecodable >= 1


async def test_a_leader_that_dies_is_replaced_and_overwrites_nothing(place: Place) -> None:
    """Its lease ends; one who waits calls, and what comes from the dead is refused."""
    cache, provider = place.cache(), GatedProvider[Any]()
    key = key_from("k", place.namespace)
    await cache.peek("k")
    store, dead = place.store(cache), new_token(key)
    led = await store.acquire(key, dead, b"", 0.3)
    assert isinstance(led, Lead)
    provider.answer("yes")
    asked = [each.get_or_call("k", provider) for each in (cache, place.cache())]
    assert await asyncio.gather(*asked) == ["yes", "yes"]
    await place.settled(cache)
    late = Entry(Kind.VALUE, Payload("plain", b"\xa4late"), dead, 60.0, 60.0)
    assert not await store.commit(key, dead, led.seen, encode_entry(key, late), 60.0, led.epoch)
    assert await cache.get_or_call("k", provider) == "yes"
    assert await place.cache().get_or_call("k", provider) == "yes"
    assert provider.calls == 1


def test_a_synchronous_function(where: object) -> None:
    """Threads of two processes make one call."""
    called: list[str] = []
    namespace = f"threads-{os.urandom(6).hex()}"

    def made() -> Any:
        @Cache(where, namespace=namespace, policy=Policy(op_timeout=PATIENT)).memoize
        def find(text: str) -> Person:
            called.append(text)
            return Person(name=text.title())

        return find

    with ThreadPoolExecutor(20) as pool:
        for find in (made(), made()):
            assert set(map(repr, pool.map(find, ["ada"] * 20))) == {"Person(name='Ada')"}
            find.forget("grace")  # ends what is on its way
    assert called == ["ada"]


@contextmanager
def two_synchronous(where: object) -> Iterator[tuple[Any, Any, Any, StubProvider]]:
    """The clients of two processes, a question that nobody has asked yet, and the provider."""
    asked = {
        "response_model": Person,
        "messages": [{"role": "user", "content": f"who {os.urandom(6).hex()}"}],
    }
    with StubProvider.in_thread() as provider:
        sdk = OpenAI(api_key="no-key", base_url=provider.openai_url)
        bare = instructor.from_openai(sdk, model="stub-1")
        policy = Policy(op_timeout=PATIENT)
        one, other = (cached(bare, Cache(where, policy=policy, l1=None)) for _ in range(2))
        yield one, other, asked, provider


def test_a_synchronous_client(where: object) -> None:
    """Threads that ask at once make one call, and another process's client has the answer."""
    with two_synchronous(where) as (one, other, asked, provider):
        provider.hold()
        with ThreadPoolExecutor(20) as pool:
            tasks = [pool.submit(one.create, **asked) for _ in range(20)]
            while provider.waiting < 1:
                pass
            provider.release()
            people = [task.result() for task in tasks]
        assert other.create(**asked) == people[0]
        assert all(person == people[0] for person in people)
        assert provider.calls == 1


def test_a_synchronous_clients_stream(where: object) -> None:
    """Live for threads that ask at once, and part for part in another process."""
    with two_synchronous(where) as (one, other, asked, provider):
        provider.hold()
        with ThreadPoolExecutor(5) as pool:
            tasks = [pool.submit(lambda: list(one.create_partial(**asked))) for _ in range(5)]
            while provider.waiting < 1:
                pass
            provider.release()
            parts = [task.result() for task in tasks]
        assert all(each == parts[0] for each in parts)
        assert list(other.create_partial(**asked)) == parts[0]
        assert provider.calls == 1


def test_a_synchronous_function_is_looked_at_renewed_and_forgotten(where: object) -> None:
    """By one process for the other."""
    calls = 0
    namespace = f"blocking-{os.urandom(6).hex()}"

    def made() -> Any:
        cache = Cache(where, namespace=namespace, policy=Policy(op_timeout=PATIENT), l1=None)

        @cache.memoize(tags=("t",))
        def count(text: str) -> Point:
            nonlocal calls
            calls += 1
            return Point(float(calls))

        return count

    one, other = made(), made()
    assert other.peek("a") is None
    assert one("a") == Point(1.0)
    while other.peek("a") != Point(1.0):  # it is stored a moment later
        pass
    assert other.refresh(text="a") == Point(2.0)
    while one.peek("a") != Point(2.0):
        pass
    other.forget("a")
    assert one.peek("a") is None
    assert one("a") == Point(3.0)


def test_instructors_own_cache(where: object) -> None:
    """What one process keeps, the other one finds; for as long as it says."""
    policy = Policy(op_timeout=PATIENT)
    one, other = (NativeCache(where, policy=policy, l1=None) for _ in range(2))
    key = f"native-{os.urandom(6).hex()}"
    assert other.get(key) is None
    one.set(key, '{"name": "Ada"}', ttl=3600)
    while other.get(key) is None:  # it is stored a moment later
        pass
    assert other.get(key) == '{"name": "Ada"}'
    one.set(f"{key}-2", "never", ttl=0)
    assert other.get(f"{key}-2") is None
    one.set(f"{key}-3", "short", ttl=0.05)
    while other.get(f"{key}-3") is None:
        pass
    while other.get(f"{key}-3") is not None:
        pass


def test_instructors_clients_with_it(where: object) -> None:
    """A synchronous and an asynchronous client of two processes: one pays, one hits."""
    text = f"native {os.urandom(6).hex()}"
    asked: Any = {"response_model": Person, "messages": [{"role": "user", "content": text}]}
    policy = Policy(op_timeout=PATIENT)

    def native() -> Any:
        return NativeCache(where, policy=policy, l1=None, ttl=600)

    async def elsewhere(url: str) -> Any:
        async with AsyncOpenAI(api_key="no-key", base_url=url) as sdk:
            client = instructor.from_openai(
                sdk, model="stub-1", cache=native(), cache_namespace="fleet"
            )
            return await client.create_with_completion(**asked, cache_ttl=60)

    with (
        StubProvider.in_thread() as provider,
        OpenAI(api_key="no-key", base_url=provider.openai_url) as sdk,
    ):
        mine = native()
        client = instructor.from_openai(sdk, model="stub-1", cache=mine, cache_namespace="fleet")
        first = client.create(**asked, cache_ttl=60)
        while mine.cache.statistics().stored < 1:
            pass
        again, completion = asyncio.run(elsewhere(provider.openai_url))
        assert again.model_dump() == first.model_dump()
        assert completion.model == "stub-1"
        assert provider.calls == 1
