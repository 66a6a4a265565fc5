"""The simulated server: the real model of the protocol, and a second opinion on all it says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from sim_history import Clear, Commit, Grant, History
from sim_loop import Time, at_once
from sim_plan import key_of, shown

from samecall._entry import STAMP_END, STAMP_START, Key
from samecall._errors import StoreUnreachable
from samecall._memory import MemoryStore
from samecall._ports import EPOCH_NONE, EPOCH_UNTOLD, SEEN_ANY, SEEN_NOTHING

__all__ = ["Server"]


class _StoreClock:
    def __init__(self, time: Time) -> None:
        self._time = time

    def now(self) -> float:
        return 5_000.0 + self._time.now


class _Ringer:
    """Stands where the bells of a `MemoryStore` hang; rings go over the network."""

    def __init__(self, ring: Callable[[Key, bytes], None]) -> None:
        self.ring = ring

    def __len__(self) -> int:
        return 0

    def heard(self, key: Key) -> int:
        """Few: no message is too much for them."""
        return 0

    def forget_all(self) -> None:
        """What a fork asks of bells; these hang in no process of their own."""


class Server:
    """Executes operations in the order of their coming; loses what it is told to lose."""

    def __init__(self, time: Time, history: History, ring: Callable[[Key, bytes], None]) -> None:
        self._clock = _StoreClock(time)
        self._time = time
        self._history = history
        self._ringer = _Ringer(ring)
        self.up = True
        self._names: dict[bytes, str] = {}
        self._latest: dict[Key, Grant] = {}
        self._gone: dict[Key, str] = {}
        self._generations = defaultdict[tuple[str, str], bytes](bytes)
        self._wipe()

    def _wipe(self) -> None:
        self._memory = MemoryStore(clock=self._clock)
        self._memory._bells = self._ringer  # type: ignore[assignment]
        # the second opinion
        self._values: dict[Key, tuple[bytes, float]] = {}
        self._errors: dict[Key, float] = {}
        self._leases: dict[Key, tuple[bytes, float]] = {}
        self._tombs: dict[Key, tuple[bytes, float]] = {}

    # --- what processes ask --------------------------------------------------------------------

    def execute(self, proc: str, op: str, key: Key | str, args: tuple[Any, ...]) -> Any:
        """Do one operation and check it; raises `StoreUnreachable` while the server is down."""
        if not self.up:
            raise StoreUnreachable("refused")
        if op == "ping":
            return None
        if op == "clear":
            self._cleared(proc, str(key))
            return at_once(self._memory.clear(str(key)))
        assert isinstance(key, Key)
        expected = getattr(self, f"_{op}")(proc, key, *args)
        result = at_once(getattr(self._memory, op)(key, *args))
        got: Any = type(result).__name__ if op in ("acquire", "get") else result
        token = self.name(args[0]) if op not in ("get", "forget") else ""
        self._history.tell(self._time.now, f"store {proc} {op} {shown(key)} {token}: {got}")
        if op == "forget":
            self._bury(key, *args)
        elif got == "Lead" and result.epoch != self._epoch(key):
            got = f"Lead of another epoch for {token}"
        if got != expected:
            self._history.violated(f"{op} by {token} of {proc} gave {got}; protocol: {expected}")
        return result

    def baptise(self, token: bytes, name: str) -> str:
        """Give a random token a name that is the same in every run."""
        if token not in self._names:
            taken = sum(known.partition("/")[0] == name for known in self._names.values())
            self._names[token] = f"{name}/{taken + 1}" if taken else name
        return self._names[token]

    def name(self, token: bytes) -> str:
        """What a token is called in the history."""
        return self._names[token]

    def generations(self, namespace: str, tags: Sequence[str]) -> tuple[bytes, ...]:
        """What processes know of them."""
        # none is like another's, or like one of another name
        return tuple(
            f"{namespace}/{tag}/".encode() + self._generations[namespace, tag] for tag in tags
        )

    # --- the protocol once more ----------------------------------------------------------------

    def _get(self, proc: str, key: Key) -> str:
        return "NoneType" if self._value(key) is None else "Found"

    def _acquire(self, proc: str, key: Key, token: bytes, seen: bytes, lease: float) -> str:
        value, now = self._value(key), self._clock.now()
        if value is not None and (seen == SEEN_NOTHING or seen not in (SEEN_ANY, value)):
            return "Hit"
        if self._errors.get(key, now) > now and seen != SEEN_ANY:
            return "Failed"
        held = self._lease(key)
        if held is not None and held != token:
            return "Wait"
        self._leases[key] = (token, now + lease)
        name = self.name(token)
        if name not in self._history.grants:
            previous = self._latest.get(key)
            if value is not None:
                why = "refresh" if seen == SEEN_ANY else "refused"
            elif previous is None:
                why = "first"
            else:
                why = self._gone.get(key, "") if previous.end == "committed" else previous.end
            grant = Grant(name, proc, shown(key), self._time.now, why, previous, value or b"")
            self._history.grants[name] = self._latest[key] = grant
        elif held is None:
            self._history.grants[name].tenures += 1
        return "Lead"

    def _renew(self, proc: str, key: Key, token: bytes, lease: float) -> bool:
        if self._lease(key) != token:
            return False
        self._leases[key] = (token, self._clock.now() + lease)
        return True

    def _commit(
        self, proc: str, key: Key, token: bytes, seen: bytes, data: bytes, ttl: float, epoch: bytes
    ) -> bool:
        held, now, value = self._lease(key), self._clock.now(), self._value(key)
        under = held == token and epoch != EPOCH_UNTOLD
        again = not under and value == data[STAMP_START:STAMP_END]  # sent twice: stored already
        changed = not under and ((value or SEEN_NOTHING) != seen or held not in (None, token))
        if again or changed or self._epoch(key) not in (EPOCH_NONE, epoch):
            if held == token:
                self._end(key, "refused")
            return again
        stamp = data[STAMP_START:STAMP_END]
        self._values[key] = (stamp, now + ttl)
        self._errors.pop(key, None)
        if held is not None:
            self._end(key, "committed")
        made = self._names.get(stamp, "")  # a claim's token is the stamp of what it makes
        lease = self.name(token)
        self._history.commits.append(Commit(self._time.now, shown(key), made, lease, stamp))
        return True

    def _fail(
        self, proc: str, key: Key, token: bytes, data: bytes, ttl: float, epoch: bytes
    ) -> bool:
        if self._lease(key) != token:
            return False
        if self._epoch(key) not in (EPOCH_NONE, epoch):
            self._end(key, "refused")
            return False
        self._errors[key] = self._clock.now() + ttl
        self._end(key, "failed")
        return True

    def _release(self, proc: str, key: Key, token: bytes) -> bool:
        if self._lease(key) != token:
            return False
        owner = self._history.grants[self._names[token]].proc
        self._end(key, "released" if owner == proc else "deposed")
        return True

    def _forget(self, proc: str, key: Key, tombstone: float) -> None:
        if self._values.pop(key, None) is not None:
            self._gone[key] = "forgotten"
        self._errors.pop(key, None)
        self._end(key, "forgotten")

    def _bury(self, key: Key, tombstone: float) -> None:
        # an epoch is random: the model's is taken for granted, that it is another one is not
        now = self._clock.now()
        epoch, before = self._memory._leases.epoch(key, now), self._tombs.get(key, (b"", now))
        if tombstone and epoch in (EPOCH_NONE, before[0]):
            self._history.violated(f"forget of {shown(key)} left no epoch of its own")
        self._tombs[key] = (epoch, max(before[1], now + tombstone))

    def _epoch(self, key: Key) -> bytes:
        now = self._clock.now()
        epoch, ends = self._tombs.get(key, (EPOCH_NONE, now))
        return epoch if now < ends else EPOCH_NONE

    def _cleared(self, proc: str, namespace: str) -> None:
        self._history.clears.append(Clear(self._time.now, namespace, proc, done=True))
        self._generations[namespace, ""] += b"+"
        for key in [key for key in self._values if key.namespace == namespace]:
            del self._values[key]
            self._gone[key] = "cleared"
        for key in [key for key in self._errors if key.namespace == namespace]:
            del self._errors[key]

    def _value(self, key: Key) -> bytes | None:
        value = self._values.get(key)
        if value is not None and self._clock.now() >= value[1]:
            del self._values[key]
            self._gone[key] = "expired value"
            return None
        return None if value is None else value[0]

    def _lease(self, key: Key) -> bytes | None:
        held = self._leases.get(key)
        if held is not None and self._clock.now() >= held[1]:
            self._end(key, "expired", held[1] - 5_000.0)
            return None
        return None if held is None else held[0]

    def _end(self, key: Key, how: str, at: float | None = None) -> None:
        held = self._leases.pop(key, None)
        grant = self._history.grants.get(self._names[held[0]]) if held is not None else None
        if grant is not None:
            grant.end, grant.ended = how, self._time.now if at is None else at

    # --- what befalls it -----------------------------------------------------------------------

    def restart(self) -> None:
        """Everything is lost."""
        for key in tuple(self._values):
            self._gone[key] = "restarted"
        for key in tuple(self._leases):
            if self._lease(key) is not None:
                self._end(key, "restarted")
        self._wipe()

    def evict(self, key: Key) -> None:
        """The value goes."""
        if self._value(key) is not None:
            self._gone[key] = "evicted"
            del self._values[key]
        self._memory.drop(key)

    def steal(self, key: Key) -> None:
        """The lease goes."""
        if self._lease(key) is not None:
            self._end(key, "stolen")
        self._memory._leases.free(key)

    def damage(self, key: Key, other: Key | None) -> bool:
        """Other bytes take the place of the value: garbage, or another key's value."""
        data = b"\xff" * 80
        if other is not None:
            found = at_once(self._memory.get(other))
            if found is None:
                return False
            data = found.data
        at_once(self._memory.set(key, data, 60.0))
        stamp = data[STAMP_START:STAMP_END]
        self._values[key] = (stamp, self._clock.now() + 60.0)
        self._history.foreign.add((shown(key), stamp))
        return True

    def leases(self) -> int:
        """How many leases live now."""
        for key in tuple(self._leases):
            self._lease(key)
        return max(len(self._leases), self._memory.statistics().leases)


def other_key(plan_keys: list[str], key: str) -> Key | None:
    """Another key of the run."""
    space = key.partition("/")[0]  # first of those whose generations are the same
    others = sorted(
        (name for name in plan_keys if name != key),
        key=lambda name: name.partition("/")[0] != space,
    )
    return key_of(others[0]) if others else None
