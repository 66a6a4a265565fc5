"""A lease freed by a Lua script and by a native command, where the server has one.

python bench/native.py [--redis URL] [--short] [--json FILE] [--rounds N]

The only thing in the protocol that a newer server could do without Lua is to free a lease: compare
and delete, then publish. COMMIT, FAIL and ACQUIRE compare several keys, or a part of a value.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError
from rich.progress import track

from common import Row, arguments, redis_url, report
from samecall._redis.scripts import RELEASE

__all__ = ["measure"]

MANY = 200


async def measure(url: str, rounds: int) -> list[Row]:
    """Microseconds for each of so many in a pipeline; the ways take turns."""
    async with Redis.from_url(url) as redis:
        try:
            await redis.execute_command("DELIFEQ", "samecall-bench-native:none", "t")
        except ResponseError:
            return [Row("RELEASE by DELIFEQ", 0.0, "µs", "", None, "", "this server has none")]
        sha = await redis.script_load(RELEASE.source)
        found: dict[str, list[float]] = {"lua": [], "native": []}
        for _ in track(range(rounds), "RELEASE"):
            for way, times in found.items():
                await redis.mset({f"samecall-bench-native:{number}": "t" for number in range(MANY)})
                pipe = redis.pipeline(transaction=False)
                for number in range(MANY):
                    _release(pipe, way, sha, f"samecall-bench-native:{number}")
                began = time.perf_counter()
                freed = await pipe.execute()
                times.append(time.perf_counter() - began)
                assert len(freed) == MANY * (1 if way == "lua" else 2)
    us = {way: 1e6 * statistics.median(times) / MANY for way, times in found.items()}
    return [
        Row("RELEASE by its script", us["lua"], "µs", "", None, "",
            f"DELIFEQ and PUBLISH {us['native']:.1f} µs"),
    ]  # fmt: skip


def _release(pipe: Any, way: str, sha: str, name: str) -> None:
    if way == "lua":
        pipe.evalsha(sha, 1, name, 1, "t", "samecall-bench-native", "PUBLISH")
    else:
        pipe.execute_command("DELIFEQ", name, "t")
        pipe.publish("samecall-bench-native", b"")


def main() -> None:
    """Print the row."""
    told = arguments(__doc__, rounds=(200, 40))
    with redis_url(told.redis) as url:
        rows = asyncio.run(measure(url, told.rounds))
    report(rows, told.json)


if __name__ == "__main__":
    main()
