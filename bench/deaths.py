"""Deaths: leaders that are ended or stopped while the provider works, in processes of their own.

    python bench/deaths.py [kills]

A kill comes at a random moment of the call; promised are at most two provider calls, an answer for
everybody and no lease that stays. A zombie is stopped (SIGSTOP) for three leases and then commits:
promised is that nothing newer than its lease is overwritten.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from replica import LIMIT
from samecall import Cache, Policy
from samecall.testing.crew import Crew, Line
from samecall.testing.servers import LocalServer
from takeover import until

__all__ = ["BETWEEN", "WANTED", "Kill", "Place", "Zombie", "kill", "zombies"]

LEASE = 0.3
_ZOMBIES_LEASE = 1.0  # what the others hold meanwhile must not end because the machine is busy
Place = tuple[str, list[str]]


async def member(line: Line, setup: Any) -> None:
    """A cache whose calls are told ("calling") and answered by an order (["answer", text])."""
    cache = Cache(setup["url"], l1=None, policy=Policy(lease=setup["lease"], op_timeout=5))
    orders: asyncio.Queue[str] = asyncio.Queue()
    tasks: set[asyncio.Task[None]] = set()

    async def call() -> str:
        line.tell(("calling", None))
        return await orders.get()

    async def ask(key: str) -> None:
        line.tell(("answered", await cache.get_or_call(key, call)))

    line.tell(("ready", None))
    while (order := await line.hear()) is not None:
        match order:
            case ["ask", key]:
                task = asyncio.create_task(ask(key))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            case ["answer", text]:
                orders.put_nowait(text)
            case ["forget", key]:
                await cache.forget(key)
                line.tell(("forgotten", None))
            case _:
                await cache.aclose()  # what is being stored is stored then; it can go on after it
                line.tell(("stored", cache.statistics().stored))
    await cache.aclose()


class _Members:
    """The crew, and what each of its members has said."""

    def __init__(self, crew: Crew, raws: list[redis.Redis]) -> None:
        self.crew = crew
        self.raws = raws
        self.said: list[list[Any]] = [[] for _ in crew.pids]

    def hear(self, at: int, kind: str) -> Any:
        """The next message of this kind from this member; others are kept."""
        end = time.monotonic() + LIMIT
        while True:
            for message in self.said[at]:
                if message[0] == kind:
                    self.said[at].remove(message)
                    return message[1]
            if time.monotonic() > end:
                raise TimeoutError(f"member {at} told no {kind!r}; it said {self.said[at]}")
            self.listen(0.05)

    def listen(self, seconds: float) -> None:
        for index, message in self.crew.hear(seconds):
            self.said[index].append(message)

    def heard(self, at: int, kind: str) -> bool:
        return any(message[0] == kind for message in self.said[at])

    def stored(self, at: int) -> int:
        """How many answers this member has stored, none being under way."""
        self.crew.tell(["settle"], at)
        return self.hear(at, "stored")

    def leases(self) -> int:
        return sum(len(raw.keys("default:l:*")) for raw in self.raws)

    def lease_has_ended(self) -> None:
        until(lambda: not self.leases())


@contextmanager
def _members(size: int, place: Place | None, lease: float = LEASE) -> Iterator[_Members]:
    with ExitStack() as stack:
        if place is None:
            url = stack.enter_context(LocalServer()).url
            place = url, [url]
        url, servers = place
        crew = stack.enter_context(Crew(member, [{"url": url, "lease": lease}] * size))
        raws = [stack.enter_context(redis.Redis.from_url(each)) for each in servers]
        crew.gather("ready", LIMIT)
        yield _Members(crew, raws)


@dataclass(frozen=True, slots=True)
class Zombie:
    """What became of a leader that was stopped for three leases and went on."""

    own: str
    stored: int
    found: str


WANTED = {
    "nothing": Zombie("old", 1, "old"),
    "lease": Zombie("old", 0, "new"),
    "value": Zombie("old", 0, "new"),
    "forget": Zombie("old", 0, "called again"),
}
BETWEEN = tuple(WANTED)


def zombies(place: Place | None = None) -> Iterator[tuple[str, Zombie]]:
    """Stop a leader, let each of `BETWEEN` come, let it commit, and ask what is there.

    place: where it happens, a URL and those of the servers behind it; else a server of its own.
    """
    with _members(3, place, _ZOMBIES_LEASE) as members:
        for between in BETWEEN:
            yield between, _zombie(members, between)


def _zombie(members: _Members, key: str) -> Zombie:
    crew = members.crew
    before = members.stored(0)
    crew.tell(["ask", key], 0)
    members.hear(0, "calling")
    os.kill(crew.pids[0], signal.SIGSTOP)
    members.lease_has_ended()
    time.sleep(2 * _ZOMBIES_LEASE)  # three leases in all
    if key in {"lease", "value"}:
        crew.tell(["ask", key], 1)
        members.hear(1, "calling")
    if key == "value":
        crew.tell(["answer", "new"], 1)
        members.hear(1, "answered")
        members.stored(1)
    if key == "forget":
        crew.tell(["forget", key], 1)
        members.hear(1, "forgotten")
    crew.tell(["answer", "old"], 0)
    os.kill(crew.pids[0], signal.SIGCONT)
    own = members.hear(0, "answered")
    stored = members.stored(0) - before
    if key == "lease":
        crew.tell(["answer", "new"], 1)
        members.hear(1, "answered")
    if key == "forget":  # the last one, so that nobody else takes this answer
        crew.tell(["answer", "called again"], 2)
    crew.tell(["ask", key], 2)
    return Zombie(own, stored, members.hear(2, "answered"))


@dataclass(frozen=True, slots=True)
class Kill:
    """What one leader's death came to."""

    provider_calls: int
    answers: list[str]
    leases: int


def kill(after: float, *, followers: int = 2, place: Place | None = None) -> Kill:
    """SIGKILL the leader so many seconds after it was asked; the others were asked with it."""
    with _members(1 + followers, place) as members:
        crew = members.crew
        for at in range(1 + followers):
            crew.tell(["answer", f"of {at}"], at)
            crew.tell(["ask", "x"], at)
        time.sleep(after)
        crew.kill(0)
        answers = [members.hear(at, "answered") for at in range(1, 1 + followers)]
        calls = sum(members.heard(at, "calling") for at in range(1, 1 + followers))
        members.lease_has_ended()
        return Kill(calls, answers, members.leases())


def main() -> None:
    """Print what came of all; exit code 1 if a promise was broken."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    failed = False
    for between, got in zombies():
        failed |= got != WANTED[between]
        print(f"zombie, {between} came between: {got}", flush=True)
    most = 0
    for _ in range(kills):
        ended = kill(random.random() * 0.02)
        most = max(most, ended.provider_calls)
        failed |= ended.provider_calls > 1 or len(set(ended.answers)) != 1
    print(f"{kills} kills: at most {most} call(s) of those who were left, everybody answered alike")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
