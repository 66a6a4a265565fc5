"""A lane: what one tick of the loop asks for goes to Redis together.

One task per lane does the I/O, and only while there is something to do. Callers await futures, so
their cancellation never reaches a socket. While one batch is in flight the next one gathers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from redis.exceptions import NoScriptError

from samecall._errors import StoreError, StoreRefused
from samecall._prompt import Ending, Told
from samecall._redis.jobs import Group, Job
from samecall._redis.link import Command, Link, LinkLost, Unconnected
from samecall._redis.scripts import Script

__all__ = ["Lane"]

_JOBS = 1024
_BYTES = 4 * 2**20
_LATER = [b"M"]


class Lane:
    """A queue in front of one link; belongs to one event loop.

    `stray` is asked about every job that this server did not do, with the reason: whether somebody
    else takes care of it. A lane that has one leads to a node of a cluster, where no two calls may
    share a command.
    """

    def __init__(
        self, link: Link, name: str, stray: Callable[[Job, Exception], bool] | None = None
    ) -> None:
        self._link = link
        self._name = name
        self._stray = stray
        self._queue: deque[Job] = deque()
        self._flying: list[Job] = []
        self._task: asyncio.Task[None] | None = None
        self._nonce = 0
        self._closed = False

    @property
    def busy(self) -> int:
        """Jobs that are queued or in flight."""
        return len(self._queue) + len(self._flying)

    def ask(
        self,
        script: Script | None,
        keys: str | tuple[str, ...],
        args: Command,
        *,
        settles: bool = False,
        joins: bytes = b"",
        read: Callable[[Any], Any] | None = None,
        told: Told | None = None,
    ) -> asyncio.Future[Any]:
        """Queue one job for the next batch; the future has its reply or a `StoreError`."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.put(Job(script, keys, args, future, settles, joins, read, told))
        return future

    def put(self, job: Job) -> None:
        """Queue a job that is there already; `StoreError` if the lane is closed."""
        if self._closed:
            raise StoreError("this store is closed")
        self._queue.append(job)
        if self._task is None:
            self._start()

    def probe(self, script: Script, name: str) -> asyncio.Future[Any]:
        """Run a script at the key `name`, to see whether the server takes writes."""
        return self.ask(script, (name,), ())

    async def scan(self) -> tuple[Lane, ...]:
        """The lanes over which a SCAN sees every key; one's keys may share a command."""
        return (self,)

    async def unlink(self, names: list[bytes]) -> Any:
        """Delete keys; how many there were."""
        return await self.ask(None, (), (b"UNLINK", *names))

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        # not by the loop's task factory: an eager task would start before the tick has gathered
        self._task = asyncio.Task(self._run(), loop=loop, name=f"samecall-redis-{self._name}")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        # A callback, not a `finally`: a task that is cancelled before its first step runs neither.
        error = None if task.cancelled() else task.exception()
        if self._task is not task:
            return
        self._task = None
        flying, self._flying = self._flying, []
        for job in reversed(flying):
            if job.settles and not job.resent and not job.reply.done():
                job.resent = True
                self._queue.appendleft(job)
            else:
                why = Ending("its loop is closing") if error is None else StoreError(f"{error}")
                job.fail(why)
        if any(not job.reply.done() for job in self._queue):
            self._start()  # at the loop's end too: a flight's handler waits for its RELEASE
        else:
            self._queue.clear()

    async def _run(self) -> None:
        while batch := self._take():
            await self._fly(batch)
            self._flying = []
        self._task = None

    def _take(self) -> list[Group]:
        groups: list[Group] = []
        size = 0
        while self._queue and len(self._flying) < _JOBS and size < _BYTES:
            job = self._queue.popleft()
            if job.reply.done() and not job.settles:
                # nobody waits, and nothing was sent: leave no lease behind
                job.fail(StoreError("nobody waited, and it was not sent"))
                continue
            self._flying.append(job)
            if job.read is None:  # else a question, which is short
                size += sum(len(arg) for arg in job.args if not isinstance(arg, int))
            if self._stray is None and groups and groups[-1].takes(job):
                groups[-1].jobs.append(job)
            else:
                self._nonce += 1
                groups.append(Group(job, self._nonce))
        return groups

    async def _fly(self, groups: list[Group]) -> None:
        try:
            replies = await self._exchange(groups)
        except (Unconnected, StoreRefused) as error:
            met, self._queue = (*self._flying, *self._queue), deque()
            self._refuse(met, error)  # they would all meet the same
            return
        except StoreError as error:
            self._refuse(self._flying, error)
            return
        for group, reply in zip(groups, replies, strict=True):
            await self._deliver(group, reply)

    def _refuse(self, jobs: Iterable[Job], error: StoreError) -> None:
        for job in jobs:
            if self._stray is None or not self._stray(job, error):
                job.fail(error)

    async def _exchange(self, groups: list[Group]) -> list[Any]:
        try:
            replies = await self._send(groups)
        except LinkLost:
            # every job may be sent twice; an idle connection that the server closed ends here
            replies = await self._send(groups)
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            again = await self._send([groups[i] for i in unknown], whole=True)
            for i, reply in zip(unknown, again, strict=True):
                replies[i] = reply
        return replies

    async def _send(self, groups: list[Group], *, whole: bool = False) -> list[Any]:
        if not any(group.asking for group in groups):
            return await self._link.exchange([group.command(whole=whole) for group in groups])
        commands: list[Command] = []
        for group in groups:
            if group.asking:
                commands.append((b"ASKING",))
            commands.append(group.command(whole=whole))
        replies = await self._link.exchange(commands)
        return [each for each, sent in zip(replies, commands, strict=True) if sent != (b"ASKING",)]

    async def _deliver(self, group: Group, reply: Any) -> None:
        if self._stray is not None and isinstance(reply, Exception):
            group.jobs[:] = [job for job in group.jobs if not self._stray(job, reply)]
        answers = group.replies(reply)
        if isinstance(answers, StoreError):
            if isinstance(answers, LinkLost):
                await self._link.drop()  # what else lies on this connection, nobody knows
            _fail(group.jobs, answers)
            return
        later: list[Job] = []
        for job, answer in zip(group.jobs, answers, strict=True):
            if answer == _LATER:
                later.append(job)
            else:
                job.answer(answer)
        self._queue.extendleft(reversed(later))

    async def aclose(self, limit: float) -> None:
        """Give what is under way `limit` seconds, then close the connection."""
        self._closed = True
        if self._task is not None and self._task.get_loop() is not asyncio.get_running_loop():
            self._task = None  # its loop has ended, and so has it
        if self._task is not None:
            await asyncio.wait([self._task], timeout=limit)
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait([task])
        _fail((*self._flying, *self._queue), StoreError("this store is closed"))
        self._flying, self._queue = [], deque()
        await self._link.drop()


def _fail(jobs: Iterable[Job], error: StoreError) -> None:
    for job in jobs:
        job.fail(error)
