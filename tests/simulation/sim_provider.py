"""The provider of a run: real answers and real errors, each with its number."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from sim_history import Caller, Paid
from sim_plan import DEADLINE, dice

from samecall._airborne import airborne
from samecall._codec import BaseCodec
from samecall._entry import Payload
from samecall._errors import RemoteCallError, Undecodable
from samecall._flight import Phase
from samecall._ports import ErrorRecord, Failure, Reach

if TYPE_CHECKING:
    from sim_process import Process

__all__ = ["SimCodec", "SimError", "provide"]

_KINDS = {Phase.LEADING: "led", Phase.ALONE: "alone"}


class SimError(Exception):
    """The provider says no."""

    def __init__(self, number: int, reach: Reach) -> None:
        super().__init__(number, reach)
        self.number, self.reach = number, reach


class SimCodec(BaseCodec[Any]):
    """Carries the key and the number of the call."""

    def encode(self, value: Any) -> Payload:
        return Payload("sim", msgspec.msgpack.encode(value))

    def decode(self, payload: Payload) -> Any:
        if payload.tag != "sim":
            raise Undecodable(payload.tag)
        return msgspec.msgpack.decode(payload.data)

    def explain(self, error: BaseException) -> Failure:
        if isinstance(error, SimError):
            return Failure(error.reach, ErrorRecord("SimError", str(error.number)))
        return super().explain(error)

    def rebuild(self, record: ErrorRecord) -> BaseException:
        return RemoteCallError(record.message, class_name=record.class_name)


async def provide(process: Process, caller: Caller, *, abandon: bool) -> Any:
    """One call of the provider, for `caller`."""
    world, key = process.world, caller.key
    if not process.alive:
        raise asyncio.CancelledError
    chain = airborne.get()
    flight = chain[-1] if chain else None
    kind = _KINDS.get(flight.phase, "?") if flight is not None else "bypass"
    told = process.tokens
    token = told.get(flight) or told.get(caller, "") if kind != "bypass" else ""
    history = world.history
    mine = sum(1 for other in history.paid if other.owner is caller)
    name = f"{caller.name}{'abcdefgh'[min(mine, 7)]}"
    paid = Paid(
        len(history.paid), name, process.name, key, kind, token, caller, world.time.now, flight,
        abandon,
    )  # fmt: skip
    history.paid.append(paid)
    luck = dice(world.plan.seed, f"call|{name}")
    world.note(f"{process.name} calls {key} #{name} {kind} {token}")
    hangs = luck[0] < world.plan.hang
    latency = 10 * DEADLINE if hangs else (0.005 if luck[6] < 0.3 else 0.1) * luck[1]
    if luck[2] < 0.25 and not hangs:
        latency += 4.0 * luck[3]
    try:
        await asyncio.sleep(latency)
    except asyncio.CancelledError:
        if process.alive:
            paid.ended, paid.outcome = world.time.now, "hung" if hangs else "cancelled"
            world.note(f"{process.name} call #{name} {paid.outcome}")
        raise
    if not process.alive:
        raise asyncio.CancelledError
    paid.ended, paid.outcome = world.time.now, "ok"
    if luck[4] < world.plan.fail:
        reach = list(Reach)[int(3 * luck[5])]
        paid.outcome = reach.value
        world.note(f"{process.name} call #{name} fails: {reach.value}")
        raise SimError(paid.number, reach)
    world.note(f"{process.name} call #{name} answers")
    return [key, paid.number]
