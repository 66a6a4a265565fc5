"""Foreign: what stands at one of our keys is none of ours.

    python bench/foreign.py

Every kind of key x random bytes, our own cut short, another key's, nothing, another type: on a
server and on a cluster. Promised: a miss and a counter, never an error or a wrong answer, and the
next leader puts its own there.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from redis.asyncio import Redis, RedisCluster

from samecall import Cache, Entry, Key, Payload, Policy
from samecall._entry import Kind, encode_entry, new_stamp
from samecall._key import key_from
from samecall._ports import ErrorRecord
from samecall._redis import names, open_redis
from samecall._report import Report, encode_report
from samecall._stamps import new_token
from samecall._stream.frames import Frame, Frames
from samecall.cli.seen.fleet import read
from samecall.testing import LocalCluster, LocalServer

__all__ = ["DAMAGES", "KINDS", "Found", "foreign", "reported", "streamed"]

PATIENT = 30.0
LIMIT = 20.0
"""Seconds; who waited for a lease that is none would wait for a minute."""
DAMAGES = ("random", "truncated", "swapped", "empty", "another type")
_POLICY = Policy(op_timeout=PATIENT, lease=60)
_LIFE = 60_000


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one trial."""

    answers: list[object]
    calls: int
    """Of the two questions after the damage; once is right."""
    counted: int
    """Entries refused and faults of the store, as `Cache.statistics()` has them."""
    mended: bool
    """Whether the key holds one of ours at the end, or nothing."""


@dataclass(slots=True)
class _Trial:
    """A namespace of its own, and a client to look behind the cache's back."""

    url: str
    raw: Any
    space: str

    def cache(self, more: str = "") -> Cache:
        return Cache(self.url, namespace=self.space + more, policy=_POLICY, l1=None)

    def key(self, name: str = "asked") -> Key:
        return key_from(name, self.space, None)

    async def own(self, kind: str, name: str = "asked") -> bytes:
        """What belongs at such a key of the call `name`."""
        key = self.key(name)
        if kind in {"value", "tombstone", "generation", "tag"}:
            return bytes(await self.raw.get(self.at(kind, name)))
        if kind == "lease":
            return new_token(key)
        record = msgspec.msgpack.encode(ErrorRecord("ValueError", "no"))
        entry = Entry(Kind.ERROR, Payload("error", record), new_stamp(), 60.0, 60.0)
        return encode_entry(key, entry)

    def at(self, kind: str, name: str = "asked") -> str:
        """The name of such a key."""
        if kind in {"generation", "tag"}:
            tag = {"generation": "", "tag": "t"}[kind]
            return names.generation(self.space if name == "asked" else f"{self.space}-2", tag)
        of_key = {"value": names.value, "error": names.error, "lease": names.lease}
        return of_key.get(kind, names.tombstone)(self.key(name))

    async def damage(self, kind: str, damage: str) -> None:
        """Put something there that is none of ours."""
        at = self.at(kind)
        if damage == "another type":
            await self.raw.delete(at)
            await self.raw.lpush(at, "what is this")
        else:
            await self.raw.set(at, await self._bytes(kind, damage), px=_LIFE)

    async def _bytes(self, kind: str, damage: str) -> bytes:
        match damage:
            case "random":
                return os.urandom(16)
            case "truncated":
                own = await self.own(kind)
                return own[: 2 * len(own) // 3]
            case "swapped":
                return await self.own(kind, "another")
            case _:
                return b""


KINDS = ("value", "error", "lease", "tombstone", "generation", "tag")


async def _client(url: str) -> Any:
    if "+cluster" in url:
        first = url.replace("redis+cluster", "redis").replace("valkey+cluster", "redis")
        return RedisCluster.from_url(first.partition(",")[0])
    return Redis.from_url(url.replace("redis+unix", "unix"), protocol=2)


async def _on(url: str, trial: Callable[[_Trial], Awaitable[Found]]) -> Found:
    raw = await _client(url)
    try:
        return await trial(_Trial(url, raw, f"foreign-{os.urandom(6).hex()}"))
    finally:
        await raw.aclose()


async def foreign(url: str, kind: str, damage: str) -> Found:
    """Two questions by a process that is new, after such a damage."""
    return await _on(url, lambda trial: _foreign(trial, kind, damage))


async def _foreign(trial: _Trial, kind: str, damage: str) -> Found:
    for space in ("", "-2"):
        async with trial.cache(space) as before:
            for name in ("asked", "another"):
                await before.get_or_call(name, _before, tags=("t",))
                if kind == "tombstone":
                    await before.forget(name)
    if kind in {"error", "lease"}:
        await trial.raw.delete(trial.at("value"))
    await trial.damage(kind, damage)
    calls = 0

    async def call() -> str:
        nonlocal calls
        calls += 1
        return "after"

    cache = trial.cache()
    async with asyncio.timeout(LIMIT):
        answers = [await cache.get_or_call("asked", call, tags=("t",)) for _ in range(2)]
    await cache.aclose()
    return Found(answers, calls, _counted(cache), await _is_ours(trial, kind))


async def _before() -> str:
    return "before"


async def streamed(url: str, damage: str) -> Found:
    """A follower elsewhere of a stream whose recording is damaged while it runs."""
    return await _on(url, lambda trial: _streamed(trial, damage))


async def _streamed(trial: _Trial, damage: str) -> Found:
    items: asyncio.Queue[str | None] = asyncio.Queue()
    calls = 0

    async def source() -> AsyncIterator[str]:
        nonlocal calls
        calls += 1
        while (item := await items.get()) is not None:
            yield item

    async def provider() -> AsyncIterator[str]:
        return source()

    async with trial.cache() as one, trial.cache() as two, asyncio.timeout(LIMIT):
        leads = _Taker(one.stream("asked", provider))
        items.put_nowait("first")
        await leads.has(1)
        token = bytes(await trial.raw.get(trial.at("lease")))
        at = names.recording(trial.key(), token)
        while not await trial.raw.exists(at):
            await asyncio.sleep(0.005)
        await _damage_recording(trial, at, damage)
        follows = _Taker(two.stream("asked", provider))
        while not _counted(one, two):
            await asyncio.sleep(0.005)
        items.put_nowait("second")
        await leads.has(2)
        items.put_nowait(None)
        await leads.task
        answers: list[object] = [leads.got, await follows.task]
        return Found(answers, calls, _counted(one, two), mended=True)


def _counted(*caches: Cache) -> int:
    now = [cache.statistics() for cache in caches]
    return sum(each.undecodable + each.store_faults for each in now)


class _Taker:
    def __init__(self, stream: AsyncIterator[str]) -> None:
        self.got: list[str] = []
        self.more = asyncio.Event()
        self.task = asyncio.ensure_future(self._take(stream))

    async def _take(self, stream: AsyncIterator[str]) -> list[str]:
        async for item in stream:
            self.got.append(item)
            self.more.set()
        return self.got

    async def has(self, count: int) -> None:
        while len(self.got) < count:
            self.more.clear()
            await self.more.wait()


async def _damage_recording(trial: _Trial, at: str, damage: str) -> None:
    raw, key = trial.raw, trial.key()
    frame = (await raw.xrange(at))[0][1][b"f"]
    await raw.delete(at)
    match damage:
        case "another type":
            await raw.lpush(at, "what is this")
        case "random":
            await raw.xadd(at, {"f": os.urandom(60)}, id="1-0")
        case "truncated":
            await raw.xadd(at, {"f": frame[: len(frame) // 2]}, id="1-0")
        case "swapped":
            another = Frames(key, new_token(key)).pack(Frame(1, 0, [b"x"], [0]))
            await raw.xadd(at, {"f": another}, id="1-0")
        case _:
            await raw.xadd(at, {"f": b""}, id="1-0")
    await raw.pexpire(at, _LIFE)


async def reported(url: str, damage: str) -> Found:
    """A worker's word, and the list of them all."""
    return await _on(url, lambda trial: _reported(trial, damage))


async def _reported(trial: _Trial, damage: str) -> Found:
    store, space = open_redis(trial.url, op_timeout=PATIENT)(), trial.space
    word = encode_report(Report(worker="w"))
    await store.post(space, "w", word, 60)
    at, damaged = names.report(space, "w"), {"random": os.urandom(30), "truncated": word[:-1]}
    replaced = False
    if damage == "another type":
        for name in (at, names.REPORTS):
            await trial.raw.delete(name)
            await trial.raw.lpush(name, "what is this")
    else:
        await trial.raw.set(at, damaged.get(damage, b""), px=_LIFE)
    seen = read(await store.posted(space))
    replaced = bool(await store.post(space, "w", word, 60))
    after = read(await store.posted(space))
    await store.aclose()
    return Found([len(seen), len(after)], 0, int(replaced), mended=len(after) == 1)


async def _is_ours(trial: _Trial, kind: str) -> bool:
    at = trial.at(kind)
    if await trial.raw.type(at) == b"none":
        return True
    if await trial.raw.type(at) != b"string":
        return False
    data, key = bytes(await trial.raw.get(at)), trial.key()
    match kind:
        case "tombstone":
            return data[32:] == key.hex[-8:].encode()
        case "generation" | "tag":
            return len(data) == 16 and data[12:] == names.new_generation(at)[12:]
        case _:
            return key.digest in data


async def _all(url: str, where: str) -> int:
    wrong = 0
    for damage in DAMAGES:
        for kind in KINDS:
            found = await foreign(url, kind, damage)
            right = found.answers == ["after"] * 2 and found.calls == 1
            wrong += _row(where, kind, damage, found, right=right and found.counted > 0)
        found = await streamed(url, damage)
        right = found.answers == [["first", "second"]] * 2 and found.counted > 0
        wrong += _row(where, "recording", damage, found, right=right and found.calls == 1)
        found = await reported(url, damage)
        wrong += _row(where, "report", damage, found, right=True)
    return wrong


def _row(where: str, kind: str, damage: str, found: Found, *, right: bool) -> bool:
    right = right and found.mended
    told = "as promised" if right else f"WRONG: {found}"
    print(f"| {where} | {kind} | {damage} | {found.counted} | {told} |")
    return not right


def main() -> None:
    """Print the table; exit code 1 if a promise is broken."""
    print("| on | key | damage | counted | |")
    print("|---|---|---|---|---|")
    with LocalServer() as server:
        wrong = asyncio.run(_all(server.url, "a server"))
    with LocalCluster() as cluster:
        wrong += asyncio.run(_all(cluster.url, "a cluster"))
    print(f"{wrong} rows are not as promised")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
