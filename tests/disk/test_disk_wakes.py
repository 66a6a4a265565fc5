"""Who waits in another process hears of it through the file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from disk_support import envelope, new_key

from samecall._disk import DiskStore, tables
from samecall._entry import Kind
from samecall._ports import Lead

SOON, LONG = 30.0, 600.0
TOKEN = bytes(16)
Make = Callable[..., DiskStore]


@pytest.mark.parametrize("end", ["commit", "fail", "release", "forget"])
async def test_every_end_is_heard_in_the_other_process(process: Make, end: str) -> None:
    """A ring says: look again; the file is the truth."""
    one, two = process(), process()
    key = new_key()
    assert await one.acquire(key, TOKEN, b"", LONG) == Lead(b"")
    async with two.listen(key) as bell:
        waiting = asyncio.ensure_future(bell.wait(SOON))
        if end == "commit":
            await one.commit(key, TOKEN, b"", envelope(key), LONG)
        elif end == "fail":
            await one.fail(key, TOKEN, envelope(key, kind=Kind.ERROR), LONG)
        elif end == "release":
            await one.release(key, TOKEN)
        else:
            await one.forget(key, LONG)
        assert await waiting == b""


async def test_what_came_before_the_listening_does_not_ring(process: Make) -> None:
    one, two = process(), process()
    key, other = new_key(), new_key()
    for each in (key, other):
        await one.acquire(each, TOKEN, b"", LONG)
        await one.release(each, TOKEN)
    async with two.listen(key) as bell:
        await one.acquire(key, TOKEN, b"", LONG)
        await one.release(other, TOKEN)
        assert await bell.wait(0.05) is None
        await one.release(key, TOKEN)
        assert await bell.wait(SOON) == b""


async def test_its_own_rings_are_heard_once(process: Make) -> None:
    """The file tells this process nothing that it has heard from itself."""
    one, two = process(), process()
    key = new_key()
    async with one.listen(key) as bell:
        for each in (one, two, one):
            await each.acquire(key, TOKEN, b"", LONG)
            await each.release(key, TOKEN)
            assert await bell.wait(SOON) == b""
        assert await bell.wait(0.05) is None


async def test_a_process_that_slept_looks_everywhere(
    process: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where more was rung than the file keeps, every bell rings."""
    monkeypatch.setattr(tables, "_PRUNE_EVERY", 4)
    monkeypatch.setattr(tables, "_RINGS_KEPT", 4)
    one, two = process(), process()
    key, other = new_key(), new_key()
    async with two.listen(key) as bell:
        with two.disk._use:  # its thread stands still
            for _ in range(16):
                await one.acquire(other, TOKEN, b"", LONG)
                await one.release(other, TOKEN)
        assert await bell.wait(SOON) == b""


async def test_a_process_without_listeners_does_not_look(process: Make) -> None:
    """Its thread sleeps until it is asked."""
    store = process()
    key = new_key()
    await store.ping()
    assert store.disk._pause() is None
    async with store.listen(key):
        pause = store.disk._pause()
        assert pause is not None
        assert 0 < pause <= 0.05
    assert store.disk._pause() is None
