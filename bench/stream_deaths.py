"""Leaders of streams that are ended by SIGKILL at a random item, with followers in two processes.

    python bench/stream_deaths.py [trials]

Prints what became of the followers; promised: one generation each, all of it or an exception that
says what is missing, and at most one more provider call for each lease that ran out. That is the
dead leader's, and on a busy machine also that of one who lives and stood still for half a second.
How many there were the server tells, which counts keys that expire.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from samecall._key import key_from
from samecall._redis import names
from samecall.testing.crew import Crew
from samecall.testing.servers import LocalServer
from streaming import Setup
from streams import LIMIT, fleet

__all__ = ["Death", "death"]

_LEADER = 0
_CONSUMERS = 3
_ITEMS = 60
_LEASE = 0.5


@dataclass(frozen=True, slots=True)
class Death:
    """What became of those who followed a leader that died."""

    results: list[dict[str, Any]]
    provider_calls: int
    """Of the living; the dead one had made one too."""
    slowest: float
    lost: int
    """How often the lease ran out."""

    @property
    def faults(self) -> list[str]:
        """What must not be."""
        found: list[str] = []
        if self.provider_calls > max(1, self.lost):
            found.append(f"{self.provider_calls} more calls, and {self.lost} leases ran out")
        for one in self.results:
            ways = {"": _ITEMS, "StreamInterrupted": max(1, min(one["count"], _ITEMS - 1))}
            if one["holes"] or one["generations"] > 1 or ways.get(one["error"]) != one["count"]:
                found.append(str({name: one[name] for name in one if name != "lags"}))
        return found


@contextmanager
def counting(url: str, key: str) -> Iterator[Callable[[], int]]:
    """Says how often the lease of `key` has run out meanwhile; of a file nobody is told, so 1."""
    if url.startswith("disk:"):
        yield lambda: 1
        return
    lease = names.lease(key_from(key, "default", None)).encode()
    client = redis.Redis.from_url(url, protocol=2)
    before = client.config_get("notify-keyspace-events")
    client.config_set("notify-keyspace-events", "Ex")
    found = 0

    def count() -> int:
        nonlocal found
        heard.ping()  # what expired before is told before
        while (message := heard.get_message(timeout=LIMIT)) and message["type"] != "pong":
            found += message["type"] == "pmessage" and message["data"] == lease
        return found

    with client, client.pubsub() as heard:
        heard.psubscribe("__keyevent@*__:expired")
        count()
        try:
            yield count
        finally:
            client.config_set("notify-keyspace-events", *before.values())


def death(url: str, key: str, luck: random.Random, lease: float = _LEASE) -> Death:
    """One leader, killed somewhere in its stream (or before its first item)."""
    setup = Setup(url, items=_ITEMS, lease=lease)
    with counting(url, key) as lost, fleet(setup, 3) as crew:
        crew.tell(["take", key, 1, 0.0], _LEADER)
        _until(crew, lambda told: told[0]["provider_calls"] == 1)
        for at in (1, 2):
            crew.tell(["take", key, _CONSUMERS, 0.0], at)
        victim = luck.randrange(_ITEMS * 3 // 4)
        while victim and not _reached(crew, victim):
            pass
        crew.kill(_LEADER)
        began = time.monotonic()
        results = [one for body in crew.gather("taken", LIMIT) for one in body]
        slowest = time.monotonic() - began
        crew.tell(["statistics"])
        calls = sum(one["provider_calls"] for one in crew.gather("statistics", LIMIT))
        return Death(results, calls, slowest, lost())


def _reached(crew: Crew, number: int) -> bool:
    heard = [message for at, message in crew.hear(LIMIT) if at == _LEADER]
    return any(kind == "at" and told >= number for kind, told in heard)


def _until(crew: Crew, true: Any) -> None:
    while True:
        crew.tell(["statistics"], _LEADER)
        for at, message in crew.hear(LIMIT):
            if at == _LEADER and message[0] == "statistics" and true([message[1]]):
                return


def main() -> None:
    """Print the table; exit code 1 if a promise was broken."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    faults: list[str] = []
    ways: Counter[str] = Counter()
    slowest, more, lost = 0.0, 0, 0
    with LocalServer() as server:
        for number in range(trials):
            got = death(server.url, f"k{number}", random.Random(number))
            faults += got.faults
            ways.update(one["error"] or "complete" for one in got.results)
            slowest, more = max(slowest, got.slowest), more + got.provider_calls
            lost += got.lost
    print("| trials | complete | interrupted | faults | leases lost | more calls | slowest end |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {trials} | {ways['complete']} | {ways['StreamInterrupted']} | {len(faults)} "
        f"| {lost} | {more} | {slowest:.2f} s after the death |"
    )
    print(*faults, sep="\n")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
