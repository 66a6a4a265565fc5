"""One clock for all processes of a machine: reboots and jumps of the wall clock."""

from __future__ import annotations

from pathlib import Path

import pytest
from disk_support import Process, envelope, new_key

from samecall._disk.clock import Machine
from samecall._ports import Lead, Wait

DAY = 86_400.0
TOKEN, OTHER = bytes(16), b"o" * 16


class Moved(Machine):
    """A machine whose clocks are moved by hand."""

    def __init__(self, boot: str = "first", up: float = 50.0, wall: float = 1.8e9) -> None:
        self.name, self.uptime, self.date = boot, up, wall

    def boot(self) -> str:
        return self.name

    def up(self) -> float:
        return self.uptime

    def wall(self) -> float:
        return self.date

    def pass_time(self, seconds: float) -> None:
        self.uptime += seconds
        self.date += seconds

    def reboot(self, after: float, name: str = "second") -> None:
        self.name, self.uptime, self.date = name, 5.0, self.date + after


async def left(process: Process, key: object) -> float | None:
    found = await process.store.get(key)  # type: ignore[arg-type]
    return None if found is None else found.left


@pytest.mark.parametrize("jump", [-30 * DAY, -10.0, 10.0, 30 * DAY])
async def test_a_jump_of_the_wall_clock_moves_nothing(path: Path, jump: float) -> None:
    """Neither in the process that wrote nor in one that opens the file afterwards."""
    machine = Moved()
    one = Process(path, machine=machine)
    key, led = new_key(), new_key()
    await one.store.set(key, envelope(key), DAY)
    await one.store.acquire(led, TOKEN, b"", 5.0)
    machine.date += jump
    machine.pass_time(2.0)
    two = Process(path, machine=machine)
    for process in (one, two):
        assert await left(process, key) == pytest.approx(DAY - 2.0)
        waiting = await process.store.acquire(led, OTHER, b"", 5.0)
        assert isinstance(waiting, Wait)
        assert waiting.left == pytest.approx(3.0)
        await process.close()


async def test_a_reboot_counts_as_time_and_ends_leases(path: Path) -> None:
    """Who held a lease is no more; entries age by the wall clock while the machine is off."""
    machine = Moved()
    one = Process(path, machine=machine)
    key, led = new_key(), new_key()
    await one.store.set(key, envelope(key), DAY)
    await one.store.acquire(led, TOKEN, b"", DAY)
    await one.close()
    machine.reboot(after=DAY / 4)
    two = Process(path, machine=machine)
    assert await left(two, key) == pytest.approx(3 * DAY / 4)
    assert await two.store.acquire(led, OTHER, b"", 5.0) == Lead(b"")
    await two.close()


async def test_a_wall_clock_that_was_set_back_over_a_reboot(path: Path) -> None:
    """The file's time never goes back: what is there is not held longer than it would have been."""
    machine = Moved()
    one = Process(path, machine=machine)
    key = new_key()
    await one.store.set(key, envelope(key), DAY)
    await one.close()
    machine.reboot(after=-400 * DAY)
    two = Process(path, machine=machine)
    assert await left(two, key) == pytest.approx(DAY)
    machine.pass_time(DAY + 1)
    assert await left(two, key) is None
    await two.close()


async def test_without_a_name_of_the_boot_leases_stay(path: Path) -> None:
    """As on systems that do not tell: two processes agree by the wall clock."""
    machine = Moved(boot="")
    one, two = Process(path, machine=machine), Process(path, machine=machine)
    key = new_key()
    await one.store.acquire(key, TOKEN, b"", 5.0)
    machine.pass_time(1.0)
    waiting = await two.store.acquire(key, OTHER, b"", 5.0)
    assert isinstance(waiting, Wait)
    assert waiting.left == pytest.approx(4.0)
    await one.close()
    await two.close()


def test_this_machine_has_all_clocks() -> None:
    machine = Machine()
    assert machine.boot() == Machine().boot()
    assert machine.up() > 0
    assert machine.wall() > 1.7e9
