"""Leaves word of a worker in the store, so that the whole fleet can be seen: `samecall top`."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from samecall._board import Board
from samecall._breaker import Breaker
from samecall._errors import StoreError, StoreUnreachable
from samecall._events import Event, StoreFaulted
from samecall._failopen import FailOpenStore
from samecall._outcome import Counters
from samecall._report import Report, Row, encode_report
from samecall._tally import Tally
from samecall._waiting import patience

__all__ = ["KEPT", "Reporter", "Worker", "added", "board_of"]

KEPT = 3_600.0
"""Seconds that a worker's last word stays."""
_EVERY = 1.0


def board_of(store: object) -> Board | None:
    """Where the workers of a store leave word: of tiers, the far one; None where there is none."""
    shared: Any = getattr(store, "far", store)
    return shared if hasattr(shared, "post") else None


class Worker:
    """Who reports: this process, under a name that no other has."""

    def __init__(self) -> None:
        self.host, self.pid, self.started = socket.gethostname()[:64], os.getpid(), time.time()
        self.name = f"{self.host}-{self.pid}-{secrets.token_hex(3)}"

    def report(self, counters: Counters, tallies: Iterable[Tally]) -> Report:
        """What is told of all event loops of this process."""
        total = added(tallies)
        return Report(
            worker=self.name,
            host=self.host,
            pid=self.pid,
            started=self.started,
            counters={name: count for name, count in _items(counters) if count},
            models=total.models,
            latency=total.latency,
            hot=total.hottest(),
        )


def added(tallies: Iterable[Tally]) -> Tally:
    """The sum; other threads may go on counting meanwhile."""
    total = Tally()
    for tally in tallies:
        for name, row in tuple(tally.models.items()):
            _add(total.models.setdefault(name, Row()), row)
        for how, buckets in tuple(tally.latency.items()):
            into = total.latency.setdefault(how, {})
            for index, count in tuple(buckets.items()):
                into[index] = into.get(index, 0) + count
        total.heat_up(tally)
    return total


def _add(total: Row, row: Row) -> None:
    for how, count in tuple(row.ways.items()):
        total.ways[how] = total.ways.get(how, 0) + count
    total.provider_calls += row.provider_calls
    total.errors += row.errors
    total.paid_input += row.paid_input
    total.paid_output += row.paid_output
    total.saved_input += row.saved_input
    total.saved_output += row.saved_output


def _items(counters: Counters) -> list[tuple[str, int]]:
    return list(dataclasses.asdict(counters).items())


class Reporter:
    """Posts at most once a second, and only after something was counted. One event loop's.

    Off every call's way: what the store makes of it reaches nobody but an observer, and a store
    that refuses it (an ACL, say) is not asked again.
    """

    def __init__(
        self,
        store: FailOpenStore,
        namespace: str,
        name: str,
        report: Callable[[], Report],
        quiet: Callable[[], None],
        emit: Callable[[Event], None],
        timeout: float,
    ) -> None:
        self._store, self._namespace, self._name = store, namespace, name
        self._report, self._quiet, self._emit, self._timeout = report, quiet, emit, timeout
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._refused = False

    def wake(self) -> None:
        """Something was counted: post within a second."""
        if self._timer is None and not self._refused:
            self._timer = asyncio.get_running_loop().call_later(_EVERY, self._due)

    def _due(self) -> None:
        self._timer = None
        self._quiet()
        if self._task is not None and not self._task.done():
            self.wake()  # a store that is slow gets no second one meanwhile
        else:
            self._task = asyncio.get_running_loop().create_task(self._post())

    async def _post(self) -> None:
        board = board_of(self._store.store)
        if board is None or self._store.state is Breaker.OPEN:
            return
        try:
            await self._send(board, encode_report(self._report()))
        except StoreUnreachable:
            return  # calls meet the same, and tell of it
        except StoreError as error:
            self._refused = True
            self._emit(StoreFaulted("report", str(error)))
        except Exception as error:  # noqa: BLE001 - nobody waits for this, and it must harm nobody
            self._refused = True
            self._emit(StoreFaulted("report", f"{type(error).__name__}: {error}"))

    async def _send(self, board: Board, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(board.post(self._namespace, self._name, data, KEPT))
        task.add_done_callback(_retrieve)
        if await patience(task, self._timeout):
            if task.result():
                self._emit(StoreFaulted("report", "what stood there was no list, and is replaced"))
            return
        task.cancel()
        raise StoreUnreachable("no answer")

    async def aclose(self) -> None:
        """Post what is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._quiet()
            await self._post()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)


def _retrieve(task: asyncio.Task[Any]) -> None:
    # one that was given up may end in any way, and nobody looks
    if not task.cancelled():
        task.exception()
