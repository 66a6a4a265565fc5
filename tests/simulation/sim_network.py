"""One process's way to the server: messages that are late, lost or doubled, and bells."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sim_history import asking
from sim_loop import VirtualBell
from sim_plan import dice, shown

from samecall._airborne import Flight, airborne
from samecall._entry import Key
from samecall._errors import StoreUnreachable
from samecall._ports import EPOCH_NONE, Acquired, Found

if TYPE_CHECKING:
    from sim_process import Process
    from sim_world import World

__all__ = ["Network", "SimBell", "Wire"]

_BY_TOKEN = ("acquire", "renew", "commit", "fail", "release")
SILENCE = 1.5
"""Seconds after which the client gives up a connection that says nothing."""
AFTER = 4.0
"""Seconds for which a process may suffer from one lost message: silence, breaker, probe."""


class SimBell(VirtualBell):
    """A bell of one process; what rings comes over the network."""

    def __init__(self, process: Process, key: Key) -> None:
        super().__init__()
        self.process, self.key = process, key
        asker = asking.get(None)
        self.name = asker.name if asker is not None else 0


class Network:
    """Carries messages between the processes and the server."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rates = world.plan.rates
        self._sent: Counter[str] = Counter()
        self.bells: dict[SimBell, bool] = {}
        """Who listens; False while its subscription is lost."""

    def _luck(self, label: str) -> tuple[float, ...]:
        self._sent[label] += 1
        return dice(self._world.plan.seed, f"{label}|{self._sent[label]}")

    def send(
        self, process: Process, op: str, key: Key | str, args: tuple[Any, ...]
    ) -> asyncio.Future[Any]:
        """Ask the server; the future gets its reply, or `StoreUnreachable` after a silence."""
        world, rates = self._world, self._rates
        name = shown(key) if isinstance(key, Key) else key
        # by who asks: what asks at one moment may do so in any order
        asker = asking.get(None)
        who = asker.name if asker is not None else ""
        if op in _BY_TOKEN:
            who = world.server.baptise(args[0], f"{process.name}.{who}")
        luck = self._luck(f"net|{process.name}|{op}|{name}|{who}")
        reply: asyncio.Future[Any] = process.loop.create_future()
        now = world.time.now
        out, back = 0.0002 + 0.003 * luck[0], 0.0002 + 0.003 * luck[1]
        if luck[2] < rates.slow:
            late = 0.05 + 2.0 * luck[3]
            out, back = (out + late, back) if luck[4] < 0.5 else (out, back + late)
            world.history.trouble(process.name, now, now + late + AFTER, "slow")
        lost = luck[5] < rates.lose
        if lost:
            world.history.trouble(process.name, now, now + AFTER, "lost")
            world.note(f"lost {process.name} {op} {name}")
        if process.is_cut() or (lost and luck[6] < 0.5):
            self._silence(process, reply)
            return reply

        def arrive() -> None:
            result, error = self._execute(process, op, key, args, reply)
            if luck[7] < rates.twice and op != "listen":
                world.history.trouble(process.name, now, world.time.now + AFTER, "twice")
                world.at(1.5 * luck[6], lambda: self._execute(process, op, key, args, reply))
            if lost or process.is_cut():
                self._silence(process, reply)
            else:
                world.at(back, lambda: self._deliver(process, reply, result, error))

        world.at(out, arrive)
        return reply

    def _silence(self, process: Process, reply: asyncio.Future[Any]) -> None:
        error = StoreUnreachable("no reply")
        self._world.at(SILENCE, lambda: self._deliver(process, reply, None, error))

    def _execute(
        self,
        process: Process,
        op: str,
        key: Key | str,
        args: tuple[Any, ...],
        reply: asyncio.Future[Any],
    ) -> tuple[Any, Exception | None]:
        server = self._world.server
        if op == "listen":
            if not server.up:
                return None, StoreUnreachable("refused")
            if process.alive and not reply.done():  # else nobody is there any more
                self.bells[args[0]] = True
            return None, None
        try:
            result = server.execute(process.name, op, key, args)
        except StoreUnreachable as error:
            return None, error
        return (self._world.time.now if op in ("forget", "clear") else result), None

    @staticmethod
    def _deliver(
        process: Process, reply: asyncio.Future[Any], result: Any, error: Exception | None
    ) -> None:
        def settle() -> None:
            if reply.done():
                return
            if error is None:
                reply.set_result(result)
            else:
                reply.set_exception(error)

        if process.alive:
            process.loop.call_soon(settle)

    # --- bells ---------------------------------------------------------------------------------

    def ring(self, key: Key, message: bytes) -> None:
        """The server publishes."""
        for bell, hung in tuple(self.bells.items()):
            if bell.key == key and hung:
                self._ring(bell, message)

    def _ring(self, bell: SimBell, message: bytes) -> None:
        process, world = bell.process, self._world
        luck = self._luck(f"bell|{process.name}|{shown(bell.key)}|{bell.name}")
        if process.is_cut():
            return
        delay = 0.0002 + 0.004 * luck[0]
        again = None
        if luck[1] < self._rates.bell:
            how = ("lost", "late", "twice")[int(3 * luck[2])]
            world.history.trouble(process.name, world.time.now, world.time.now + 2.1, f"bell {how}")
            if how == "lost":
                return
            delay += 2.0 * luck[3] if how == "late" else 0.0
            again = 1.0 * luck[3] if how == "twice" else None
        self._carry(bell, message, delay)
        if again is not None:
            self._carry(bell, message, again)

    def _carry(self, bell: SimBell, message: bytes, delay: float) -> None:
        def deliver() -> None:
            if bell.process.alive and bell in self.bells:
                bell.process.loop.call_soon(bell.put, message)

        self._world.at(delay, deliver)

    def unhang(self, process: Process | None, seconds: float, *, silently: bool) -> None:
        """Subscriptions (of one process, or all) are lost for some time, then renewed."""

        def renew() -> None:
            for bell in lost:
                if bell in self.bells and bell.process.alive:
                    self.bells[bell] = True
                    if not silently:
                        self._carry(bell, b"", 0.001)

        lost = [bell for bell in self.bells if process is None or bell.process is process]
        for bell in lost:
            self.bells[bell] = False
        self._world.at(seconds, renew)


class Wire:
    """What a process takes for its store."""

    def __init__(self, process: Process, network: Network) -> None:
        self._process, self._network = process, network
        self.executed: dict[str, float] = {}

    async def _ask(self, op: str, key: Key | str, *args: Any) -> Any:
        if not self._process.alive:
            raise StoreUnreachable("nobody is here")
        return await self._network.send(self._process, op, key, args)

    async def acquire(self, key: Key, token: bytes, seen: bytes, lease: float) -> Acquired:
        process = self._process
        flight = self._flight_of(token)
        caller = asking.get(None)
        if caller is not None:  # the flight of a cache that is closed is not found
            name = process.world.server.baptise(token, f"{process.name}.{caller.name}")
            process.tokens.setdefault(flight or caller, name)
        return await self._ask("acquire", key, token, seen, lease)

    def _flight_of(self, token: bytes) -> Flight[Any] | None:
        """Whose question goes out under this token: it may have no task yet."""
        for flight in self._process.cache._rooms.here().flights._open:
            if getattr(flight.asked, "token", b"") == token:
                return flight
        chain = airborne.get()
        return chain[-1] if chain else None

    async def renew(self, key: Key, token: bytes, lease: float) -> bool:
        return await self._ask("renew", key, token, lease)

    async def commit(
        self,
        key: Key,
        token: bytes,
        seen: bytes,
        data: bytes,
        ttl: float,
        epoch: bytes = EPOCH_NONE,
    ) -> bool:
        return await self._ask("commit", key, token, seen, data, ttl, epoch)

    async def fail(
        self, key: Key, token: bytes, data: bytes, ttl: float, epoch: bytes = EPOCH_NONE
    ) -> bool:
        return await self._ask("fail", key, token, data, ttl, epoch)

    async def release(self, key: Key, token: bytes) -> bool:
        return await self._ask("release", key, token)

    async def get(self, key: Key) -> Found | None:
        return await self._ask("get", key)

    async def set(self, key: Key, data: bytes, ttl: float) -> None:
        raise AssertionError("nothing sets")

    async def forget(self, key: Key, tombstone: float) -> None:
        self.executed[f"forget {shown(key)}"] = await self._ask("forget", key, tombstone)

    async def clear(self, namespace: str) -> int:
        self.executed[f"clear {namespace}"] = await self._ask("clear", namespace)
        return 0

    async def generations(
        self, namespace: str, tags: Sequence[str], ttl: float
    ) -> tuple[bytes, ...]:
        # they are copied between processes by other ways than these messages: always at hand
        return self._process.world.server.generations(namespace, tags)

    async def renew_generation(self, namespace: str, tag: str) -> None:
        await self.clear(namespace)

    async def ping(self) -> None:
        await self._ask("ping", "")

    async def aclose(self) -> None:
        raise AssertionError("a borrowed store is not closed")

    @asynccontextmanager
    async def listen(self, key: Key) -> AsyncGenerator[SimBell]:
        bell = SimBell(self._process, key)
        try:
            await self._ask("listen", key, bell)
            yield bell
        finally:
            self._network.bells.pop(bell, None)
