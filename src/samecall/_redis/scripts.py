"""The Lua scripts, each read once from its file."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha1
from importlib.resources import files

__all__ = [
    "ACQUIRE",
    "COMMIT",
    "FAIL",
    "FORGET",
    "GENERATIONS",
    "LOOK",
    "PING",
    "POST",
    "POSTED",
    "PUT",
    "RECORD",
    "RELEASE",
    "RENEW",
    "Script",
]

_REPLY_BYTES = 4 * 2**20  # values in one reply, so that one batch can't fill the memory


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua file; `merge` keys may share one EVALSHA, `head` precedes their arguments.

    pairs: two replies for each key, the second of which counts where the first is a number.
    joined: what each key `joins` is sent as one string, so those that share a command have equal
    lengths; and its other argument once, if it is the same for all.
    """

    name: str
    merge: int = 1
    head: tuple[int, ...] = ()
    pairs: bool = False
    joined: bool = False
    source: bytes = field(init=False, repr=False)
    sha: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        source = (files("samecall._redis") / "lua" / f"{self.name}.lua").read_bytes()
        object.__setattr__(self, "source", source)
        # Redis names a script by its SHA-1; nothing rests on its strength
        digest = sha1(source, usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest.encode())


ACQUIRE = Script("acquire", merge=256, head=(_REPLY_BYTES,), pairs=True, joined=True)
COMMIT = Script("commit")
FAIL = Script("fail")
FORGET = Script("forget")
GENERATIONS = Script("generations", merge=256)
LOOK = Script("look", merge=256, head=(_REPLY_BYTES,))
PING = Script("ping")
POST = Script("post")
POSTED = Script("posted")
PUT = Script("put")
RECORD = Script("record")
RELEASE = Script("release")
RENEW = Script("renew", merge=256)
