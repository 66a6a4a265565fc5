"""Who leads: the call is paid, by one flight, under a lease or alone."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from samecall._books import bill
from samecall._calling import Till
from samecall._entry import Payload
from samecall._errors import Unstorable
from samecall._flight import Flight, Flights, Phase
from samecall._keeping import Began, Keeper, Settle
from samecall._lease import Claim, ClaimState
from samecall._outcome import Outcome, Request
from samecall._ports import Clock
from samecall._stream import Studio

__all__ = ["Leader"]


@dataclass(slots=True, eq=False)
class Leader:
    """Leads the flights of one event loop."""

    till: Till
    keeper: Keeper
    flights: Flights[Outcome]
    bulkhead: asyncio.Semaphore
    clock: Clock
    studio: Studio

    async def lead_alone(self, flight: Flight[Outcome], request: Request, claim: Claim) -> None:
        other = self.flights.leader(request.key)
        if other is not None:  # begun under another slot; without a store only we two can agree
            outcome = await self.flights.wait(other, None)
            if outcome is not None:
                flight.land(outcome)
            return
        flight.enter(Phase.ALONE)
        await self.lead(flight, request, claim)

    async def lead(self, flight: Flight[Outcome], request: Request, claim: Claim) -> None:
        hold = claim.hold()
        hold.overtaken = partial(self.flights.outdate, flight)
        hold.forgotten = partial(self.flights.outdate, flight, worthless=True)
        flight.doubted = hold.hurry
        async with request.led(claim, hold, flight, self.studio) as ended:
            began = await self._begin(request, claim)
            request.begins(began.generations)
            hold.current = partial(self._is_current, request, began)
            settle = await self._call(flight, request, began)
            await ended()
            if settle is not None:
                await settle(claim)

    async def _begin(self, request: Request, claim: Claim) -> Began:
        # before the call: what is forgotten from here on is not to outlive it
        generations = self.keeper.generations
        era = generations.copies.era
        space, tags = request.key.namespace, request.tags
        alone = claim.state is ClaimState.ALONE  # the store has had its time
        told = await generations.now(space, tags, None if alone else request.policy)
        return Began(claim.stamp, told, era)

    async def _is_current(self, request: Request, began: Began) -> bool:
        """Whether an answer of this call is for whoever asks now, as far as anybody knows."""
        key, policy = request.key, request.policy
        known = await self.keeper.generations.told(key.namespace, request.tags, policy)
        return known in (None, began.generations)

    async def _call(self, flight: Flight[Outcome], request: Request, began: Began) -> Settle | None:
        """Call, and land; what is left to do is to tell the store."""
        # a call made inside another's call has its place: it must not wait for a second one
        bounded = flight.phase is Phase.ALONE and not flight.nested
        async with self.bulkhead if bounded else nullcontext():
            start = self.clock.now()
            try:
                value = await self.till.pay(request, began.stamp)
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    self.till.books.dropped(request, self.clock.now() - start)
                    raise
                # the call cancelled itself: that is its caller's affair and nobody else's
                crashed = self.till.crashed(request, error)
            except BaseException as error:  # noqa: BLE001 - its owner gets it
                crashed = self.till.crashed(request, error)
            else:
                return await self._keep(flight, request, value, began, self.clock.now() - start)
        failure, seconds = crashed.failure, self.clock.now() - start
        spent = None if failure.completion is None else failure.completion.spent
        self.till.books.paid(request, seconds, failure.record.class_name, spent)
        return self.keeper.crash(flight, request, crashed, began)

    async def _keep(
        self, flight: Flight[Outcome], request: Request, value: Any, began: Began, cost: float
    ) -> Settle | None:
        try:
            stored: Payload | Exception = await request.encoded(value)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self.till.books.paid(request, cost, None, bill(request, value))
                raise
            stored = Unstorable(f"encode raised {type(error).__name__}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is paid for
            stored = error
        return self.keeper.answer(flight, request, value, stored, began, cost)
