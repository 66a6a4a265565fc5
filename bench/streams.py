"""Streams: lag, first item, the leader's overhead, many followers, bytes and replay.

    python bench/streams.py [--rounds 5] [--items 300] [--followers 1000] [--sleeping 1]

Starts a server and worker processes of its own. Each run of a leader is paired: a bare stream of
the same provider is taken in another process at the same moment. The rows take turns, one run each
a round, and what is printed of the pairs are medians and the smallest and largest, so that
somebody else's work on the machine is in both or in few. The provider keeps its own pace; with
`--sleeping 1` it is a generator that sleeps between items in the leader's loop, so that whatever
wakes this loop in between adds up: asyncio rounds timers up to a millisecond each time. What that
alone comes to is printed beside it: a bare stream whose loop one byte wakes now and then.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import re
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import redis
from common import arguments, percentile, redis_url
from samecall import Cache
from samecall._key import key_from
from samecall._redis import names
from samecall.testing.crew import Crew
from streaming import Setup, source, stream, worker

__all__ = ["LIMIT", "Following", "Row", "fleet", "follow", "measure", "replayed", "sizes", "woken"]

LIMIT = 120.0
_LEADER, _BARE, _FIRST = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Row:
    """Who follows: how many in other processes, in how many; how many in the leader's own."""

    followers: int
    processes: int
    here: int = 0


@dataclass(frozen=True, slots=True)
class Following:
    """What one stream with followers came to. Times are seconds."""

    leader: float
    bare: float
    lags: list[float]
    first: list[float]
    later: float
    """By how much the leader had its first item later than the bare stream."""
    results: list[dict[str, Any]]
    provider_calls: int
    connections: int
    """The most that one process held."""

    @property
    def overhead(self) -> float:
        """What the leader took longer than a bare stream, as a fraction."""
        return self.leader / self.bare - 1

    @property
    def identical(self) -> bool:
        """Whether all have the same items in the same order, without an error."""
        return len({(one["digest"], one["error"], one["holes"]) for one in self.results}) == 1


@contextmanager
def fleet(setup: Setup, processes: int) -> Iterator[Crew]:
    """Workers that are ready."""
    with Crew(worker, [msgspec.to_builtins(setup)] * processes) as crew:
        crew.gather("ready", LIMIT)
        yield crew


def follow(setup: Setup, followers: int, processes: int, key: str = "k") -> Following:
    """One leader, `followers` in as many other processes, and one bare stream beside them."""
    with fleet(setup, processes + 2) as crew:
        return measure(crew, setup, Row(followers, processes), key)


def measure(crew: Crew, setup: Setup, row: Row, key: str) -> Following:
    """One run of a row; the crew has two workers more than the row."""
    crew.tell(["connect"])
    crew.gather("connected", LIMIT)
    called = _calls(crew)
    crew.tell(["take", key, 1, 0.0], _LEADER)
    crew.tell(["bare"], _BARE)
    _until_begun(crew)
    crowds = {_FIRST + at: row.followers // row.processes for at in range(row.processes)}
    if row.here:
        crew.tell(["take", key, row.here, 0.0], _LEADER)
    for at, count in crowds.items():
        crew.tell(["take", key, count, 0.0], at)
    taken = _taken(crew, 2 + len(crowds) + bool(row.here))
    connections = 0 if setup.url.startswith("disk:") else _connections(setup.url, crew)
    (leader, *others), ((bare,),) = taken["taken"], taken["bare"]
    results = [one for crowd in others for one in crowd]
    elsewhere = [one for one in results if one["elsewhere"]]
    return Following(
        leader[0]["took"],
        bare["took"],
        [lag for one in elsewhere for lag in one["lags"][setup.items // 4 :]],
        [one["first"] for one in elsewhere],
        leader[0]["first"] - bare["first"],
        [leader[0], *results],
        _calls(crew) - called,
        connections,
    )


def _connections(url: str, crew: Crew) -> int:
    client = redis.Redis.from_url(url)
    connections = -(-(len(client.client_list()) - 1) // len(crew.living))
    client.close()
    return connections


def _taken(crew: Crew, count: int) -> dict[str, list[list[dict[str, Any]]]]:
    """What the workers took: the leader's own stream first, of those that cache."""
    taken: dict[str, list[Any]] = {"taken": [], "bare": []}
    while len(taken["taken"]) + len(taken["bare"]) < count:
        for at, message in crew.hear(LIMIT):
            if message[0] == "bare":
                taken["bare"].append([message[1]])
            elif message[0] == "taken":
                results = [{**one, "elsewhere": at != _LEADER} for one in message[1]]
                taken["taken"].append(results)
    taken["taken"].sort(key=lambda results: (results[0]["elsewhere"], len(results)))
    return taken


def _calls(crew: Crew) -> int:
    crew.tell(["statistics"])
    told = crew.gather("statistics", LIMIT)
    return sum(one["provider_calls"] for one in told)


def _until_begun(crew: Crew) -> None:
    while True:
        for at, message in crew.hear(LIMIT):
            if at == _LEADER and message[0] == "at":
                return


def sizes(url: str, items: int) -> dict[str, int]:
    """Bytes of a usual token stream: its final JSON, raw chunks, the recording, the entry."""
    text = (Path(__file__).parent.parent / "README.md").read_text()
    pieces = re.findall(r" ?\w{1,5}|\W", text)  # about as long as a model's tokens
    tokens = list(itertools.islice(itertools.cycle(pieces), items))

    async def run() -> None:
        async def made() -> Any:
            for token in tokens:
                await asyncio.sleep(0.001)
                yield token

        async with Cache(url, namespace="sizes", l1=None) as cache:
            async for _ in cache.stream("k", made):  # type: ignore[arg-type]
                pass

    asyncio.run(run())
    client = redis.Redis.from_url(url)
    key = key_from("k", "sizes", None)
    recording = next(iter(client.scan_iter("sizes:s:*")))
    raw = sum(len(msgspec.json.encode(_chunk(token))) for token in tokens)
    found = {
        "items": items,
        "final JSON": len(msgspec.json.encode("".join(tokens))),
        "an SDK's chunks": raw,
        "recording (MEMORY USAGE)": int(client.memory_usage(recording, samples=0) or 0),
        "stored entry": client.strlen(names.value(key)),
    }
    client.close()
    return found


def _chunk(token: str) -> dict[str, Any]:
    delta = {"index": 0, "delta": {"content": token}, "logprobs": None, "finish_reason": None}
    return {
        "id": "chatcmpl-Cq1x2y3z4a5b6c7d8e9f0a1b2c3d4",
        "object": "chat.completion.chunk",
        "created": 1_764_187_200,
        "model": "gpt-4o-2024-08-06",
        "system_fingerprint": "fp_0123456789",
        "choices": [delta],
    }


def replayed(url: str, items: int) -> dict[str, float]:
    """Items a second of a stored stream: from Redis, and from the process's own memory."""

    async def run() -> dict[str, float]:
        setup = Setup(url, items=items, pace=0.0)
        call = source(setup)
        rates: dict[str, float] = {}
        async with Cache(url, namespace="replayed") as first:
            await stream(first.stream("k", call), 0, lambda _: None)
        async with Cache(url, namespace="replayed") as cache:
            for name in ("from Redis", "from memory"):
                began = time.perf_counter()
                got = await stream(cache.stream("k", call), 0, lambda _: None)
                rates[name] = got["count"] / (time.perf_counter() - began)
        return rates

    return asyncio.run(run())


def woken(setup: Setup, every: float | None) -> float:
    """Seconds that a bare stream takes, while a byte comes about so often and nothing is done."""
    ours, theirs = socket.socketpair()
    over = threading.Event()

    def wake() -> None:
        while not over.wait((every or 1.0) * random.uniform(0.7, 1.3)):
            theirs.send(b"x")

    async def run() -> float:
        if every is not None:
            asyncio.get_running_loop().add_reader(ours, ours.recv, 16)
        taken: dict[str, Any] = await stream(await source(setup)(), 0, lambda _: None)
        return float(taken["took"])

    thread = threading.Thread(target=wake)
    try:
        thread.start()
        return asyncio.run(run())
    finally:
        over.set()
        thread.join()
        ours.close()
        theirs.close()


def _rounding(setup: Setup, rounds: int) -> Iterator[str]:
    """What a loop that is woken costs a provider that sleeps in it, without samecall."""
    ways: dict[float | None, list[float]] = {None: [], 0.03: [], 0.06: []}
    for _ in range(rounds):
        for every, times in ways.items():
            times.append(woken(setup, every))
    bare = statistics.median(ways.pop(None))
    for every, times in ways.items():
        share = statistics.median(times) / bare - 1
        yield f"a bare stream, woken by one byte each {every:g} s or so: {share:+.2%}"


def _over_a_file(setup: Setup, rounds: int) -> str:
    """Ten followers in two processes, through a file."""
    row = Row(10, 2)
    with tempfile.TemporaryDirectory() as directory:
        here = msgspec.structs.replace(setup, url=f"disk://{directory}/streams.db")
        with fleet(here, row.processes + 2) as crew:
            return _line(row, [measure(crew, here, row, f"{turn}") for turn in range(rounds)])


def _line(row: Row, runs: list[Following]) -> str:
    lags = [lag for run in runs for lag in run.lags]
    at = [f"{percentile(lags, share) * 1e3:.1f}" if lags else "-" for share in (0.5, 0.99)]
    firsts = [first for run in runs for first in run.first]
    over = sorted(run.overhead for run in runs)
    cells = (
        f"{row.followers:,} in {row.processes}" if row.followers else "none",
        row.here or "none",
        *at,
        f"{percentile(firsts, 0.5) * 1e3:.1f}" if firsts else "-",
        f"{statistics.median(run.later for run in runs) * 1e3:+.1f}",
        f"{statistics.median(run.leader - run.bare for run in runs) * 1e3:+.1f}",
        f"{statistics.median(over):+.2%} ({over[0]:+.2%} to {over[-1]:+.2%})",
        max(run.connections for run in runs),
        "yes" if all(run.identical for run in runs) else "NO",
        max(run.provider_calls for run in runs),
    )
    return f"| {' | '.join(map(str, cells))} |"


def _followed(setup: Setup, many: int, rounds: int) -> bool:
    """Print the table; whether all was right."""
    rows = [Row(0, 0), Row(10, 2), Row(200, 2), Row(0, 0, 10), Row(0, 0, 200), Row(many, 4)]
    runs: dict[Row, list[Following]] = {row: [] for row in rows}
    with fleet(setup, 6) as crew:
        for number in range(rounds):
            for at, row in enumerate(rows):
                runs[row].append(measure(crew, setup, row, f"{number}-{at}"))
    print(f"{setup.items} items of 240 bytes, one each 10 ms; {rounds} rounds; times in ms\n")
    columns = (
        "elsewhere, in the leader's process, lag p50, lag p99, first item, "
        "leader's first item over bare, leader over bare, "
        "as a share, connections, items equal, provider calls"
    )
    print(f"| {columns.replace(', ', ' | ')} |\n|{'---|' * len(columns.split(', '))}")
    for row in rows:
        print(_line(row, runs[row]))
    flat = [run for each in runs.values() for run in each]
    return all(run.identical and run.provider_calls == 1 for run in flat)


def main() -> None:
    """Print the tables; exit code 1 if items were wrong or a call was made twice."""
    told = arguments(
        __doc__, rounds=(5, 1), items=(300, 60), followers=(1_000, 100), sleeping=(0, 0)
    )
    load = os.getloadavg()[0]
    with redis_url(told.redis) as url:
        setup = Setup(url, items=told.items, tells=1, sleeping=bool(told.sleeping))
        right = _followed(setup, told.followers, told.rounds)
        if setup.sleeping:
            print("\n" + "\n".join(_rounding(setup, told.rounds)))
        print(f"\nover disk://:\n{_over_a_file(setup, told.rounds)}")
        print("\n| bytes of a token stream | |\n|---|---|")
        for name, size in sizes(url, told.items).items():
            print(f"| {name} | {size:,} |")
        print("\n| replay | items a second |\n|---|---|")
        for name, rate in replayed(url, 5_000).items():
            print(f"| {name} | {rate:,.0f} |")
    print(f"\nload of the machine before: {load:.1f} (1 minute), on {os.cpu_count()} cores")
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
