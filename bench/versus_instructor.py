"""The same load through samecall and through instructor's own cache over Redis.

    python bench/versus_instructor.py [processes] [callers]

Every process asks the same question `callers` times at once through a real `openai` client; then
the whole fleet asks it once more. Instructor's column uses the Redis adapter that its
documentation shows, with one namespace for the fleet. Counts are the stub provider's.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import openai
from instructor.cache import BaseCache
from pydantic import BaseModel

import instructor
import redis
from samecall import Cache
from samecall.instructor import cached
from samecall.testing.crew import Crew, Line
from samecall.testing.provider import StubProvider
from samecall.testing.servers import LocalServer

__all__ = ["compare"]

LATENCY = 2.0


class Answer(BaseModel):
    """What is asked for."""

    name: str
    year: int


class DocumentedRedisCache(BaseCache):
    """The adapter of instructor's documentation: synchronous, as its `BaseCache` wants it."""

    def __init__(self, url: str, *, prefix: str = "") -> None:
        self._redis, self._prefix = redis.Redis.from_url(url), prefix

    def get(self, key: str) -> Any:
        """The stored text, or None."""
        return self._redis.get(self._prefix + key)

    def set(self, key: str, value: Any, ttl: int | None = None) -> None:
        """Store the text."""
        self._redis.set(self._prefix + key, value, ex=ttl or 3600)


async def work(line: Line, setup: list[Any]) -> None:
    """One process of the fleet: two waves, each when it is told."""
    way, redis_url, provider_url, callers = setup
    sdk = openai.AsyncOpenAI(base_url=provider_url, api_key="stub", timeout=60, max_retries=0)
    bare = instructor.from_openai(sdk)
    cache = Cache(redis_url, namespace="versus")
    client = cached(bare, cache) if way == "samecall" else bare
    more: dict[str, Any] = {}
    if way != "samecall":
        more = {"cache": DocumentedRedisCache(redis_url), "cache_namespace": "versus"}
    ask = {
        "model": "gpt-4o-mini",
        "response_model": Answer,
        "messages": [{"role": "user", "content": f"Who was first? ({way})"}],
        **more,
    }
    line.tell(("ready", None))
    for _ in range(2):
        count = callers if await line.hear() == "all" else 1
        answers = await asyncio.gather(*(client.create(**ask) for _ in range(count)))
        line.tell(("answers", sorted({answer.model_dump_json() for answer in answers})))
    await cache.aclose()


def compare(processes: int = 4, callers: int = 25, latency: float = LATENCY) -> dict[str, Any]:
    """Provider calls of both waves, by way; and whether all answers of a wave agree."""
    result: dict[str, Any] = {}
    with LocalServer() as server, StubProvider.in_process(latency=latency) as stub:
        for way in ("samecall", "instructor"):
            setup = [way, server.url, stub.openai_url, callers]
            stub.reset()
            with Crew(work, [setup] * processes) as crew:
                crew.gather("ready", 60)
                counts: list[int] = []
                for wave in ("all", "one"):
                    crew.tell(wave)
                    answers = crew.gather("answers", 120)
                    counts.append(stub.calls)
            result[way] = {
                "cold": counts[0],
                "warm": counts[1] - counts[0],
                "answers": len({answer for part in answers for answer in part}),
            }
    return result


def main() -> None:
    """Print the table; exit code 1 if samecall paid more than once."""
    processes, callers = (int(word) for word in (sys.argv[1:] + ["4", "25"][len(sys.argv) - 1 :]))
    print(f"{processes} processes, {callers} identical calls at once in each; provider calls:")
    print("| | cold | asked once more by each process |")
    print("|---|---|---|")
    result = compare(processes, callers)
    for way, counts in result.items():
        print(f"| {way} | {counts['cold']} | {counts['warm']} |")
    sys.exit(0 if result["samecall"]["cold"] == 1 else 1)


if __name__ == "__main__":
    main()
