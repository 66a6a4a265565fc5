"""One stream of the table, asked in this process or in another.

As a program it asks what its standard input tells it, a line `CLIENT MODE HELPER URL STORE
NAMESPACE` each, and prints how the answer came and the pickled items in base64.
"""

from __future__ import annotations

import asyncio
import base64
import pickle
import sys
from collections.abc import AsyncIterator, Iterable
from types import SimpleNamespace
from typing import Any

from provider_clients import Client, by_hand
from pydantic import BaseModel

from instructor import Mode
from samecall import Cache
from samecall.instructor import cached

ASK = [{"role": "user", "content": "Who?"}]
HELPERS = ("create_partial", "create_iterable", "create(Iterable)", "stream=True")


class Pet(BaseModel):
    name: str
    legs: int


class User(BaseModel):
    name: str
    age: int
    tags: list[str]
    pet: Pet


async def take(client: Client, helper: str, items: list[Any] | None = None) -> list[Any]:
    """The items of one stream, put into `items` as they come."""
    items = [] if items is None else items
    async for item in await opened(client, helper):
        items.append(item)
    return items


async def opened(client: Client, helper: str) -> AsyncIterator[Any]:
    asked: dict[str, Any] = {"messages": ASK}
    match helper:
        case "create_partial":
            return client.create_partial(response_model=User, **asked)
        case "create_iterable":
            return client.create_iterable(response_model=User, **asked)
        case "create(Iterable)":
            return await client.create(response_model=Iterable[User], **asked)
        case _:
            return await client.create(response_model=None, stream=True, **asked)


def at(url: str) -> Any:
    """What of a stub a client is aimed at."""
    return SimpleNamespace(url=url, openai_url=f"{url}/v1", anthropic_url=url, gemini_url=url)


async def answer(name: str, mode: str, helper: str, url: str, store: str, namespace: str) -> None:
    async with (
        by_hand(name, Mode[mode], at(url)) as bare,
        Cache(store, namespace=namespace, l1=None) as cache,
    ):
        items = await take(cached(bare, cache), helper)
        counts = cache.statistics()
    ways = ("provider_calls", "l2_hits", "coalesced_remote")
    how = next(way for way in ways if getattr(counts, way))
    print(how, base64.b64encode(pickle.dumps(items)).decode(), flush=True)


async def main() -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        await answer(*line.rstrip("\n").split("\t"))


if __name__ == "__main__":
    import stream_ask

    asyncio.run(stream_ask.main())  # its classes are found by that name in the other process
