"""One process that reads the stream: a real SDK client, like a replica of a service."""

from __future__ import annotations

import hashlib
import logging
import time
from typing import Any

import msgspec
from pydantic import BaseModel

from samecall._cache import Cache
from samecall._errors import SamecallError
from samecall._policy import Policy
from samecall.testing.crew import Line

__all__ = ["ANSWER", "PROMPT", "Recipe", "Setup", "Took", "work"]

PROMPT = "A recipe for bread, please."
_MODEL = "gpt-4o-mini"
_PATIENCE = 120.0
_POLICY = Policy(op_timeout=5)  # on a busy machine too, one stream is what is to be seen
ANSWER = {
    "title": "Country bread",
    "hours": 20,
    "ingredients": ["500 g flour", "350 g water", "100 g sourdough", "10 g salt"],
    "steps": [
        "Mix flour and water, let them rest for an hour.",
        "Fold in sourdough and salt, four times.",
        "Shape it, and keep it cold overnight.",
        "Bake it in a closed pot.",
    ],
}


class Recipe(BaseModel):
    """The response model of the demo."""

    title: str
    hours: int
    ingredients: list[str]
    steps: list[str]


class Setup(msgspec.Struct, frozen=True):
    """What a worker needs to begin."""

    store_url: str
    namespace: str
    provider_url: str


class Took(msgspec.Struct, frozen=True):
    """How a worker's stream went. Times are seconds since it asked; `digest`: of all its items."""

    items: int
    first: float
    whole: float
    digest: str
    how: str


async def work(line: Line, setup: Any) -> None:
    """Tell "ready"; after an order "item" for each item, then "took"; and "closed" after None."""
    from openai import AsyncOpenAI

    import instructor
    from samecall.instructor import cached

    logging.getLogger().addHandler(logging.NullHandler())  # what fails is told in the report
    given = msgspec.convert(setup, Setup)
    async with (
        AsyncOpenAI(
            base_url=given.provider_url, api_key="demo", max_retries=0, timeout=_PATIENCE
        ) as sdk,
        Cache(given.store_url, namespace=given.namespace, policy=_POLICY) as cache,
    ):
        client = cached(instructor.from_openai(sdk, mode=instructor.Mode.JSON_SCHEMA), cache)
        await _warm(client, cache)
        line.tell(("ready", None))
        while await line.hear() is not None:
            try:
                took = await _read(line, client, cache)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told and fails the demo
                line.tell(("failed", f"{type(error).__name__}: {error}"[:300]))
            else:
                line.tell(("took", msgspec.to_builtins(took)))
    line.tell(("closed", None))


async def _read(line: Line, client: Any, cache: Cache) -> Took:
    digest = hashlib.sha256()
    began, first, count = time.perf_counter(), 0.0, 0
    messages = [{"role": "user", "content": PROMPT}]
    async for item in client.create_partial(model=_MODEL, response_model=Recipe, messages=messages):
        first = first or time.perf_counter() - began
        count += 1
        digest.update(repr(item).encode())
        line.tell(("item", item.model_dump(warnings=False)))
    whole = time.perf_counter() - began
    counts = cache.statistics()
    ways = ("led", "coalesced_remote", "l2_hits", "l1_hits", "coalesced_local")
    how = next((way for way in ways if getattr(counts, way)), "")
    return Took(count, first, whole, digest.hexdigest(), how)


async def _warm(client: Any, cache: Cache) -> None:
    messages = [{"role": "user", "content": "Warm everything up."}]
    asked = {"model": _MODEL, "response_model": Recipe, "messages": messages, "cache": None}
    async for _ in client.create_partial(**asked):
        pass
    try:
        await cache.peek("connect")
    except SamecallError:
        return  # fail-open is for the call to show
