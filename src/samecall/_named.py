"""The part of a cache that is asked for by name: to look at what is kept, and to forget it."""

from __future__ import annotations

from typing import TypeVar, cast

from samecall._arguments import Mode, check_namespace, check_tags
from samecall._codec import PlainCodec
from samecall._entry import Key
from samecall._forgetting import Forgetting
from samecall._key import key_from
from samecall._policy import Policy
from samecall._ports import Codec, EntryUndecodable
from samecall._rooms import Rooms
from samecall._several import Several, Turns, variants

__all__ = ["PLAIN_CODEC", "Named"]

T = TypeVar("T")
PLAIN_CODEC = PlainCodec()


class Named:
    """What `Cache` offers to those who know a key, a tag or a namespace."""

    namespace: str
    policy: Policy
    secret: bytes | None
    _rooms: Rooms
    _forgetting: Forgetting
    _turns: Turns

    async def peek(
        self,
        key: str | bytes | Key,
        *,
        codec: Codec[T] | None = None,
        policy: Policy | None = None,
    ) -> T | None:
        """The fresh stored answer (of several, the first), or None; calls nobody.

        policy: as in `get_or_call`. Raises `StoreError`.

        A key of `samecall.instructor.key_of` knows how to read its answer; for others than plain
        data a `codec` is needed.
        """
        reads: Codec[T] = codec or getattr(key, "codec", None) or cast("Codec[T]", PLAIN_CODEC)
        room = self._rooms.here()
        for at in self._variants(key, policy):
            await room.settled(at)  # what was answered here just now is on its way there
            found = await room.store.get(at, self.policy.op_timeout)
            entry = await room.find(at, policy or self.policy, found)
            if entry is not None:
                try:
                    return reads.decode(entry.payload)
                except Exception as error:  # noqa: BLE001 - as in a call: it is not there
                    room.emit(EntryUndecodable(at, type(error).__name__))
        return None

    async def forget(self, key: str | bytes | Key, *, policy: Policy | None = None) -> None:
        """Nothing that was begun before comes back after: entry, error and flights of `key`.

        policy: as in `get_or_call`; it says how many variants there may be. Those who wait for a
        flight already still get its answer. Raises `StoreError`.
        """
        for at in self._variants(key, policy):
            await self._forgetting.one(at)

    async def refuse(self, key: Key, stamp: bytes) -> None:
        """Let go of one generation of a stream, which its consumer found to be no answer."""
        await self._forgetting.this(key, stamp)

    async def forget_tag(self, tag: str, *, namespace: str | None = None) -> None:
        """Nothing that bears this tag and was begun before comes back after.

        One step, however many entries that are; what they take up goes when their time is over.
        namespace: default the cache's own. Raises `StoreError`.
        """
        (name,) = check_tags((tag,))
        space = check_namespace(namespace) if namespace is not None else self.namespace
        await self._forgetting.tag(space, name)

    async def clear(self, namespace: str | None = None, *, reclaim: bool = False) -> None:
        """Nothing in a namespace that was begun before comes back after.

        One step, as `forget_tag`. reclaim: also delete what is stored there, which takes a time
        in proportion to the store and may take new entries along. namespace: default the cache's
        own. Raises `StoreError`.
        """
        space = check_namespace(namespace) if namespace is not None else self.namespace
        await self._forgetting.tag(space, "")
        if reclaim:
            await self._forgetting.reclaim(space)

    def _picked(self, key: str | bytes | Key, policy: Policy) -> Key:
        return self._turns.pick(self._key(key), policy)

    def _several(self, key: str | bytes | Key, policy: Policy, mode: Mode) -> Several:
        first, keys = self._picked(key, policy), self._variants(key, policy)
        return Several(first, keys, policy, mode, self._rooms.here(), self._forgetting.try_all)

    def _variants(self, key: str | bytes | Key, policy: Policy | None) -> list[Key]:
        asked = policy or getattr(key, "policy", None) or self.policy
        return variants(self._key(key), asked.variants)

    def _key(self, key: str | bytes | Key) -> Key:
        return key if type(key) is Key else key_from(key, self.namespace, self.secret)
