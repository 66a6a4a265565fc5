"""Where workers leave word of themselves, and what the command line makes of it: on every store."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from place_support import Place, says
from typer.testing import CliRunner

from samecall._memory import MemoryStore
from samecall.cli._app import application


async def test_the_last_word_of_each_worker_is_there(place: Place) -> None:
    """For as long as it says; other namespaces have their own."""
    board: Any = getattr(place.store(place.cache()), "far", None) or place.store(place.cache())
    here, there = place.namespace, f"{place.namespace}:c:ü/2"
    await board.withdraw(here)
    for namespace, worker, data in ((here, "w/1", b"old"), (here, "w/1", b"new"),
                                    (here, "w2", b"two"), (there, "w2", b"three")):  # fmt: skip
        await board.post(namespace, worker, data, 60)
    await board.post(there, "short", b"x", 0.001)
    told = await board.posted(here)
    assert {(each.worker, each.data) for each in told} == {("w/1", b"new"), ("w2", b"two")}
    assert all(0 <= each.age < 60 and each.namespace == here for each in told)
    async with asyncio.timeout(60):
        while len(await board.posted(there)) > 1:
            await asyncio.sleep(0.001)
    assert {each.namespace for each in await board.posted()} >= {here, there}
    await board.withdraw(here)
    await board.withdraw(here)
    assert await board.posted(here) == []
    assert len(await board.posted(there)) == 1


async def test_stats_adds_up_two_processes(place: Place) -> None:
    """What each has counted, by the URL of the store."""
    for name in ("one", "other"):
        cache = place.cache(report=True)
        for _ in range(3):
            await cache.get_or_call("k", says("answer"))
        await cache.aclose()
        assert cache.statistics().store_faults == 0, name
    if isinstance(place.where, MemoryStore):
        return
    url = place.where[-1] if isinstance(place.where, list) else place.where
    arguments = ["stats", "--url", str(url), "--namespace", place.namespace, "--json"]
    done = await asyncio.to_thread(CliRunner().invoke, application(), arguments)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["counters"]["calls"], told["counters"]["provider_calls"]) == (6, 1)
