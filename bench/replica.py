"""A replica of a service, for load tests: a process with a `Cache` and an HTTP client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import aiohttp
import msgspec

from samecall import Cache, Policy
from samecall._ports import BreakerChanged, StoreFaulted
from samecall.testing.crew import Crew, Line

__all__ = [
    "LIMIT",
    "Answers",
    "Faults",
    "Setup",
    "answers",
    "ask",
    "ask_all",
    "close",
    "faults",
    "percentile",
    "replica",
    "start",
    "statistics",
]

LIMIT = 120.0


class Setup(msgspec.Struct, frozen=True):
    """What a replica needs to begin; durations in seconds."""

    store_url: str
    provider_url: str
    lease: float = 5.0


class Answers(msgspec.Struct, frozen=True):
    """What came of one order: seconds per call, and what was not the right answer."""

    latencies: list[float]
    wrong: list[str]


class Faults:
    """An observer that keeps what samecall says of its store's trouble."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_event(self, event: object) -> None:
        if isinstance(event, StoreFaulted):
            self.seen.append(f"{event.operation}: {event.error}")
        elif isinstance(event, BreakerChanged):
            self.seen.append(f"breaker {'open' if event.open else 'closed'}")


async def replica(line: Line, setup: Any) -> None:
    """Tell "ready", then answer the orders ["ask", prompts], ["count"] and ["faults"]."""
    given = msgspec.convert(setup, Setup)
    faults = Faults()
    cache = Cache(given.store_url, policy=Policy(lease=given.lease), observers=[faults])
    tasks: set[asyncio.Task[None]] = set()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, cache:
        line.tell(("ready", None))
        while (order := await line.hear()) is not None:
            if order[0] == "faults":
                line.tell(("faults", faults.seen))
                faults.seen = []
                continue
            if order[0] == "count":
                line.tell(("statistics", msgspec.structs.asdict(cache.statistics())))
                continue
            task = asyncio.create_task(_ask(line, cache, session, given.provider_url, order[1]))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    line.tell(("closed", None))


async def _ask(
    line: Line, cache: Cache, session: aiohttp.ClientSession, url: str, prompts: list[str]
) -> None:
    answers = Answers([], [])

    async def one(prompt: str) -> None:
        async def call() -> str:
            body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
            async with session.post(f"{url}/chat/completions", json=body) as response:
                response.raise_for_status()
                found = await response.json()
            return str(found["choices"][0]["message"]["content"])

        began = time.perf_counter()
        try:
            answer = await cache.get_or_call(prompt, call)
        except Exception as error:  # noqa: BLE001 - told, and fails the run
            answer = f"{type(error).__name__}: {error}"
        answers.latencies.append(time.perf_counter() - began)
        if answer != f"You asked: {prompt}":
            answers.wrong.append(f"{prompt!r} was answered {answer!r}")

    await asyncio.gather(*map(one, prompts))
    line.tell(("answers", msgspec.to_builtins(answers)))


@contextmanager
def start(size: int, setup: Setup) -> Iterator[Crew]:
    """So many replicas, ready; ended in good order after the block."""
    with Crew(replica, [msgspec.to_builtins(setup)] * size) as crew:
        crew.gather("ready", LIMIT)
        yield crew
        close(crew)


def ask(crew: Crew, prompts: Sequence[str], index: int) -> None:
    """Let one replica ask; its "answers" come later."""
    crew.tell(("ask", list(prompts)), index)


def ask_all(crew: Crew, prompts: Sequence[Sequence[str]]) -> Answers:
    """Let every living replica ask its part at the same moment, and wait for all answers."""
    for index, part in zip(crew.living, prompts, strict=True):
        ask(crew, part, index)
    return answers(crew)


def answers(crew: Crew) -> Answers:
    """The answers to one order of every living replica, put together."""
    parts = [msgspec.convert(body, Answers) for body in crew.gather("answers", LIMIT)]
    return Answers(
        sorted(latency for part in parts for latency in part.latencies),
        [wrong for part in parts for wrong in part.wrong],
    )


def statistics(crew: Crew) -> list[dict[str, int]]:
    """`Cache.statistics()` of every living replica."""
    crew.tell(("count",))
    return crew.gather("statistics", LIMIT)


def faults(crew: Crew) -> list[str]:
    """The store's trouble since it was last asked for, over all living replicas."""
    crew.tell(("faults",))
    return [fault for part in crew.gather("faults", LIMIT) for fault in part]


def close(crew: Crew) -> None:
    """Let every replica end in good order."""
    crew.tell(None)
    crew.gather("closed", LIMIT)


def percentile(ordered: Sequence[float], part: float) -> float:
    """Of sorted values; 0 of none."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0
