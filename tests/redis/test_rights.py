"""What a login may not touch costs what docs/operations.md says, and never an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from typing import Any

import pytest
from redis.asyncio import Redis
from redis_parts import PATIENT

from samecall import Cache, Policy, StoreError
from samecall._embedded import EmbeddedServer

RIGHTS = {
    **{kind: f"~prod:{kind}:*" for kind in "veltxgsc"},
    "list": "~samecall:c",
    "ping": "~samecall:ping",
    "n": "&*:prod:n:*",
    "r": "&*:prod:r:*",
    "invalidate": "&__redis__:invalidate",
}
_LOST = {"acquire", "commit"}
FAULTS: dict[str | None, set[str]] = {
    None: set(),
    "v": _LOST, "e": _LOST, "l": {*_LOST, "release"}, "t": _LOST,
    "x": {"commit"}, "g": {"generations"}, "s": {"record", "replay"},
    "c": {"report"}, "list": {"report"}, "ping": set(),
    "n": {"listen"}, "r": {"listen"}, "invalidate": set(),
}  # fmt: skip


class Faults:
    def __init__(self) -> None:
        self.of: set[str] = set()

    def on_event(self, event: Any) -> None:
        if type(event).__name__ == "StoreFaulted":
            self.of.add(event.operation)


@pytest.mark.parametrize("lacks", FAULTS)
async def test_without_one_right(own_server: EmbeddedServer, lacks: str | None) -> None:
    """Two processes with a call, a stream and a forget, and what they could not do."""
    root = Redis.from_url(own_server.url.replace("redis+unix", "unix"))
    rules = [rule for name, rule in RIGHTS.items() if name != lacks]
    rules += ["+@all", "-@dangerous", "-@admin"]
    await root.execute_command("ACL", "SETUSER", "prod", "on", ">pw", "resetchannels", *rules)
    await root.aclose()
    faults, url = Faults(), own_server.url.replace("://", "://prod:pw@", 1)
    policy = Policy(op_timeout=PATIENT)
    one = Cache(url, namespace="prod", policy=policy, observers=[faults])
    other = Cache(url, namespace="prod", policy=policy, observers=[faults], l1=None)
    async with one, other:
        await both(one, other, faults, listens=lacks not in {"n", "r", "s"})
        for forget, needs in ((one.forget("k"), {*"veltx"}), (one.forget_tag("t"), {"g"})):
            with pytest.raises(StoreError) if lacks in needs else nullcontext():
                await forget
        trust = one._rooms.here().trust
        await until(lambda: lacks == "invalidate" or trust._told)
        assert trust._told is (lacks != "invalidate")
    assert faults.of <= FAULTS[lacks]
    assert bool(faults.of) is bool(FAULTS[lacks])


async def both(one: Cache, other: Cache, faults: Faults, *, listens: bool) -> None:
    """A call and a stream that one makes, and the other follows."""
    gate = asyncio.Event()

    async def call() -> str:
        await gate.wait()
        return "answer"

    async def stream() -> AsyncIterator[int]:
        async def items() -> AsyncIterator[int]:
            yield 1
            await gate.wait()
            yield 2

        return items()

    async def take(cache: Cache) -> list[int]:
        return [item async for item in cache.stream("s", stream)]

    def ask(cache: Cache) -> list[asyncio.Future[Any]]:
        return [asyncio.ensure_future(each) for each in (cache.get_or_call("k", call), take(cache))]

    leading = ask(one)
    await until(lambda: one.statistics().provider_calls == 2)
    following = ask(other)
    await until(lambda: listens or bool(faults.of))
    gate.set()
    assert await asyncio.gather(*leading, *following) == ["answer", [1, 2]] * 2


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.001)
