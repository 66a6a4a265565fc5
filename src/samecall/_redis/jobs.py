"""What is asked of a server: one key's part of a script, and the command that carries several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from redis.exceptions import MovedError

from samecall._errors import StoreError, StoreUnusable
from samecall._prompt import Reply, Told
from samecall._redis.link import Command, LinkLost
from samecall._redis.scripts import Script

__all__ = ["Group", "Job"]


class Job(msgspec.Struct, eq=False):
    """One key's part of a script (or, without a script, a whole command in `args`).

    Every script may be sent twice, so a lost reply is asked for again. One that must `settle`
    something goes out even if its caller has gone and the lane's task is cancelled. A thousand wait
    together where there is a crowd, and each object of theirs that the collector counts makes it
    look through them all the sooner: so one name stands for itself, and `args` are shared.
    """

    script: Script | None
    keys: str | tuple[str, ...]
    args: Command
    reply: Reply
    settles: bool
    joins: bytes = b""
    """What a `joined` script has in one string with the others' that share the command."""
    read: Callable[[Any], Any] | None = None
    """Makes of a reply what is asked for; raises `StoreError`."""
    told: Told | None = None
    """Hears what comes of it, whether anybody waits or not."""
    resent: bool = False
    asking: bool = False
    """A cluster's node sent it here and keeps the slot (ASK)."""

    def answer(self, reply: Any) -> None:
        late = self.reply.done()
        if late and self.told is None:
            return
        try:
            answer = reply if self.read is None else self.read(reply)
        except StoreError as error:
            self.fail(error)
            return
        if self.told is not None:
            self.told(answer, late=late)
        if not late:
            self.reply.set_result(answer)

    def fail(self, error: StoreError) -> None:
        late = self.reply.done()
        if self.told is not None:
            self.told(error, late=late)
        if not late:
            self.reply.set_exception(type(error)(*error.args))  # a traceback of each one's own


class Group:
    """Jobs that share one command."""

    __slots__ = ("jobs", "nonce", "script")

    def __init__(self, job: Job, nonce: int) -> None:
        self.script = job.script
        self.jobs = [job]
        self.nonce = nonce

    @property
    def asking(self) -> bool:
        return self.jobs[0].asking

    def takes(self, job: Job) -> bool:
        script = self.script
        if script is None or script is not job.script or len(self.jobs) >= script.merge:
            return False
        return len(job.joins) == len(self.jobs[0].joins)

    def command(self, *, whole: bool = False) -> Command:
        script = self.script
        if script is None:
            return self.jobs[0].args
        how = (b"EVAL", script.source) if whole else (b"EVALSHA", script.sha)
        keys: list[str] = []
        for job in self.jobs:
            if isinstance(job.keys, str):
                keys.append(job.keys)
            else:
                keys.extend(job.keys)
        args = self._joined() if script.joined else [arg for job in self.jobs for arg in job.args]
        return (*how, len(keys), *keys, self.nonce, *script.head, *args)

    def _joined(self) -> Command:
        alike = len({job.args for job in self.jobs}) == 1
        rest = [arg for job in (self.jobs[:1] if alike else self.jobs) for arg in job.args]
        return (len(self.jobs), b"".join([job.joins for job in self.jobs]), *rest)

    def replies(self, reply: Any) -> list[Any] | StoreError:
        """One reply per job, or what is wrong with them all."""
        if isinstance(reply, MovedError):  # a cluster's own lanes follow these
            return StoreUnusable("Redis is a node of a cluster, which is redis+cluster://host:port")
        if isinstance(reply, Exception):
            return StoreError(f"Redis answered: {reply}")
        if self.script is None:
            return [reply]
        # the nonce proves that this is the answer to this command and to no other
        match reply:
            case [nonce, *answers] if nonce == b"%d" % self.nonce:
                if self.script.pairs:
                    answers = _paired(answers)
                if len(answers) == len(self.jobs):
                    return answers
            case _:
                pass
        return LinkLost(f"Redis gave no answer to {self.script.name}: {reply!r:.80}")


def _paired(flat: list[Any]) -> list[Any]:
    return [
        (one, two) if isinstance(one, int) else one
        for one, two in zip(flat[::2], flat[1::2], strict=False)
    ]
