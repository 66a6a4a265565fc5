"""A hit beside the alternatives, in one process and one run.

    python bench/hit.py [rounds] [calls]

Prints the median over the rounds of microseconds per call: `client.create` answered by L1 and by
L2 (a Valkey server on this machine, L1 off), instructor's own AutoCache, instructor's parser alone
on the same completion, the key alone; and what a miss costs beside the bare client (the SDK's HTTP
replaced by a fixed completion, so that nothing but the libraries is measured).
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import openai
from instructor.cache import AutoCache
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

import instructor
from samecall import Cache
from samecall.instructor import cached, key_of
from samecall.testing.servers import LocalServer

__all__ = ["measure"]

COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "t",
                        "type": "function",
                        "function": {"name": "User", "arguments": '{"name":"Ada","age":36}'},
                    }
                ],
            },
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18},
}


class User(BaseModel):
    name: str
    age: int


def client(**defaults: Any) -> instructor.AsyncInstructor:
    async def create(**_: Any) -> ChatCompletion:
        return ChatCompletion.model_validate(COMPLETION)

    sdk = openai.AsyncOpenAI(api_key="k", base_url="http://127.0.0.1:9/v1")
    sdk.chat.completions.create = create  # type: ignore[method-assign]
    return instructor.from_openai(sdk, model="m", **defaults)


def question(text: str = "Ada is 36") -> dict[str, Any]:
    return {"response_model": User, "messages": [{"role": "user", "content": text}]}


async def timed(ask: Callable[[], Awaitable[Any]], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        await ask()
    return (time.perf_counter() - began) / calls * 1e6


async def measure(rounds: int, calls: int, url: str) -> dict[str, float]:
    """Microseconds per call of each way, the median of the rounds, which take turns."""
    serial = itertools.count()
    async with Cache() as cache, Cache(url, l1=None) as shared:
        ours, over_redis = cached(client(), cache), cached(client(), shared)
        auto, bare = client(cache=AutoCache(maxsize=10_000)), client()
        raw = (await ours.create_with_completion(**question()))[1]
        await over_redis.create(**question())
        await auto.create(**question())
        codec = ours._samecall_calls.handlers()
        prepared = type(await ours.create(**question()))

        async def parse() -> Any:
            return codec.response_parser(
                response=raw, response_model=prepared, validation_context=None,
                strict=True, stream=False, is_async=True,
            )  # fmt: skip

        async def key() -> Any:
            return key_of(ours, **question())

        ways: dict[str, Callable[[], Awaitable[Any]]] = {
            "L1 hit": lambda: ours.create(**question()),
            "L2 hit": lambda: over_redis.create(**question()),
            "AutoCache hit": lambda: auto.create(**question()),
            "parser alone": parse,
            "key_of": key,
            "bare call": lambda: bare.create(**question()),
            "miss, memory": lambda: ours.create(**question(f"n{next(serial)}")),
            "miss, Redis": lambda: over_redis.create(**question(f"n{next(serial)}")),
        }
        await asyncio.sleep(0.1)
        figures: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, ask in ways.items():
                figures[name].append(await timed(ask, calls))
                await asyncio.sleep(0.05)  # what is on its way to a store gets there
        if shared.statistics().l2_hits < rounds * calls:
            raise RuntimeError(f"not every one was an L2 hit: {shared.statistics()}")
    return {name: statistics.median(values) for name, values in figures.items()}


def main() -> None:
    rounds, calls = (int(word) for word in (sys.argv[1:] + ["7", "300"][len(sys.argv) - 1 :]))
    with LocalServer() as server:
        for name, value in asyncio.run(measure(rounds, calls, server.url)).items():
            print(f"{name:>14}  {value:9.1f} us")


if __name__ == "__main__":
    main()
