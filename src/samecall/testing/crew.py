"""Worker processes that do one task at the same moment, and tell how it went.

Started with `spawn`, so each one is a new interpreter, as in a fleet. Messages are plain data as
MessagePack over a pipe. The workers never see Ctrl-C: who started them decides, and a worker ends
by itself when that process is gone.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

import msgspec

from samecall._errors import SamecallError

__all__ = ["Crew", "Line", "Task", "WorkerLost", "interrupts_held"]

_ENDING = 2.0  # seconds that a worker gets to end in good order
_SAID, _LAST_WORDS = "said", "failed"


class WorkerLost(SamecallError):
    """A worker process ended before its work was done, or told nothing for too long."""


class Line:
    """A worker's line to the process that started it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._heard: asyncio.Queue[Any] = asyncio.Queue()

    def tell(self, message: Any) -> None:
        """Send plain data."""
        self._connection.send_bytes(msgspec.msgpack.encode((_SAID, message)))

    async def hear(self) -> Any:
        """The next message, as long as it takes."""
        return await self._heard.get()

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take in what is said, in a thread of its own; ends the process when the other end has."""
        with suppress(RuntimeError):  # the loop has ended, and so has the work
            while True:
                try:
                    data = self._connection.recv_bytes()
                except (EOFError, OSError):
                    os._exit(1)  # nobody is left who could use the work
                loop.call_soon_threadsafe(self._heard.put_nowait, msgspec.msgpack.decode(data))


Task = Callable[[Line, Any], Coroutine[Any, Any, None]]


class Crew:
    """One worker process per setup, each running `task(line, setup)` in an event loop of its own.

    task: an async function at the top level of a module. setups: plain data, one per worker.
    Used as a context manager: the block begins with all processes started (not yet ready), and
    none is left after it.
    """

    def __init__(self, task: Task, setups: Sequence[Any]) -> None:
        self._task = task
        self._setups = setups
        self._workers: list[BaseProcess] = []
        self._lines: list[Connection] = []
        self._gone: set[int] = set()

    def __enter__(self) -> Self:
        try:
            # before Python 3.13 its start lets every signal through again, so it comes first
            resource_tracker.ensure_running()
            with interrupts_held():
                for index, setup in enumerate(self._setups):
                    self._start(index, setup)
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.end()

    def _start(self, index: int, setup: Any) -> None:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        worker = spawn.Process(
            target=_work,
            args=(self._task, msgspec.msgpack.encode(setup), theirs),
            name=f"worker {index}",
            daemon=True,
        )
        worker.start()
        theirs.close()
        self._workers.append(worker)
        self._lines.append(ours)

    @property
    def pids(self) -> list[int]:
        """The process ids, in the order of the setups."""
        return [worker.pid or 0 for worker in self._workers]

    @property
    def living(self) -> list[int]:
        """The workers that have not been killed."""
        return [at for at in range(len(self._workers)) if at not in self._gone]

    def tell(self, message: Any, index: int | None = None) -> None:
        """Send plain data to all workers that live, or to one."""
        data = msgspec.msgpack.encode(message)
        for at in self.living:
            if index in (None, at):
                with suppress(BrokenPipeError):  # its end is seen, and told, by `hear`
                    self._lines[at].send_bytes(data)

    def kill(self, index: int) -> None:
        """End one worker at once (SIGKILL); it is not missed."""
        self._gone.add(index)
        self._workers[index].kill()
        self._workers[index].join()

    def hear(self, seconds: float) -> Iterator[tuple[int, Any]]:
        """What comes in within `seconds`, as (worker, message); ends early with the first batch.

        Raises `WorkerLost` for a worker that failed or ended.
        """
        ready = wait([self._lines[at] for at in self.living], seconds)
        for at in self.living:
            if self._lines[at] in ready:
                yield at, self._receive(at)

    def gather(self, kind: str, seconds: float) -> list[Any]:
        """From every living worker one message `[kind, body]`: the bodies, in the workers' order.

        Other messages are dropped. Raises `WorkerLost`, also after `seconds`.
        """
        bodies: dict[int, Any] = {}
        end = time.monotonic() + seconds
        while missing := [at for at in self.living if at not in bodies]:
            left = end - time.monotonic()
            if left <= 0:
                names = ", ".join(map(str, missing))
                raise WorkerLost(f"worker {names} told no {kind!r} within {seconds:g} s")
            for at, message in self.hear(left):
                if message[0] == kind:
                    bodies[at] = message[1]
        return [bodies[at] for at in sorted(bodies)]

    def _receive(self, at: int) -> Any:
        try:
            kind, body = msgspec.msgpack.decode(self._lines[at].recv_bytes())
        except (EOFError, OSError):
            self._workers[at].join(_ENDING)
            raise WorkerLost(f"worker {at} ended ({_why(self._workers[at])})") from None
        if kind == _LAST_WORDS:
            raise WorkerLost(f"worker {at} failed: {body}")
        return body

    def end(self) -> None:
        """End all workers: SIGTERM cancels a task, SIGKILL ends one that does not heed it."""
        for worker in self._workers:
            worker.terminate()
        end = time.monotonic() + _ENDING
        for worker in self._workers:
            worker.join(max(0.0, end - time.monotonic()))
            if worker.is_alive():
                worker.kill()
                worker.join()
        for line in self._lines:
            line.close()
        self._workers, self._lines = [], []


@contextmanager
def interrupts_held() -> Generator[None]:
    """Hold back Ctrl-C; processes that are started in the block never see one.

    Without it a Ctrl-C in the terminal would reach every process of the group, and each would
    write its own traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _why(worker: BaseProcess) -> str:
    code = worker.exitcode
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _work(task: Task, setup: bytes, connection: Connection) -> None:
    line = Line(connection)
    try:
        asyncio.run(_with_line(task, line, msgspec.msgpack.decode(setup)))
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)
    except Exception as error:  # noqa: BLE001 - told to who started us, and the exit code says it too
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        words = f"{type(error).__name__}: {error} ({place})"
        with suppress(OSError):
            connection.send_bytes(msgspec.msgpack.encode((_LAST_WORDS, words)))
        sys.exit(1)


async def _with_line(task: Task, line: Line, setup: Any) -> None:
    loop, own = asyncio.get_running_loop(), asyncio.current_task()
    assert own is not None  # noqa: S101 - a coroutine runs in a task
    with suppress(NotImplementedError):  # Windows ends a process without asking it
        loop.add_signal_handler(signal.SIGTERM, own.cancel)
    threading.Thread(target=line.listen, args=(loop,), daemon=True).start()
    try:
        await task(line, setup)
    finally:
        # a SIGTERM from here on ends the process at once: while the loop closes, asyncio's own
        # handler would write a traceback
        with suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGTERM)
