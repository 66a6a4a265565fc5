"""Failover: a primary of a cluster with default settings is ended by SIGKILL under load.

    python bench/failover.py [node timeout, default 15]

Two processes' caches ask new keys, as many in the slots of the lost primary as in the others',
before, during and after. Each key costs one call while the cluster is well, and two at most (one of
each process) while the key's node is away. Prints what calls took beyond the provider's own time,
and after how long an answer that one cache stored was the other's again.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from replica import percentile
from samecall import Cache
from samecall._key import key_from
from samecall._redis.topology import read_slots, slot_of
from samecall.testing import LocalCluster
from trouble import _holder

LATENCY, PAUSE, KEYS, LIMIT = 0.02, 0.1, 4, 120.0


@dataclass
class Times:
    """What calls of one kind took, and how often each key was paid for."""

    added: list[float] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        added = sorted(self.added)
        p50, p99 = (1000 * percentile(added, part) for part in (0.50, 0.99))
        most = max(self.calls.values(), default=0)
        twice = sum(count > 1 for count in self.calls.values())
        paid = f"{len(added):5} calls, {len(self.calls):4} keys, {twice:4} paid twice"
        last = 1000 * max(added, default=0)
        return f"{paid}, at most {most}; added p50 {p50:.0f} ms, p99 {p99:.0f}, at most {last:.0f}"


class Fleet:
    """Two caches that ask the same keys."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.caches = [Cache(cluster.url) for _ in range(2)]
        self.wrong: list[str] = []
        node = _holder(cluster)
        self.ranges = [
            range(first, last + 1)
            for first, last, (_, port) in read_slots(
                cluster.say(node, "CLUSTER", "SLOTS"), "127.0.0.1"
            )
            if port == node.port
        ]

    def key(self, *, inside: bool) -> str:
        while True:
            key = os.urandom(8).hex()
            slot = slot_of(key_from(key, "default", None).hex.encode())
            if any(slot in each for each in self.ranges) is inside:
                return key

    async def ask(self, key: str, cache: Cache, times: Times) -> None:
        async def call() -> str:
            times.calls[key] += 1
            await asyncio.sleep(LATENCY)
            return f"answer to {key}"

        began = time.perf_counter()
        try:
            got = await cache.get_or_call(key, call)
        except Exception as error:  # noqa: BLE001 - told, and fails the run
            got = f"{type(error).__name__}: {error}"
        times.added.append(time.perf_counter() - began - LATENCY)
        if got != f"answer to {key}":
            self.wrong.append(f"{key!r} was answered {got!r}")

    async def wave(self, inside: Times, outside: Times) -> None:
        asked = [(self.key(inside=True), inside), (self.key(inside=False), outside)] * (KEYS // 2)
        await asyncio.gather(
            *(self.ask(key, each, times) for key, times in asked for each in self.caches)
        )

    async def shared(self) -> bool:
        """Whether an answer that one stores in the lost primary's slots is the other's."""
        key, times = self.key(inside=True), Times()
        await self.ask(key, self.caches[0], times)
        await asyncio.sleep(0.05)
        await self.ask(key, self.caches[1], times)
        return times.calls[key] == 1


async def failover(node_timeout: float) -> int:
    """Print the phases; 1 if anything was answered wrongly or a call failed."""
    with LocalCluster(node_timeout=node_timeout) as cluster:
        fleet = Fleet(cluster)
        await fleet.wave(Times(), Times())  # connects
        phases = {name: (Times(), Times()) for name in ("before", "away", "after")}
        for _ in range(20):
            await fleet.wave(*phases["before"])
        victim = _holder(cluster)
        await asyncio.to_thread(victim.kill)
        killed = time.perf_counter()
        while not await fleet.shared():
            await fleet.wave(*phases["away"])
            await asyncio.sleep(PAUSE)
            if time.perf_counter() - killed > LIMIT:
                raise TimeoutError("nobody took over")
        back = time.perf_counter() - killed
        for _ in range(20):
            await fleet.wave(*phases["after"])
        for name, (inside, outside) in phases.items():
            print(f"{name:7} its slots   {inside}")
            print(f"{'':7} the others  {outside}")
        print(f"shared again {back:.1f} s after the kill (node timeout {node_timeout:g} s)")
        print(f"wrong or failed: {len(fleet.wrong)}", *fleet.wrong[:5], sep="\n")
        for cache in fleet.caches:
            await cache.aclose()
        return 1 if fleet.wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(failover(float(sys.argv[1]) if len(sys.argv) > 1 else 15.0)))
