"""A hit equals a miss: every response model, by every way to an answer."""

from __future__ import annotations

import asyncio
import pickle
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fidelity_ask import ask, bare_client, question, settled
from fidelity_cases import CASES, REFUSED, Case
from fidelity_stub import Stub
from pydantic import BaseModel
from redis.asyncio import Redis

import instructor
from samecall import Cache, Policy
from samecall.instructor import cached

Answer = tuple[Any, Any]


@dataclass
class Two:
    """What the caller whose call it was got, and what another got; `calls`: to the provider."""

    led: Answer
    other: Answer
    calls: int


class Fleet:
    """Where a question can be asked: the provider, the shared store, the other process."""

    def __init__(self, stub: Stub, redis_url: str, other: Any) -> None:
        self.stub = stub
        self.redis_url = redis_url
        self.other = other
        self.namespace = f"fidelity-{secrets.token_hex(6)}"

    async def ask_elsewhere(self, case: Case) -> tuple[str, Answer]:
        """(how the answer came, the answer) of the other process."""
        how, answer = await self.other.ask(case.name, self.stub.url, self.redis_url, self.namespace)
        return how, answer

    def shared(self) -> Cache:
        return Cache(self.redis_url, namespace=self.namespace, policy=Policy(op_timeout=30))


@pytest.fixture
def fleet(stub: Stub, redis_url: str, other: Any) -> Fleet:
    return Fleet(stub, redis_url, other)


async def by_a_miss(case: Case, fleet: Fleet) -> Two:
    """Two calls that have nothing in common."""
    async with Cache() as one, Cache() as two:
        return Two(await ask(case, fleet.stub.url, one), await ask(case, fleet.stub.url, two), 2)


async def by_an_l1_hit(case: Case, fleet: Fleet) -> Two:
    async with Cache() as cache:
        led = await ask(case, fleet.stub.url, cache)
        await stored(cache)
        other = await ask(case, fleet.stub.url, cache)
        assert cache.statistics().l1_hits == 1
        return Two(led, other, 1)


async def by_l1_hits(case: Case, fleet: Fleet) -> Two:
    """The third and later ones are cast in the mould of the second, where there can be one."""
    async with Cache() as cache:
        led = await ask(case, fleet.stub.url, cache)
        await stored(cache)
        for _ in range(2):
            await ask(case, fleet.stub.url, cache)
        other = await ask(case, fleet.stub.url, cache)
        assert cache.statistics().l1_hits == 3
        return Two(led, other, 1)


async def by_an_l1_hit_over_a_shared_store(case: Case, fleet: Fleet) -> Two:
    """Led here, read from Redis by a second cache, and then from that one's memory."""
    async with fleet.shared() as cache, fleet.shared() as second:
        led = await ask(case, fleet.stub.url, cache)
        await stored(cache)
        await ask(case, fleet.stub.url, second)
        other = await ask(case, fleet.stub.url, second)
        # a copy that was made before the server tells of changes is dropped when it begins to
        for _ in range(20):
            if second.statistics().l1_hits:
                break
            other = await ask(case, fleet.stub.url, second)
        assert second.statistics().l1_hits == 1
        return Two(led, other, 1)


async def by_a_follower(case: Case, fleet: Fleet) -> Two:
    async with Cache() as cache:
        fleet.stub.gate.clear()
        led = asyncio.create_task(ask(case, fleet.stub.url, cache))
        other = asyncio.create_task(ask(case, fleet.stub.url, cache))
        while cache.statistics().callers_waiting < 2:
            await asyncio.sleep(0)
        await fleet.stub.asked.wait()
        fleet.stub.gate.set()
        return Two(await led, await other, 1)


async def by_an_l2_hit_elsewhere(case: Case, fleet: Fleet) -> Two:
    """Led here, kept in Redis, read by another process."""
    async with fleet.shared() as cache:
        led = await ask(case, fleet.stub.url, cache)
        await stored(cache)
        how, other = await fleet.ask_elsewhere(case)
    assert how == "l2_hits"
    return Two(led, other, 1)


async def by_a_follower_elsewhere(case: Case, fleet: Fleet) -> Two:
    """Led here while another process waits for it."""
    async with fleet.shared() as cache, Redis.from_url(fleet.redis_url) as redis:
        fleet.stub.gate.clear()
        led = asyncio.create_task(ask(case, fleet.stub.url, cache))
        await fleet.stub.asked.wait()
        other = asyncio.create_task(fleet.ask_elsewhere(case))
        while not await redis.pubsub_channels(f"*{fleet.namespace}*"):
            assert not other.done(), await other
        fleet.stub.gate.set()
        how, followed = await other
        assert how == "coalesced_remote"
        return Two(await led, followed, 1)


WAYS: list[Callable[[Case, Fleet], Awaitable[Two]]] = [
    by_a_miss,
    by_an_l1_hit,
    by_l1_hits,
    by_an_l1_hit_over_a_shared_store,
    by_a_follower,
    by_an_l2_hit_elsewhere,
    by_a_follower_elsewhere,
]


async def stored(cache: Cache, count: int = 1) -> None:
    """Return when so many answers are stored, which comes after their callers have them."""
    for _ in range(100_000):
        if cache.statistics().stored >= count:
            return
        await asyncio.sleep(0)
    raise AssertionError("nothing was stored")


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("case", CASES, ids=repr)
async def test_a_hit_equals_a_miss(
    case: Case, way: Callable[[Case, Fleet], Awaitable[Two]], fleet: Fleet
) -> None:
    """Equal by ==, of one class, with the provider's own completion, and of one's own."""
    two = await way(case, fleet)
    (value, raw), (other, other_raw) = two.led, two.other
    assert fleet.stub.calls[case.name] == two.calls * case.tries
    assert other == value
    assert type(other) is type(value)
    assert other_raw == raw
    assert type(other_raw) is type(raw)
    assert other_raw._request_id == raw._request_id == f"req_{case.name}"
    assert other_raw.to_dict() == raw.to_dict()
    assert declared(other_raw) == declared(raw)
    assert raw.usage.total_tokens == other_raw.usage.total_tokens == tokens(case)
    assert not mutables((value, raw)) & mutables((other, other_raw))
    assert_bears(value, raw)
    assert_bears(other, other_raw)
    assert getattr(other, "_total_usage", None) == getattr(value, "_total_usage", None)
    for answer in two.led, two.other:
        assert_pickles(*answer)


@pytest.mark.parametrize("case", CASES, ids=repr)
async def test_a_miss_equals_the_bare_client(case: Case, stub: Stub) -> None:
    """Through us or not: the same values, in the caller's own class."""
    async with bare_client(case, stub.url) as bare, Cache() as cache:
        asked = question(case)
        plain = await bare.create_fn(hooks=bare.hooks, **asked)
        client = cached(bare, cache)
        value = settled(case, await client.create_fn(hooks=client.hooks, **asked))
    assert fields_of(value) == fields_of(settled(case, plain))
    assert getattr(value, "_raw_response", None) == getattr(plain, "_raw_response", None)
    model = asked["response_model"]
    if isinstance(model, type) and issubclass(model, BaseModel):
        assert isinstance(value, model)


@pytest.mark.parametrize("model", REFUSED, ids=repr)
async def test_what_instructor_refuses(model: Any, stub: Stub) -> None:
    """Is refused in the same words, and nothing is paid for."""
    case = Case("model", model, {})
    async with bare_client(case, stub.url) as bare, Cache() as cache:
        with pytest.raises(TypeError) as plain:
            await bare.create(**question(case))
        with pytest.raises(TypeError) as ours:
            await ask(case, stub.url, cache)
    assert str(ours.value) == str(plain.value)
    assert not stub.calls


def tokens(case: Case) -> int:
    """Of all tries in one completion, as instructor puts it; of Responses it adds nothing up."""
    return 18 if case.mode is instructor.Mode.RESPONSES_TOOLS else 18 * case.tries


def fields_of(value: Any) -> Any:
    """Without the class, which the bare client makes anew for every call."""
    if isinstance(value, BaseModel):
        held = {name: fields_of(getattr(value, name)) for name in type(value).model_fields}
        private = value.__pydantic_private__
        return type(value).__qualname__, repr(held), value.__pydantic_extra__, private
    if isinstance(value, list):
        return [fields_of(item) for item in value]
    return type(value), value


def declared(model: BaseModel) -> set[str]:
    return model.model_fields_set & set(type(model).model_fields)


def mutables(value: Any, found: set[int] | None = None) -> set[int]:
    """The ids of everything in `value` that one caller could change under another's feet."""
    found = set() if found is None else found
    if id(value) in found:
        return found
    if isinstance(value, BaseModel):
        found.add(id(value))
        for item in value.__dict__.values():
            mutables(item, found)
        mutables(value.__pydantic_extra__, found)
        mutables(value.__pydantic_private__, found)
    elif isinstance(value, dict):
        found.add(id(value))
        for item in value.values():
            mutables(item, found)
    elif isinstance(value, (list, set)):
        found.add(id(value))
        for item in value:
            mutables(item, found)
        mutables(getattr(value, "__dict__", None), found)
    elif isinstance(value, tuple):
        for item in value:
            mutables(item, found)
    return found


def assert_bears(value: Any, raw: Any) -> None:
    """Models and lists of models bear the completion that they were read from."""
    if hasattr(value, "_raw_response"):
        assert value._raw_response is raw


def assert_pickles(value: Any, raw: Any) -> None:
    again, again_raw = pickle.loads(pickle.dumps((value, raw)))
    assert again == value
    assert type(again) is type(value)
    assert again_raw == raw
    if hasattr(value, "_raw_response"):
        assert again._raw_response == raw
