"""The public doubles do what they say, and need no pytest."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

import samecall.testing
from samecall._entry import Key
from samecall._errors import StoreError
from samecall._memory import MemoryStore
from samecall._ports import Found, Lead
from samecall.testing import FaultyStore, GatedProvider, ManualClock, VirtualClock, run_virtual

KEY = Key(b"k" * 32)


def test_all_names_are_there() -> None:
    """`__all__` is sorted, complete, and every name in it loads."""
    assert samecall.testing.__all__ == sorted(samecall.testing.__all__)
    assert dir(samecall.testing) == samecall.testing.__all__
    assert all(getattr(samecall.testing, name) for name in samecall.testing.__all__)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        samecall.testing.nothing_like_it  # noqa: B018


def test_the_doubles_import_no_pytest() -> None:
    """A program that uses the doubles needs no test runner."""
    code = (
        "import sys; from samecall.testing import FaultyStore, GatedProvider, ManualClock; "
        "sys.exit('pytest' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_manual_clock() -> None:
    """It stands still, moves forward, and never back."""
    clock = ManualClock(5.0)
    assert clock.now() == clock.now() == 5.0
    clock.advance(1.5)
    assert clock.now() == 6.5
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1.0)


async def test_gated_provider_answers_all() -> None:
    """Who waits is counted; an answer lets all of them go, and those who come later."""
    provider: GatedProvider[str] = GatedProvider()
    tasks = [asyncio.ensure_future(provider("prompt", model="m")) for _ in range(3)]
    await provider.until_waiting(3)
    assert (provider.calls, provider.waiting) == (3, 3)
    provider.answer("yes")
    assert await asyncio.gather(*tasks) == ["yes"] * 3
    assert await provider() == "yes"
    assert (provider.calls, provider.waiting) == (4, 0)


async def test_gated_provider_answers_one_by_one() -> None:
    """In the order in which they came, and the gate stays closed."""
    provider: GatedProvider[int] = GatedProvider()
    tasks = [asyncio.ensure_future(provider()) for _ in range(3)]
    await provider.until_waiting(3)
    provider.answer_one(1)
    provider.fail_one(ZeroDivisionError())
    assert await tasks[0] == 1
    with pytest.raises(ZeroDivisionError):
        await tasks[1]
    assert provider.waiting == 1
    provider.fail(KeyError("all"))
    with pytest.raises(KeyError):
        await tasks[2]
    with pytest.raises(KeyError):
        await provider()
    provider.close()
    hanging = asyncio.ensure_future(provider())
    await provider.until_waiting(1)
    hanging.cancel()
    await asyncio.wait([hanging])
    assert (provider.waiting, provider.cancelled) == (0, 1)


async def test_faulty_store_raises() -> None:
    """As often as it was told, before anything was done."""
    faulty = FaultyStore(MemoryStore())
    faulty.raise_on("set", "get", times=2)
    for _ in range(2):
        with pytest.raises(StoreError, match="set"):
            await faulty.set(KEY, b"data", 60.0)
    assert await faulty.store.get(KEY) is None
    await faulty.set(KEY, b"data", 60.0)
    assert faulty.calls["set"] == 3
    faulty.raise_on("get", error=OSError())
    for _ in range(3):
        with pytest.raises(OSError):
            await faulty.get(KEY)
    faulty.heal("get")
    assert isinstance(await faulty.get(KEY), Found)


async def test_faulty_store_loses_a_reply() -> None:
    """The thing was done, and nobody was told."""
    faulty = FaultyStore(MemoryStore())
    faulty.lose_reply("acquire")
    with pytest.raises(StoreError):
        await faulty.acquire(KEY, b"t", b"", 5.0)
    assert await faulty.store.renew(KEY, b"t", 5.0)
    assert await faulty.acquire(KEY, b"t", b"", 5.0) == Lead(b"")


async def test_faulty_store_holds() -> None:
    """What is held is counted and not done, until it is healed."""
    faulty = FaultyStore(MemoryStore())
    faulty.hold("set")
    tasks = [asyncio.ensure_future(faulty.set(KEY, b"data", 60.0)) for _ in range(2)]
    await faulty.until_held("set")
    assert await faulty.store.get(KEY) is None
    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    assert faulty.held["set"] == 1
    faulty.heal()
    await tasks[1]
    assert await faulty.store.get(KEY) is not None
    assert faulty.held["set"] == 0


@pytest.mark.parametrize("operation", ["listen", "wait"])
async def test_faulty_bells(operation: str) -> None:
    """Subscribing and waiting fail too."""
    faulty = FaultyStore(MemoryStore())
    faulty.raise_on(operation)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=operation):
        async with faulty.listen(KEY) as bell:
            await bell.wait(0.0)
    assert faulty.store.statistics().listeners == 0  # type: ignore[attr-defined]


def test_a_virtual_loops_executor_works_at_once() -> None:
    """In the loop's own thread, so that no time passes and every run is the same."""

    async def main(clock: VirtualClock) -> None:
        loop, began = asyncio.get_running_loop(), clock.now()
        assert await asyncio.to_thread(threading.get_ident) == threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 / 0)
        assert clock.now() == began

    run_virtual(main)
