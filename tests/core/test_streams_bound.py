"""A consumer that has items of one stream never gets another's, whoever leads where by then."""

from __future__ import annotations

import asyncio

from core_streams import Consumer, Source
from core_support import World, outcomes, virtual

from samecall import Policy, StreamInterrupted


async def forgetting(w: World) -> tuple[Consumer, list[Consumer], Source, asyncio.Task[None]]:
    """A stream that is being forgotten, and consumers of it whose own flight waits for its lease.

    The third one is the source of the consumers' own call.
    """
    cache, source, own = w.cache(Policy(on_abandon="abandon")), Source(), Source()
    leader = Consumer(cache.stream("k", source))
    source.put("a", "b")
    await w.turns()
    w.store.hold("forget")
    forgets = asyncio.create_task(cache.forget("k"))
    await w.store.until_held("forget")
    consumers = [Consumer(cache.stream("k", own)) for _ in range(3)]
    await w.turns()
    assert [each.got for each in consumers] == [["a", "b"]] * 3
    leader.source = source
    return leader, consumers, own, forgets


@virtual
async def test_who_joins_what_is_being_forgotten_gets_the_rest_of_it(w: World) -> None:
    """Though its own flight has another stream's answer by then."""
    leader, consumers, own, forgets = await forgetting(w)
    w.store.hold("acquire", times=1)  # their flight asks once another's value is there
    w.store.heal("forget")
    await forgets
    await w.store.until_held("acquire")
    second = Source()
    second.put(1, 2, 3, 4, None)
    assert await Consumer(w.cache().stream("k", second)).task == [1, 2, 3, 4]
    await w.turns()
    w.store.heal()
    await w.turns()
    leader.source.put("c")
    await asyncio.sleep(0.1)
    assert [each.got for each in consumers] == [["a", "b", "c"]] * 3
    leader.source.put("d", None)
    for each in (leader, *consumers):
        assert await each.task == ["a", "b", "c", "d"]
    assert (own.calls, second.calls) == (0, 1)


@virtual
async def test_who_follows_what_is_given_up_is_told_at_once(w: World) -> None:
    leader, consumers, own, forgets = await forgetting(w)
    w.store.hold("acquire")
    leader.task.cancel()
    await outcomes(leader.task)
    for error in await outcomes(*(each.task for each in consumers)):
        assert type(error) is StreamInterrupted
        assert error.items == ("a", "b")
    assert (own.calls, leader.source.closed) == (0, 1)
    w.store.heal()
    await forgets
