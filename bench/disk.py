"""What the store on disk costs, and how soon another process hears of an end.

python bench/disk.py [DIRECTORY]

Prints microseconds per operation (one at a time, and many at once), the milliseconds from a COMMIT
in one process to the ring in another, after waits of several lengths, and what one process pays for
listening: seconds of CPU per second. Beside them, what a look into the file costs.
"""

import asyncio
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from samecall._disk import DiskStore, open_disk
from samecall._entry import Entry, Key, Kind, Payload, encode_entry, new_stamp
from samecall.testing.crew import Crew, Line

LONG = 600.0
WAITS = (0.01, 0.1, 1.0, 3.0)


def new_key() -> Key:
    return Key(os.urandom(32), "bench")


def envelope(key: Key) -> bytes:
    return encode_entry(key, Entry(Kind.VALUE, Payload("t", bytes(2_000)), new_stamp(), LONG, LONG))


async def cost(name: str, work: Callable[[], Awaitable[object]], count: int = 2_000) -> None:
    began = time.perf_counter()
    for _ in range(count):
        await work()
    single = (time.perf_counter() - began) / count
    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(count)))
    many = (time.perf_counter() - began) / count
    print(f"{name:28} {single * 1e6:6.0f} us one at a time {many * 1e6:6.0f} us each at once")


async def operations(path: Path) -> None:
    store = open_disk(f"disk://{path}")()
    key = new_key()
    await store.set(key, envelope(key), LONG)
    await cost("GET", lambda: store.get(key))
    await cost("ACQUIRE that hits", lambda: store.acquire(key, bytes(16), b"", LONG))
    await cost("ACQUIRE, then COMMIT", lambda: lead(store, new_key()))
    await store.aclose()


async def lead(store: DiskStore, key: Key) -> None:
    await store.acquire(key, key.digest[:16], b"", LONG)
    await store.commit(key, key.digest[:16], b"", envelope(key), LONG)


async def follow(line: Line, path: str) -> None:
    """A worker: listens where it is told, and tells when it rang."""
    store = open_disk(f"disk://{path}")()
    while True:
        key = Key(await line.hear(), "bench")
        async with store.listen(key) as bell:
            line.tell(["listens", None])
            began, cpu = time.perf_counter(), time.process_time()
            await bell.wait(LONG)
            rang = time.time()
            share = (time.process_time() - cpu) / (time.perf_counter() - began)
        line.tell(["rang", [rang, share]])


async def rings(path: Path) -> None:
    store = open_disk(f"disk://{path}")()
    with Crew(follow, [str(path)]) as crew:
        for wait in WAITS:
            late: list[float] = []
            for _ in range(20 if wait < 1 else 5):
                key = new_key()
                await store.acquire(key, bytes(16), b"", LONG)
                crew.tell(key.digest)
                crew.gather("listens", 60.0)
                await asyncio.sleep(wait)
                began = time.time()
                await store.commit(key, bytes(16), b"", envelope(key), LONG)
                ((rang, share),) = crew.gather("rang", 60.0)
                late.append((rang - began) * 1e3)
            print(
                f"ring after {wait:5.2f} s of waiting   {statistics.median(late):6.1f} ms, most "
                f"{max(late):6.1f} ms; listening took {share:.2%} of a core"
            )
    await store.aclose()


def look(path: Path, count: int = 20_000) -> None:
    connection = sqlite3.connect(path)
    began = time.perf_counter()
    for _ in range(count):
        connection.execute("PRAGMA data_version").fetchone()
    print(f"{'PRAGMA data_version':28} {(time.perf_counter() - began) / count * 1e6:6.1f} us")
    connection.close()


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as directory:
        path = Path(directory, "bench.db")
        asyncio.run(operations(path))
        look(path)
        asyncio.run(rings(path))


if __name__ == "__main__":
    main()
