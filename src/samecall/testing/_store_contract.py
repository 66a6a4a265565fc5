"""What every `Store` promises."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from samecall._entry import Entry, Key, Kind, Payload, encode_entry, new_stamp
from samecall.testing._generation_contract import GenerationContract

__all__ = ["StoreContract"]


def _text() -> str:
    return os.urandom(6).hex()


@pytest.mark.asyncio
class StoreContract(GenerationContract):
    """What a `Store` promises.

    Override the fixture `store`; `pass_time` too if the store has a clock that can be moved.
    `short` (seconds) is a lifetime that tests let run out: no test needs it to last.
    """

    short = 0.03

    @pytest.fixture
    def store(self) -> Any:
        """The store under test; what it holds of other tests does not matter."""
        pytest.fail("a contract suite is subclassed with a `store` fixture of its own")

    async def pass_time(self, seconds: float) -> None:
        """Let `seconds` go by on the store's clock; here by really waiting, and a bit more."""
        await asyncio.sleep(seconds * 1.5 + 0.01)

    def new_key(self, namespace: str | None = None) -> Key:
        """A key that nothing else uses, in a namespace that nothing else uses unless given."""
        return Key(os.urandom(32), f"contract-{_text()}" if namespace is None else namespace)

    def new_data(self, key: Key, body: bytes = b"answer", kind: Kind = Kind.VALUE) -> bytes:
        """An envelope with a new stamp."""
        return encode_entry(key, Entry(kind, Payload("test", body), new_stamp(), 60.0, 60.0))

    # --- get and set --------------------------------------------------------------------------

    async def test_nothing_is_none(self, store: Any) -> None:
        """A key that was never written holds nothing."""
        assert await store.get(self.new_key()) is None

    async def test_set_then_get(self, store: Any) -> None:
        """What was set is what is got."""
        key = self.new_key()
        data = self.new_data(key)
        await store.set(key, data, 60.0)
        found = await store.get(key)
        assert found is not None
        assert found.data == data
        assert type(found.data) is bytes

    async def test_left_is_what_remains_of_the_ttl(self, store: Any) -> None:
        """`Found.left` is in seconds and lies within the ttl."""
        key = self.new_key()
        await store.set(key, self.new_data(key), 600.0)
        found = await store.get(key)
        assert found is not None
        assert 300.0 < found.left <= 600.0

    async def test_set_replaces_data_and_lifetime(self, store: Any) -> None:
        """The last write wins, with its own lifetime."""
        key = self.new_key()
        await store.set(key, b"old", 60.0)
        await store.set(key, b"new", 600.0)
        found = await store.get(key)
        assert found is not None
        assert (found.data, found.left > 300.0) == (b"new", True)

    async def test_data_ends_with_its_ttl(self, store: Any) -> None:
        """After its ttl a value is gone."""
        key = self.new_key()
        await store.set(key, self.new_data(key), self.short)
        await self.pass_time(self.short)
        assert await store.get(key) is None

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\0",
            b"0",
            b"\xa5s\x01",
            b"\r\n$5\r\nhello\r\n",
            bytes(range(256)),
            b"\xff" * 20,
            b"x" * 2**20,
        ],
        ids=["empty", "nul", "zero", "magic", "protocol", "all", "no-utf8", "1MiB"],
    )
    async def test_any_bytes(self, store: Any, data: bytes) -> None:
        """A store reads nothing into the bytes it holds."""
        key = self.new_key()
        await store.set(key, data, 60.0)
        found = await store.get(key)
        assert found is not None
        assert found.data == data

    @pytest.mark.parametrize("digest", [b"\0" * 32, b"\xff" * 32, b"{}:*?[]\r\n" + b"\0" * 22])
    async def test_any_digest(self, store: Any, digest: bytes) -> None:
        """A key's digest is any 32 bytes."""
        key = Key(digest, self.new_key().namespace)
        await store.set(key, b"data", 60.0)
        found = await store.get(key)
        assert found is not None
        assert found.data == b"data"

    async def test_keys_are_separate(self, store: Any) -> None:
        """One bit of the digest separates."""
        key = self.new_key()
        near = Key(key.digest[:-1] + bytes([key.digest[-1] ^ 1]), key.namespace)
        await store.set(key, b"data", 60.0)
        assert await store.get(near) is None

    # --- forget -------------------------------------------------------------------------------

    async def test_forget_deletes(self, store: Any) -> None:
        """What was forgotten is gone."""
        key = self.new_key()
        await store.set(key, b"data", 60.0)
        await store.forget(key, 60.0)
        assert await store.get(key) is None

    async def test_forget_what_is_not_there(self, store: Any) -> None:
        """To forget nothing is no error."""
        await store.forget(self.new_key(), 60.0)

    async def test_forget_leaves_the_others(self, store: Any) -> None:
        """Another key of the namespace stays."""
        key = self.new_key()
        other = self.new_key(key.namespace)
        await store.set(other, b"data", 60.0)
        await store.forget(key, 60.0)
        assert await store.get(other) is not None

    async def test_set_after_forget(self, store: Any) -> None:
        """A tombstone refuses commits of open flights, not a plain `set`."""
        key = self.new_key()
        await store.forget(key, 60.0)
        await store.set(key, b"data", 60.0)
        assert await store.get(key) is not None

    # --- namespaces ---------------------------------------------------------------------------

    async def test_namespaces_are_separate(self, store: Any) -> None:
        """One digest in two namespaces is two keys."""
        one = self.new_key()
        two = Key(one.digest, self.new_key().namespace)
        await store.set(one, b"one", 60.0)
        assert await store.get(two) is None
        await store.set(two, b"two", 60.0)
        await store.forget(two, 60.0)
        found = await store.get(one)
        assert found is not None
        assert found.data == b"one"

    async def test_clear_counts_and_empties(self, store: Any) -> None:
        """`clear` deletes all entries of its namespace and says how many there were."""
        namespace = self.new_key().namespace
        keys = [self.new_key(namespace) for _ in range(25)]
        for key in keys:
            await store.set(key, b"data", 60.0)
        assert await store.clear(namespace) == 25
        assert [await store.get(key) for key in keys] == [None] * 25
        assert await store.clear(namespace) == 0

    @pytest.mark.parametrize(
        ("cleared", "kept"),
        [
            ("{}", "{}x"),
            ("{}", "x{}"),
            ("{}*", "{}ab"),
            ("{}?", "{}a"),
            ("{}[ab]", "{}a"),
            ("{}", "{}:v"),
            ("{}:v", "{}"),
            ("{}{{a}}", "{}a"),
            ("{}\\", "{}"),
            ("{}é", "{}e"),
            ("{}%3A", "{}:"),
        ],
    )
    async def test_clear_takes_one_namespace_by_its_exact_name(
        self, store: Any, cleared: str, kept: str
    ) -> None:
        """Whatever characters a namespace has, it is cleared alone."""
        unique = _text()
        gone = self.new_key(cleared.format(unique))
        stays = self.new_key(kept.format(unique))
        await store.set(gone, b"gone", 60.0)
        await store.set(stays, b"stays", 60.0)
        assert await store.clear(gone.namespace) == 1
        assert await store.get(gone) is None
        assert await store.get(stays) is not None

    async def test_walk_comes_to_every_value(self, store: Any) -> None:
        """Each key with its bytes and what is left of its ttl."""
        namespace = self.new_key().namespace
        assert [pair async for pair in store.walk(namespace)] == []
        keys = [self.new_key(namespace) for _ in range(60)]
        for key in keys:
            await store.set(key, key.digest, 600.0)
        met = {key: found async for key, found in store.walk(namespace)}
        assert met.keys() == set(keys)
        assert all(type(key) is Key and found.data == key.digest for key, found in met.items())
        assert all(300.0 < found.left <= 600.0 for found in met.values())

    async def test_walk_stays_in_its_namespace(self, store: Any) -> None:
        """Whatever characters a namespace has, and however much another one looks like it."""
        unique = _text()
        names = [name.format(unique) for name in ("{}", "{}x", "{}:v", "{}*", "{}[ab]", "{}é")]
        keys = [self.new_key(name) for name in names]
        for key in keys:
            await store.set(key, b"data", 60.0)
        for key in keys:
            assert {each async for each, _ in store.walk(key.namespace)} == {key}

    async def test_walk_leaves_out_what_is_over(self, store: Any) -> None:
        """What has expired or was forgotten does not come."""
        over, gone, stays = (self.new_key("w" + _text()) for _ in range(3))
        over, gone = (Key(key.digest, stays.namespace) for key in (over, gone))
        for key in (over, gone, stays):
            await store.set(key, b"data", self.short if key is over else 60.0)
        await store.forget(gone, 60.0)
        await self.pass_time(self.short)
        assert {key async for key, _ in store.walk(stays.namespace)} == {stays}

    async def test_walk_while_others_come_and_go(self, store: Any) -> None:
        """Whatever is there all the while comes; a walk left halfway holds nobody up."""
        namespace = self.new_key().namespace
        stay = [self.new_key(namespace) for _ in range(40)]
        go = [self.new_key(namespace) for _ in range(40)]
        for key in (*stay, *go):
            await store.set(key, b"data", 60.0)
        met: set[Key] = set()
        async for key, _ in store.walk(namespace):
            met.add(key)
            if go:
                await store.forget(go.pop(), 60.0)
                await store.set(self.new_key(namespace), b"data", 60.0)
        assert met >= set(stay)
        async for _ in store.walk(namespace):
            break
        await store.ping()

    # --- the rest -----------------------------------------------------------------------------

    async def test_ping(self, store: Any) -> None:
        """A store that works answers a ping."""
        assert await store.ping() is None

    async def test_aclose_twice(self, store: Any) -> None:
        """Closing a closed store is no error."""
        await store.ping()
        await store.aclose()
        await store.aclose()

    async def test_many_at_once(self, store: Any) -> None:
        """Concurrent operations do not mix up their replies."""
        keys = [self.new_key() for _ in range(50)]
        await asyncio.gather(*(store.set(key, key.digest, 60.0) for key in keys))
        found = await asyncio.gather(*(store.get(key) for key in keys))
        assert [each.data for each in found] == [key.digest for key in keys]
