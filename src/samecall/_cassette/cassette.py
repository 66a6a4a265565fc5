"""`Cassette`: a cache that is a file of recorded calls."""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

from samecall._arguments import Mode, check_tags
from samecall._cache import Cache
from samecall._cassette.nearest import as_json, differing
from samecall._cassette.recorder import LIFE, Recorder
from samecall._cassette.tape import Recorded, add_to_tape, read_tape, replace_tape, state_of
from samecall._entry import Key, decode_entry
from samecall._envelopes import PLAIN
from samecall._errors import CacheMiss, ConfigurationError, Undecodable
from samecall._policy import Policy
from samecall._ports import Codec, Observer, StreamCodec

__all__ = ["Cassette", "CassetteMode"]

T = TypeVar("T")
CassetteMode = Literal["replay", "record", "rewrite"]
_KEEPS_ALL: dict[str, Any] = {
    "variants": 1,
    "ttl": LIFE,
    "ttl_jitter": 0.0,
    "lifetime": None,
    "max_age": None,
    "early_refresh": 0.0,
    "should_store": None,
    "max_entry": 2**31,
    "on_abandon": "finish",
}
_LEFT = 60.0
"""Seconds in which a stream that its consumer has left is recorded to its end."""
_SAVE_EVERY = 1.0
_NOTED = 10_000


class Cassette(Cache):
    """Answers calls from a file of recorded ones, so that tests run offline, everywhere the same.

    path: the file, JSON Lines to be kept with the tests; a `disk://` URL names it as well.
    mode: "replay" answers what is recorded and raises `CacheMiss` for all else, whatever
    `cache_mode` says: no provider is called. "record" answers what is recorded, calls for the rest
    and adds it to the file. "rewrite" calls for everything once and replaces the file.

    Account and endpoint separate nothing in it, so that a dummy key will do. It keeps the requests
    beside the answers (no other cache does), to tell what differs when a call is not recorded.
    Raises `ConfigurationError` for a file that is missing, damaged, or of a newer format.
    """

    keeps_requests = True

    def __init__(
        self,
        path: str | Path,
        *,
        mode: CassetteMode = "replay",
        namespace: str = "default",
        policy: Policy | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        if mode not in get_args(CassetteMode):
            known = ", ".join(map(repr, get_args(CassetteMode)))
            raise ConfigurationError(f"mode takes one of {known}; got {mode!r:.60}")
        self.path = _path(path)
        self.mode: CassetteMode = mode
        self._tape: dict[Key, Recorded] = {}
        self._new: dict[Key, Recorded] = {}
        self._asked: dict[Key, Any] = {}
        self._saving = threading.Lock()
        self._saved = time.monotonic()
        self._state = state_of(self.path)
        if mode == "replay" and not self.path.exists():
            raise ConfigurationError(
                f'there is no cassette {self.path}; record it with mode="record" '
                "(in pytest: --samecall-record)"
            )
        if mode != "rewrite" and self.path.exists():
            self._tape = read_tape(self.path)
        self._store = Recorder(self._heard)
        super().__init__(
            self._store, namespace=namespace, policy=policy, l1=None, observers=observers
        )
        self._rooms.envelopes = PLAIN  # a tape is read by people, too
        for key, recorded in self._tape.items():
            self._store.lay(key, recorded.answer)
        if mode != "replay":
            atexit.register(self.save)

    # --- calls --------------------------------------------------------------------------------

    async def get_or_call(
        self,
        key: str | bytes | Key,
        call: Callable[[], Awaitable[T]],
        *,
        policy: Policy | None = None,
        codec: Codec[T] | None = None,
        mode: Mode = "use",
        tags: Collection[str] = (),
        **more: Any,
    ) -> T:
        """See `Cache.get_or_call`."""
        at, tags = self._noted(key, more.get("asked")), check_tags(tags)
        self._lay(at, tags)
        policy, mode = self._one(policy), self._mode(mode)
        try:
            answer = await super().get_or_call(
                at, call, policy=policy, codec=codec, mode=mode, tags=tags, **more
            )
        except CacheMiss:
            raise self.miss(at) from None
        await self._settled(at)
        return answer

    async def stream(
        self,
        key: str | bytes | Key,
        call: Callable[[], Awaitable[AsyncIterator[T]]],
        *,
        policy: Policy | None = None,
        codec: StreamCodec[T] | None = None,
        mode: Mode = "use",
        tags: Collection[str] = (),
        **more: Any,
    ) -> AsyncGenerator[T]:
        """See `Cache.stream`."""
        at, tags = self._noted(key, more.get("asked")), check_tags(tags)
        self._lay(at, tags)
        policy, mode = self._one(policy), self._mode(mode)
        items = super().stream(at, call, policy=policy, codec=codec, mode=mode, tags=tags, **more)
        try:
            async with aclosing(items):
                async for item in items:
                    yield item
        except CacheMiss:
            raise self.miss(at) from None
        except GeneratorExit:  # who leaves early does so in a replay, too, and asks for it there
            await self._finished(at)
            raise
        await self._settled(at)

    async def _settled(self, at: Key) -> None:
        # a test's event loop may end with the test, and take along what is not on the tape yet
        if self.mode != "replay":
            await self._rooms.here().flights.settled(at)

    async def _finished(self, at: Key) -> None:
        flight = self._rooms.here().flights.leader(at)
        if self.mode != "replay" and flight is not None and flight.task is not None:
            await asyncio.wait({flight.task}, timeout=_LEFT)
        await self._settled(at)

    async def refuse(self, key: Key, stamp: bytes) -> None:
        """Nothing: what is recorded is what is answered, whoever can read it."""

    def _one(self, policy: Policy | None) -> Policy:
        # what is drawn is not the same on every machine, no recorded call grows old, and an answer
        # that an application does not want to keep has to be there when its tests run offline
        return (policy or self.policy).replace(**_KEEPS_ALL)

    def _mode(self, mode: Mode) -> Mode:
        if self.mode == "replay" or mode == "only":
            return "only"
        return "use"  # what is not recorded could not be replayed

    def _lay(self, key: Key, tags: tuple[str, ...]) -> None:
        # the tape stands for the provider: what was forgotten is asked of it once more
        recorded = self._new.get(key) or self._tape.get(key)
        if recorded is not None:
            self._store.lay(key, recorded.answer, tags)

    def report_uncached(self, reason: str) -> None:
        """Count what cannot be recorded; where nothing may be called, `CacheMiss`."""
        self._refuse(reason)
        super().report_uncached(reason)

    def _refuse(self, reason: str) -> None:
        if self.mode == "replay":
            raise CacheMiss(f"cassette {self.path}: {reason}")

    # --- requests -----------------------------------------------------------------------------

    def note(self, key: Key, request: dict[str, Any]) -> None:
        """What `key` asks, in plain data or nearly so; kept if the call is recorded."""
        if len(self._asked) >= _NOTED:
            self._asked.pop(next(iter(self._asked)))
        self._asked[key] = as_json(request)

    def _noted(self, key: str | bytes | Key, asked: Any) -> Key:
        at = self._key(key)
        if isinstance(key, str):
            self.note(at, {"key": key})
        elif isinstance(asked, dict) and at not in self._asked:  # a client's call has told it
            self.note(at, cast("dict[str, Any]", asked))
        return at

    def miss(self, key: Key) -> CacheMiss:
        """Why a call is not answered: where it differs from the recorded call most like it."""
        request = self._asked.get(key)
        paths = [] if request is None else differing(request, self._requests())
        like = f"; the recorded call most like it differs in {', '.join(paths)}" if paths else ""
        return CacheMiss(f"cassette {self.path} has no such call{like}")

    def _requests(self) -> list[Any]:
        return [recorded.request for recorded in (*self._tape.values(), *self._new.values())]

    # --- the file -----------------------------------------------------------------------------

    async def _heard(self, key: Key, data: bytes) -> None:
        try:
            entry = decode_entry(key, data, left=LIFE, now=0.0)
        except Undecodable:
            return
        self._new[key] = Recorded(self._asked.get(key), entry.payload)
        if self.mode == "record" and time.monotonic() - self._saved >= _SAVE_EVERY:
            self._saved = time.monotonic()
            await self._save_aside()

    def save(self) -> None:
        """Write what is new to the file, all of it or nothing; what is recorded twice, once."""
        with self._saving:
            new = dict(self._new)
            if not new:
                return
            if self.mode == "rewrite":
                self._state = replace_tape(self.path, {**self._tape, **new}, self._state)
            else:
                add_to_tape(self.path, new)
            self._tape |= new
            for key, recorded in new.items():  # in the file; what was answered meanwhile is not
                if self._new.get(key) is recorded:
                    del self._new[key]

    async def _save_aside(self) -> None:
        try:
            await asyncio.to_thread(self.save)
        except RuntimeError:  # the interpreter ends: there are no more threads
            self.save()

    async def aclose(self) -> None:
        """As of any cache; writes the file."""
        await super().aclose()
        await self._save_aside()
        if self.mode != "replay":
            atexit.unregister(self.save)


def _path(path: str | Path) -> Path:
    if isinstance(path, str) and path.startswith("disk://"):
        from samecall._disk import place_of

        return place_of(path).path
    if not isinstance(path, (str, PathLike)) or not fspath(path):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(
            f"path takes the path of a file; got {type(path).__name__} {path!r:.60}"
        )
    return Path(path).absolute()
