"""One question of the fidelity table, asked in this process or as a process of its own.

As a program: `python fidelity_ask.py CASE PROVIDER_URL STORE_URL` prints `asking`, then the
pickled answer in base64.
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
    async with openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=0) as sdk:
        yield instructor.from_openai(sdk, mode=case.mode, model="stub-1")


def question(case: Case) -> dict[str, Any]:
    return {
        "response_model": case.model,
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


async def main(name: str, url: str, store: str) -> None:
    async with Cache(store) as cache:
        print("asking", flush=True)
        answer = await ask(BY_NAME[name], url, cache)
    print(base64.b64encode(pickle.dumps(answer)).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
