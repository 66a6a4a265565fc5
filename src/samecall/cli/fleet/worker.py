"""One worker of the fleet: a process with real SDK clients, like a replica of a service."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from pydantic import BaseModel

from samecall._cache import Cache
from samecall._errors import SamecallError
from samecall.cli.fleet.plan import prompt
from samecall.testing.crew import Line

__all__ = ["MODEL", "Order", "Person", "Setup", "Share", "work"]

MODEL = "gpt-4o-mini"
_WARM_UP = "Extract the person: nobody, to warm the connections up."
_TELL_EVERY = 0.1
_PATIENCE = 120.0  # the SDK gives a connection 5 s, too little for a crowd on a busy machine


class Person(BaseModel):
    """The response model of the demo."""

    name: str
    age: int


class Setup(msgspec.Struct, frozen=True):
    """What a worker needs to begin."""

    store_url: str
    namespace: str
    provider_url: str


class Order(msgspec.Struct, frozen=True):
    """One wave: the prompts to ask for, `concurrency` at the same moment (0: all of them), through
    samecall or without it.
    """

    asked: list[int]
    cached: bool
    concurrency: int = 0


class Share(msgspec.Struct, frozen=True):
    """A worker's part of a wave. `usage`: (input, output) tokens of an answer, by prompt."""

    latencies: list[float]
    usage: dict[int, tuple[int, int]]
    statistics: dict[str, int]
    errors: list[str]


Ask = Callable[[int], Awaitable[tuple[int, int]]]


async def work(line: Line, setup: Any) -> None:
    """Tell "ready", then "share" for every order heard, and "closed" after None."""
    from openai import AsyncOpenAI

    import instructor
    from samecall.instructor import cached

    logging.getLogger().addHandler(logging.NullHandler())  # what fails is told in the report
    given = msgspec.convert(setup, Setup)
    async with (
        AsyncOpenAI(
            base_url=given.provider_url, api_key="demo", max_retries=0, timeout=_PATIENCE
        ) as sdk,
        Cache(given.store_url, namespace=given.namespace) as cache,
    ):
        bare = instructor.from_openai(sdk)
        client = cached(bare, cache)
        await bare.create(model=MODEL, response_model=Person, messages=_messages(_WARM_UP))
        await _warm(cache)
        line.tell(("ready", None))
        while (heard := await line.hear()) is not None:
            order = msgspec.convert(heard, Order)
            ask = _asker(client if order.cached else bare)
            share = await _wave(line, order, ask, cache)
            line.tell(("share", msgspec.to_builtins(share)))
    line.tell(("closed", None))


async def _warm(cache: Cache) -> None:
    try:
        await cache.peek("connect")
    except SamecallError:
        return  # fail-open is for the calls to show


def _asker(client: Any) -> Ask:
    async def ask(number: int) -> tuple[int, int]:
        messages = _messages(prompt(number))
        person = await client.create(model=MODEL, response_model=Person, messages=messages)
        usage = person._raw_response.usage  # noqa: SLF001 - instructor's documented name
        return usage.prompt_tokens, usage.completion_tokens

    return ask


def _messages(text: str) -> list[Any]:
    return [
        {"role": "system", "content": "You extract people from text."},
        {"role": "user", "content": text},
    ]


async def _wave(line: Line, order: Order, ask: Ask, cache: Cache) -> Share:
    gate = asyncio.Semaphore(order.concurrency or len(order.asked) or 1)
    share = Share([], {}, {}, [])
    before = msgspec.structs.asdict(cache.statistics())

    async def one(number: int) -> None:
        async with gate:
            began = time.perf_counter()
            try:
                share.usage[number] = await ask(number)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told and fails the demo
                share.errors.append(f"{type(error).__name__}: {error}"[:300])
            share.latencies.append(time.perf_counter() - began)

    async def tell() -> None:
        while True:
            line.tell(("progress", len(share.latencies)))
            await asyncio.sleep(_TELL_EVERY)

    teller = asyncio.create_task(tell())
    try:
        await asyncio.gather(*(one(number) for number in order.asked))
    finally:
        teller.cancel()
    after = msgspec.structs.asdict(cache.statistics())
    share.statistics.update({name: after[name] - before[name] for name in after})
    return share
