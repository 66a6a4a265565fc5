"""One simulated process: a loop, a clock, a real `Cache`, and who asks it."""

from __future__ import annotations

import asyncio
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from sim_history import Caller, Clear, Forgotten, asking
from sim_loop import ProcessClock, StepLoop
from sim_network import Wire
from sim_plan import DEADLINE, Event, dice, key_of
from sim_provider import SimCodec, provide

from samecall import Cache, Policy
from samecall._flight import Flight, Flights
from samecall._ports import CallAnswered, StoreFaulted
from samecall._ports import Event as CacheEvent
from samecall.testing._prompt import PromptStore

if TYPE_CHECKING:
    from sim_world import World

__all__ = ["Process"]

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
        self.tokens: dict[Flight[Any] | Caller, str] = {}
        self.born: dict[Flight[Any], float] = {}
        self.asked = 0
        self.wire = Wire(self, world.network)
        # half of all processes ask before they have a task, as those of a Redis server do
        store: Any = PromptStore(self.wire) if luck[2] < 0.5 else self.wire
        self.cache = Cache(
            store,
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

        def leave() -> None:
            if self.alive:
                self.loop.call_soon(lambda: [one.cancel() for one in task])

        if event.cancel is not None:
            self.world.at(event.cancel, leave)

    async def _ask(self, event: Event) -> None:
        world = self.world
        if not self.alive:  # frozen when it died: the world is over when its tasks are ended
            return
        policy = _policy(self.lease, event.ttl, event.wait, event.max_age, abandon=event.abandon)
        caller = Caller(
            event.name, self.name, event.key, event.mode, world.time.now, event.wait,
            event.max_age, self._oldest(event.key), self._oldest(event.key, landed=False),
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

    def _oldest(self, key: str, *, landed: bool = True) -> float | None:
        """When the oldest flight that a caller could join now was begun."""
        flights = self.cache._rooms.here().flights
        if "open" not in vars(flights):
            flights.open = partial(self._open, flights)  # type: ignore[method-assign]
            flights.ground = partial(self._ground, flights)  # type: ignore[method-assign]
        at = key_of(key)
        mine = (f for f in flights._open if f.key == at and not (f.detached or f.outdated))
        return min((self.born[f] for f in mine if landed or f.outcome is None), default=None)

    def _open(self, flights: Flights[Any], *args: Any, **kwargs: Any) -> Flight[Any]:
        flight = Flights.open(flights, *args, **kwargs)
        self.born[flight] = self.world.time.now
        return flight

    def _ground(self, flights: Flights[Any], flight: Flight[Any], *args: Any) -> None:
        Flights.ground(flights, flight, *args)
        if self.alive:
            self.world.history.landed[flight] = self.world.time.now

    def wish(self, event: Event) -> None:
        self.loop.call_soon(lambda: self.loop.create_task(self._wish(event)))

    async def _wish(self, event: Event) -> None:
        world, history = self.world, self.world.history
        key, namespace = event.key, key_of(event.key).namespace
        if not self.alive:
            return
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
                history.clears.append(Clear(world.time.now, namespace, self.name, done=False))
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
