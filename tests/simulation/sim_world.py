"""A fleet in virtual time: processes, network and store, and the events of a plan."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial

from sim_history import History
from sim_loop import Livelock, Time
from sim_network import AFTER, Network
from sim_plan import Event, Plan, key_of, shown
from sim_process import Process
from sim_store import Server, other_key

__all__ = ["World", "run"]

_LIMIT = 200.0


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
        self.history.leaps.append((process.name, now, event.seconds))
        self.history.trouble(process.name, now, now + AFTER, "jump")


def run(plan: Plan) -> History:
    """Play a plan; the history still has to be judged."""
    return World(plan).play()
