"""A fleet in virtual time: processes, network and store, and the events of a plan."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from sim_history import Caller, Forgotten, History, asking
from sim_loop import Livelock, ProcessClock, StepLoop, Time
from sim_network import AFTER, Network, Wire
from sim_plan import DEADLINE, Event, Plan, dice, key_of, shown
from sim_provider import SimCodec, provide
from sim_store import Server, other_key

from samecall import Cache, Policy
from samecall._flight import Flight, Flights
from samecall._ports import CallAnswered, StoreFaulted
from samecall._ports import Event as CacheEvent

__all__ = ["Process", "World", "run"]

_LIMIT = 200.0
_CODEC = SimCodec()


@lru_cache(maxsize=4096)
def _policy(
    lease: float, ttl: float, wait: float | None, max_age: float | None, *, abandon: bool
) -> Policy:
    return Policy(
        lease=lease,
        ttl=ttl,
        wait=wait,
        max_age=max_age,
        deadline=DEADLINE,
        error_ttl=0.3,
        on_abandon="abandon" if abandon else "finish",
    )


class Process:
    """One process: a loop, a clock, a `Cache`, and what befalls them."""

    def __init__(self, world: World, name: str, lease: float) -> None:
        self.world, self.name, self.lease = world, name, lease
        luck = dice(world.plan.seed, f"process|{name}")
        rate = 1 + 0.02 * (luck[1] - 0.5) if world.plan.drift else 1.0
        self.clock = ProcessClock(world.time, 10_000 * luck[0], rate)
        self.loop = StepLoop(self.clock, self._complain)
        self.alive = True
        self.frozen_until = self.cut_until = 0.0
        self.tokens: dict[Flight[Any] | None, str] = {}
        self.born: dict[Flight[Any], float] = {}
        self.asked = 0
        self.wire = Wire(self, world.network)
        self.cache = Cache(
            self.wire,
            policy=_policy(lease, 60.0, None, None, abandon=False),
            clock=self.clock,
            observers=(self,),
        )
        world.history.leases[name] = lease

    def is_cut(self) -> bool:
        return self.world.time.now < self.cut_until

    def runs(self) -> bool:
        return self.alive and self.world.time.now >= self.frozen_until

    def on_event(self, event: CacheEvent) -> None:
        if isinstance(event, CallAnswered) and self.alive:
            asking.get().how = event.how
        elif isinstance(event, StoreFaulted) and self.alive:
            self.world.note(f"{self.name} store fault: {event.operation} {event.error}")

    def _complain(self, context: dict[str, Any]) -> None:
        if self.alive:
            self.world.history.violated(f"{self.name} complains: {context}")

    # --- what it is told to do -----------------------------------------------------------------

    def ask(self, event: Event) -> None:
        task: list[asyncio.Task[None]] = []
        self.loop.call_soon(lambda: task.append(self.loop.create_task(self._ask(event))))
        if event.cancel is not None:
            self.world.at(
                event.cancel,
                lambda: self.loop.call_soon(lambda: task[0].cancel()) if self.alive else None,
            )

    async def _ask(self, event: Event) -> None:
        world = self.world
        policy = _policy(
            self.lease, event.ttl, event.wait, event.max_age, abandon=event.abandon
        )
        caller = Caller(
            event.name, self.name, event.key, event.mode, world.time.now, event.wait,
            event.max_age, self._oldest(event.key),
        )  # fmt: skip
        world.history.callers.append(caller)
        self.asked += 1
        asking.set(caller)
        world.note(f"{self.name} asks {event.key} ({event.mode}) as {caller.name}")
        try:
            caller.answer = await self.cache.get_or_call(
                key_of(event.key),
                partial(provide, self, caller, abandon=event.abandon),
                policy=policy,
                codec=_CODEC,
                mode=event.mode,  # type: ignore[arg-type]
            )
        except asyncio.CancelledError:
            caller.cancelled = True
        except BaseException as error:  # noqa: BLE001 - the invariants judge it
            caller.error = error
        if self.alive:
            caller.ended = world.time.now
            told = world.history.named(caller.answer or caller.error)
            told = "left" if caller.cancelled else told
            world.note(f"{self.name} {caller.name} has {told} ({caller.how})")

    def _oldest(self, key: str) -> float | None:
        """When the oldest flight that a caller could join now was begun."""
        flights = self.cache._rooms.here().flights
        if "start" not in vars(flights):
            flights.start = partial(self._start, flights)  # type: ignore[method-assign]
        at = key_of(key)
        born = [self.born[f] for f in flights._open if f.key == at and not f.detached]
        return min(born, default=None)

    def _start(self, flights: Flights[Any], *args: Any, **kwargs: Any) -> Flight[Any]:
        flight = Flights.start(flights, *args, **kwargs)
        self.born[flight] = self.world.time.now
        if flight.task is not None:
            flight.task.add_done_callback(partial(self._landed, flight))
        return flight

    def _landed(self, flight: Flight[Any], task: asyncio.Task[None]) -> None:
        if self.alive:
            self.world.history.landed[flight] = self.world.time.now

    def wish(self, event: Event) -> None:
        self.loop.call_soon(lambda: self.loop.create_task(self._wish(event)))

    async def _wish(self, event: Event) -> None:
        world, history = self.world, self.world.history
        key, namespace = event.key, key_of(event.key).namespace
        world.note(f"{self.name} {event.what} {key}")
        if event.what == "close":
            now = world.time.now
            history.trouble(self.name, now, now + 2.0, "close")
            await self.cache.aclose()
            return
        try:
            if event.what == "forget":
                await self.cache.forget(key_of(key))
            else:
                await self.cache.clear(namespace)
        except Exception as error:  # noqa: BLE001 - told to whoever asked for it
            world.note(f"{self.name} {event.what} {key}: {error!r}")
            if type(error).__name__ != "StoreUnreachable":
                history.violated(f"{event.what} raised {error!r}")
            return
        if self.alive:
            what = key if event.what == "forget" else namespace
            executed = self.wire.executed[f"{event.what} {what}"]
            now = world.time.now
            history.forgotten.append(Forgotten(event.what, self.name, what, executed, now))
            world.note(f"{self.name} {event.what} {what} done (at {executed:.4f})")


class World:
    """Runs a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.time = Time()
        self.history = History(plan)
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0
        self.network = Network(self)
        self.server = Server(self.time, self.history, self.network.ring)
        self.procs: list[Process] = []
        self.slots = [self._spawn(f"p{i}", lease) for i, lease in enumerate(plan.leases)]
        self.keys = sorted({event.key for event in plan.events if event.key})

    def _spawn(self, name: str, lease: float) -> Process:
        process = Process(self, name, lease)
        self.procs.append(process)
        return process

    def note(self, line: str) -> None:
        self.history.tell(self.time.now, line)

    def at(self, delay: float, do: Callable[[], object]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.time.now + delay, self._count, do))

    # --- time ----------------------------------------------------------------------------------

    def rest(self) -> bool:
        """Let time pass until nothing is left to be done; False: that takes for ever."""
        while True:
            now = self.time.now
            upcoming = self._queue[0][0] if self._queue else _LIMIT * 10
            for process in self.procs:
                if not process.runs():
                    continue
                due = process.loop.due()
                if due is not None and due <= now + 1e-9:
                    process.loop.run()
                    due = process.loop.due()
                if due is not None:
                    upcoming = min(upcoming, due)
            upcoming = min(upcoming, self._queue[0][0]) if self._queue else upcoming
            if upcoming > _LIMIT:
                return upcoming >= _LIMIT * 10
            self.time.now = max(now, upcoming)
            while self._queue and self._queue[0][0] <= self.time.now:
                heapq.heappop(self._queue)[2]()

    def play(self) -> History:
        for event in self.plan.events:
            self.at(event.at, partial(self._happen, event))
        try:
            if not self.rest():
                self.history.violated("the fleet never comes to rest")
            self.history.rested = self.time.now
            self._close()
        except Livelock:
            self.history.violated("a process runs on and on while no time passes")
        self._dispose()
        return self.history

    def _close(self) -> None:
        for process in self.procs:
            if process.alive:
                process.loop.call_soon(process.loop.create_task, process.cache.aclose())
        if not self.rest():
            self.history.violated("closing the fleet takes for ever")
        for process in self.procs:
            if process.alive:
                self._look_around(process)
        bells = sum(bell.process.alive for bell in self.network.bells)
        if bells:
            self.history.violated(f"{bells} listeners are left")
        self.time.now += max(self.plan.leases) + 0.01
        if self.server.leases():
            self.history.violated("a lease is left")

    def _look_around(self, process: Process) -> None:
        violated = self.history.violated
        for task in process.loop.tasks():
            violated(f"{process.name} has a task left: {task.get_coro()!r}")
        now = process.cache.statistics()
        if now.flights or now.callers_waiting:
            violated(f"{process.name} has {now.flights} flights, {now.callers_waiting} callers")
        ways = now.l1_hits, now.l2_hits, now.coalesced_local, now.coalesced_remote, now.led
        calls = sum(paid.proc == process.name for paid in self.history.paid)
        if now.calls != process.asked or now.calls != sum(ways) + now.errors:
            violated(f"{process.name} was asked {process.asked} times, and says {now}")
        if now.provider_calls != calls:
            violated(f"{process.name} made {calls} calls, and says {now}")

    def _dispose(self) -> None:
        """Give the tasks of the dead an end, in a world that is over."""
        for process in self.procs:
            process.alive = False
        for process in self.procs:
            for _ in range(200):
                tasks = process.loop.tasks()
                if not tasks:
                    break
                for task in tasks:
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    task.cancel()
                self.time.now += 1.0
                process.loop.run()

    # --- what happens --------------------------------------------------------------------------

    def _happen(self, event: Event) -> None:
        process = self.slots[event.proc] if event.proc < len(self.slots) else self.slots[0]
        if event.what == "ask":
            if process.alive:
                process.ask(event)
        elif event.what in ("forget", "clear", "close"):
            if process.alive:
                process.wish(event)
        else:
            self.note(f"FAULT {event.what} {process.name} {event.key} {event.seconds:.3f}")
            getattr(self, f"_{event.what}")(event, process)

    def _crash(self, event: Event, process: Process) -> None:
        if not process.alive:
            return
        now, history = self.time.now, self.history
        process.alive = False
        history.dead[process.name] = now
        history.trouble(process.name, now, float("inf"), "crash")
        for caller in history.callers:
            if caller.proc == process.name and caller.ended is None:
                caller.lost = True
        for paid in history.paid:
            if paid.proc == process.name and paid.ended is None:
                paid.ended, paid.outcome = now, "lost"
        if event.seconds:

            def replace() -> None:
                self.slots[event.proc] = self._spawn(f"{process.name}'", process.lease)

            self.at(event.seconds, replace)

    def _pause(self, event: Event, process: Process) -> None:
        now = self.time.now
        process.frozen_until = max(process.frozen_until, now + event.seconds)
        self.history.frozen[process.name].append((now, now + event.seconds))
        self.history.trouble(process.name, now, now + event.seconds + AFTER, "pause")
        self.at(event.seconds, lambda: None)

    def _cut(self, event: Event, process: Process) -> None:
        now = self.time.now
        process.cut_until = max(process.cut_until, now + event.seconds)
        self.history.trouble(process.name, now, now + event.seconds + AFTER, "cut")
        self.network.unhang(process, event.seconds + 0.05, silently=False)

    def _rehang(self, event: Event, process: Process) -> None:
        now = self.time.now
        self.history.trouble(process.name, now, now + 2.5, "rehang")
        self.network.unhang(process, 0.3, silently=event.seconds == 0)

    def _restart(self, event: Event, process: Process) -> None:
        now = self.time.now
        self.server.restart()
        self.server.up = False
        self.history.restarts.append(now)
        self.history.trouble("", now, now + event.seconds + AFTER, "restart")
        self.network.unhang(None, event.seconds + 0.02, silently=False)
        back = now + event.seconds
        self._back = max(getattr(self, "_back", 0.0), back)
        self.at(event.seconds, self._up)

    def _up(self) -> None:
        if self.time.now >= self._back - 1e-9:
            self.server.up = True

    def _evict(self, event: Event, process: Process) -> None:
        self.server.evict(key_of(event.key))
        self.history.faults["evict"] += 1

    def _steal(self, event: Event, process: Process) -> None:
        now = self.time.now
        self.history.trouble("", now, now, "steal")
        self.server.steal(key_of(event.key))

    def _damage(self, event: Event, process: Process) -> None:
        self.history.faults["damage"] += self.server.damage(key_of(event.key), None)
        self.history.damaged.add(event.key)

    def _swap(self, event: Event, process: Process) -> None:
        other = other_key(self.keys, event.key)
        if other is not None and self.server.damage(key_of(event.key), other):
            self.history.faults["swap"] += 1
            self.history.damaged.add(event.key)
            self.note(f"{event.key} holds the bytes of {shown(other)}")

    def _jump(self, event: Event, process: Process) -> None:
        now = self.time.now
        process.clock.jump(event.seconds)
        self.history.trouble(process.name, now, now + AFTER, "jump")


def run(plan: Plan) -> History:
    """Play a plan; the history still has to be judged."""
    return World(plan).play()
