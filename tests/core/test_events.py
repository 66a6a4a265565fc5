"""What observers are told of a call: what it was about, what it cost, and whose answer it is."""

from __future__ import annotations

import asyncio
from typing import Any

from core_support import FleetCodec, World, outcomes, spawn, virtual

from samecall._codec import PlainCodec
from samecall._entry import Payload, Spent
from samecall._events import TRACE, CallAnswered, Event, ProviderAsked, ProviderCalled

SPENT = Spent("gpt-x", "openai", 12, 3)


class Priced(PlainCodec):
    def encode(self, value: Any) -> Payload:
        plain = super().encode(value)
        return Payload(plain.tag, plain.data, SPENT)

    def about(self) -> Spent:
        return Spent("gpt-x", "openai")


class Tracer:
    """Leaves a trace in the call's own context, and reads it again after the call."""

    def __init__(self, trace: bytes = b"T" * 24) -> None:
        self.trace, self.after = trace, []

    def on_event(self, event: Event) -> None:
        if isinstance(event, ProviderAsked):
            TRACE.set(self.trace)
        elif isinstance(event, ProviderCalled):
            self.after.append(TRACE.get())


@virtual
async def test_what_was_spent_is_known_on_every_way_to_an_answer(w: World) -> None:
    one, two, provider = w.cache(), w.cache(), w.provider()
    tasks = [
        *spawn(2, lambda: one.get_or_call("k", provider, codec=Priced())),
        *spawn(1, lambda: two.get_or_call("k", provider, codec=Priced())),
    ]
    await provider.until_waiting(1)
    await w.turns()
    provider.answer("yes")
    await asyncio.gather(*tasks)
    w.clock.advance(1.5)  # memory is no longer trusted
    await two.get_or_call("k", provider, codec=Priced())
    await two.get_or_call("k", provider, codec=Priced())
    told = [event for ears in w.ears for event in ears.of(CallAnswered)]
    assert sorted(event.how for event in told) == [
        "coalesced_local", "coalesced_remote", "l1", "l2", "led",
    ]  # fmt: skip
    assert {event.spent for event in told} == {SPENT}
    [paid] = w.ears[0].of(ProviderCalled)
    assert paid.spent == SPENT
    assert {event.leader for event in told} == {paid.leader}
    assert len(paid.leader) == 16


@virtual
async def test_who_is_told_of_an_error_knows_the_model_and_the_leader(w: World) -> None:
    class Codec(FleetCodec, Priced):
        pass

    one, two, provider = w.cache(), w.cache(), w.provider()
    tasks = [
        *spawn(2, lambda: one.get_or_call("k", provider, codec=Codec())),
        *spawn(1, lambda: two.get_or_call("k", provider, codec=Codec())),
    ]
    await provider.until_waiting(1)
    await w.turns()
    provider.fail(ValueError("no"))
    await outcomes(*tasks)
    told = [event for ears in w.ears for event in ears.of(CallAnswered)]
    assert {event.how for event in told} == {"led", "coalesced_local", "coalesced_remote"}
    [asked], [paid] = w.ears[0].of(ProviderAsked), w.ears[0].of(ProviderCalled)
    assert asked.about == paid.spent == Spent("gpt-x", "openai")
    assert {event.leader for event in told} == {asked.leader} == {paid.leader}


@virtual
async def test_a_trace_travels_with_the_entry(w: World) -> None:
    tracer = Tracer()
    one, two, provider = w.cache(observers=[tracer]), w.cache(), w.provider()
    tasks = [
        *spawn(2, lambda: one.get_or_call("k", provider)),
        *spawn(1, lambda: two.get_or_call("k", provider)),
    ]
    await provider.until_waiting(1)
    await w.turns()
    provider.answer("yes")
    await asyncio.gather(*tasks)
    told = [event for ears in w.ears for event in ears.of(CallAnswered)]
    assert [event.trace for event in told] == [b"T" * 24] * 3
    assert tracer.after == [b"T" * 24]
    assert TRACE.get() == b""  # the caller's own context is as it was


@virtual
async def test_a_trace_that_is_too_long_stays(w: World) -> None:
    cache, provider = w.cache(observers=[Tracer(b"T" * 33)]), w.provider()
    provider.answer("yes")
    await cache.get_or_call("k", provider)
    assert w.ears[0].of(CallAnswered)[0].trace == b""


@virtual
async def test_a_bypass_and_a_cancelled_call_are_told_to_their_end(w: World) -> None:
    cache, provider = w.cache(), w.provider()
    task = asyncio.ensure_future(cache.get_or_call("k", provider, codec=Priced(), mode="bypass"))
    await provider.until_waiting(1)
    task.cancel()
    await outcomes(task)
    [asked], [called] = w.ears[0].of(ProviderAsked), w.ears[0].of(ProviderCalled)
    assert (asked.leader, called.leader, called.error) == (b"", b"", "CancelledError")
    [answered] = w.ears[0].of(CallAnswered)
    assert (answered.how, answered.error) == ("bypass", "CancelledError")


@virtual
async def test_a_codec_that_fails_to_say_what_it_asks_costs_nothing(w: World) -> None:
    class Broken(PlainCodec):
        def about(self) -> Spent:
            raise RuntimeError("no idea")

    cache, provider = w.cache(), w.provider()
    provider.answer("yes")
    assert await cache.get_or_call("k", provider, codec=Broken()) == "yes"
    assert w.ears[0].of(ProviderAsked)[0].about is None
