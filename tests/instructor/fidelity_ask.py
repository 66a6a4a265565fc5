"""One question of the fidelity table, asked in this process or in another.

As a program it asks what its standard input tells it, a line `CASE PROVIDER STORE NAMESPACE` each,
and prints how the answer came and the pickled answer in base64.
"""

from __future__ import annotations

import asyncio
import base64
import pickle
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
from fidelity_cases import BY_NAME, Case

import instructor
from samecall import Cache
from samecall.instructor import cached


@asynccontextmanager
async def bare_client(case: Case, url: str) -> AsyncIterator[instructor.AsyncInstructor]:
    # plain HTTP: reading the certificates would take most of the time of the table
    http = openai.DefaultAsyncHttpxClient(verify=False)
    async with openai.AsyncOpenAI(
        api_key="k", base_url=url, max_retries=0, http_client=http
    ) as sdk:
        yield instructor.from_openai(sdk, mode=case.mode, model="stub-1")


def question(case: Case) -> dict[str, Any]:
    return {
        "response_model": case.asked,
        "messages": [{"role": "user", "content": f"case: {case.name}"}],
        **case.kwargs,
    }


async def ask(case: Case, url: str, cache: Cache) -> tuple[Any, Any]:
    """(value, completion) of a client of its own on `cache`."""
    async with bare_client(case, url) as bare:
        client = cached(bare, cache)
        value, raw = await client.create_with_completion(**question(case))
        return settled(case, value), raw


def settled(case: Case, value: Any) -> Any:
    # parallel tools answer with an iterator, which is equal to nothing but itself
    return list(value) if case.mode is instructor.Mode.PARALLEL_TOOLS else value


async def answer(name: str, url: str, store: str, namespace: str) -> None:
    async with Cache(store, namespace=namespace, l1=None) as cache:
        pair = await ask(BY_NAME[name], url, cache)
        counts = cache.statistics()
    how = next(
        how for how in ("provider_calls", "l2_hits", "coalesced_remote") if getattr(counts, how)
    )
    print(how, base64.b64encode(pickle.dumps(pair)).decode(), flush=True)


async def main() -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        await answer(*line.split())


if __name__ == "__main__":
    asyncio.run(main())
