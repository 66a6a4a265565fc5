"""The store is used as a cache uses it, under the rights of the login in the URL."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from statistics import median
from typing import Any

from samecall._entry import Entry, Key, Kind, Payload, encode_entry, new_stamp
from samecall._errors import StoreError
from samecall._ports import Found, Hit, Lead
from samecall.cli.doctor.findings import Finding, Health

__all__ = ["exercise"]

_PINGS = 50
_SLOW, _TOO_SLOW = 0.005, 0.2
_PATIENCE = 2.0
_SPARED = {
    "copies in memory": Health.NOTE,
    "reports": Health.WARNING,
    "scanning": Health.WARNING,
}
_RIGHTS = (
    "ACL SETUSER <user> on ><password> ~{space}:* ~samecall:* &*:{space}:n:* &*:{space}:r:* "
    "&__redis__:invalidate +@read +@write +@pubsub +@scripting +@connection +info +time"
)


async def exercise(store: Any, namespace: str) -> AsyncIterator[Finding]:
    """Every operation once, on a key of no other use that is gone afterwards."""
    yield await _latency(store)
    key = Key(os.urandom(32), namespace)
    told = _Told(namespace)
    for check, work in (
        ("leases and entries", _entries),
        ("notifications", _bell),
        ("streams", _stream),
        ("tags", _tags),
        ("copies in memory", _copies),
        ("scanning", _walk),
        ("reports", _board),
    ):
        yield await told.of(check, work(store, key))
    try:
        await store.forget(key, 0.0)
    except StoreError:
        return  # told above


class _Told:
    """Turns the end of a piece of work into a finding."""

    def __init__(self, namespace: str) -> None:
        self._mend = _RIGHTS.format(space=namespace)

    async def of(self, check: str, work: Awaitable[str]) -> Finding:
        try:
            async with asyncio.timeout(_PATIENCE):
                return Finding(check, Health.OK, await work)
        except TimeoutError:
            why, mend = f"no answer in {_PATIENCE:g} s", "look at the server's load and network"
        except StoreError as error:
            why, denied = str(error), "NOPERM" in str(error) or "permission" in str(error).lower()
            mend = self._mend if denied else ""
        health = _SPARED.get(check, Health.FAILED)
        return Finding(check, health, why, mend)


async def _latency(store: Any) -> Finding:
    took: list[float] = []
    try:
        for _ in range(_PINGS):
            began = time.perf_counter()
            await store.ping()
            took.append(time.perf_counter() - began)
    except StoreError as error:
        return Finding("latency", Health.FAILED, str(error))
    middle, worst = median(took), max(took)
    says = f"{_PINGS} round trips: median {middle * 1000:.2f} ms, worst {worst * 1000:.2f} ms"
    if worst > _TOO_SLOW:
        return Finding(
            "latency",
            Health.WARNING,
            f"{says}; calls wait 200 ms for the store and then go on without it",
            "move the store closer, or raise Policy(op_timeout=...)",
        )
    if middle > _SLOW:
        return Finding(
            "latency",
            Health.WARNING,
            f"{says}; every L2 hit costs one",
            "move the store into the same zone; keep L1 on",
        )
    return Finding("latency", Health.OK, says)


async def _entries(store: Any, key: Key) -> str:
    token = new_stamp()
    entry = Entry(Kind.VALUE, Payload("plain", b"\xc0"), token, 10.0, 10.0)
    data = encode_entry(key, entry)
    steps: list[tuple[str, Callable[[], Awaitable[Any]], Callable[[Any], bool]]] = [
        ("ACQUIRE", lambda: store.acquire(key, token, b"", 5.0), lambda r: isinstance(r, Lead)),
        ("RENEW", lambda: store.renew(key, token, 5.0), lambda r: r is True),
        ("COMMIT", lambda: store.commit(key, token, b"", data, 10.0), lambda r: r is True),
        ("GET", lambda: store.get(key), lambda r: isinstance(r, Found) and r.data == data),
        ("HIT", lambda: store.acquire(key, token, b"", 5.0), lambda r: isinstance(r, Hit)),
        ("FORGET", lambda: store.forget(key, 1.0), lambda _: True),
        ("FAIL", lambda: store.fail(key, token, data, 1.0), lambda r: r is False),
        ("RELEASE", lambda: store.release(key, token), lambda r: r is False),
    ]
    for name, ask, right in steps:
        try:
            reply = await ask()
        except StoreError as error:
            raise type(error)(f"{name}: {error}") from None
        if not right(reply):
            raise StoreError(f"{name}: unexpected {reply!r:.80}")
    return ", ".join(name for name, *_ in steps) + " do what they should"


async def _bell(store: Any, key: Key) -> str:
    at, token = Key(os.urandom(32), key.namespace), new_stamp()
    async with store.listen(at) as bell:
        began = time.perf_counter()
        await store.acquire(at, token, b"", 5.0)
        await store.release(at, token)
        rung = await bell.wait(1.0)
        took = time.perf_counter() - began
    if rung is None:
        raise StoreError("no message within 1 s; followers would look again every 2 s only")
    return f"a message arrives, {took * 1000:.1f} ms after its cause"


async def _stream(store: Any, key: Key) -> str:
    store = getattr(store, "recordings", store)
    if not hasattr(store, "record"):
        return (
            "this store records no streams: followers in other processes have the whole at its end"
        )
    at, token = Key(os.urandom(32), key.namespace), new_stamp()
    async with store.follow(at, token) as bell:
        await store.acquire(at, token, b"", 5.0)
        await store.record(at, token, 1, b"frame", 5.0, 5.0)
        heard = await bell.wait(1.0)
        kept = list(await store.replay(at, token, 0))
        await store.release(at, token)
    if heard is None or kept != [b"frame"]:
        raise StoreError("a recording is not heard of within 1 s; followers have its end only")
    return "a stream can be followed while it runs"


async def _tags(store: Any, key: Key) -> str:
    tag = os.urandom(8).hex()
    (before,) = await store.generations(key.namespace, (tag,), 10.0)
    await store.renew_generation(key.namespace, tag)
    (after,) = await store.generations(key.namespace, (tag,), 10.0)
    await store.renew_generation(key.namespace, tag)
    if before == after:
        raise StoreError("what is forgotten by a tag would stay")
    return "generations are made and ended"


async def _copies(store: Any, key: Key) -> str:
    heard = _Heard()
    if not hasattr(store, "watch"):
        return "this store tells of no changes: L1 looks anew after 1 s"
    store.watch(key.namespace, heard)
    with suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await heard.began.wait()
    if not heard.began.is_set():
        lacks = "CLIENT TRACKING, or the right to it and to &__redis__:invalidate"
        raise StoreError(
            f"no changes are told (on a cluster, or without {lacks}); L1 trusts for 1 s"
        )
    return "changes are told: L1 may keep copies for as long as L1(ttl=...) says"


class _Heard:
    """Waits to be told that changes are told."""

    def __init__(self) -> None:
        self.began = asyncio.Event()

    def told(self) -> None:
        self.began.set()

    def changed(self, key: Key, stamp: bytes) -> None: ...

    def renewed(self, namespace: str, tag: str) -> None: ...

    def doubtful(self) -> None: ...


async def _walk(store: Any, key: Key) -> str:
    if hasattr(store, "everywhere"):
        for reply in await store.everywhere("SCAN", 0, "COUNT", 1):  # a whole walk may take minutes
            if isinstance(reply, StoreError):
                raise reply
    else:
        async for _ in store.walk(key.namespace):
            break
    return "SCAN is allowed: ls, export, clear and forget by prefix work"


async def _board(store: Any, key: Key) -> str:
    if not hasattr(store, "post"):
        return "this store keeps no reports: top and stats show nothing"
    await store.post(key.namespace, "doctor", b"", 1.0)
    await store.posted(key.namespace)
    return "workers can leave word of themselves: top and stats work"
