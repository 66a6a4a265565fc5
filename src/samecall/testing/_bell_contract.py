"""What a bell promises to those who wait at a key."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from samecall._entry import Key, Kind
from samecall._ports import SEEN_NOTHING, Lead
from samecall.testing._acquire_contract import LONG, lead, new_token
from samecall.testing._store_contract import StoreContract

__all__ = ["BellContract"]

SOON = 30.0
"""Seconds within which a ring comes on any machine; nothing waits so long unless it is lost."""


class BellContract(StoreContract):
    """Who listens hears of every end of a flight; what did not happen does not ring."""

    async def _commit(self, store: Any, key: Key, body: bytes = b"answer") -> bytes:
        token = new_token()
        got = await store.acquire(key, token, b"*", LONG)
        assert isinstance(got, Lead)
        data = self.new_data(key, body)
        assert await store.commit(key, token, got.seen, data, LONG)
        return data

    async def test_silence(self, store: Any) -> None:
        """Where nothing happens a wait ends with None after its timeout."""
        async with store.listen(self.new_key()) as bell:
            assert await bell.wait(0.01) is None
            assert await bell.wait(0.0) is None

    async def test_a_commit_rings_with_its_value(self, store: Any) -> None:
        """A small entry rides in the message."""
        key = self.new_key()
        async with store.listen(key) as bell:
            waiting = asyncio.ensure_future(bell.wait(SOON))
            data = await self._commit(store, key)
            assert await waiting == data

    async def test_a_ring_is_kept_for_who_waits_later(self, store: Any) -> None:
        """Nothing is lost between the subscription and the wait."""
        key = self.new_key()
        async with store.listen(key) as bell:
            data = await self._commit(store, key)
            assert await bell.wait(SOON) == data

    async def test_a_large_value_stays_behind(self, store: Any) -> None:
        """Beyond 16 KiB the message says only: look again."""
        key = self.new_key()
        async with store.listen(key) as bell:
            data = await self._commit(store, key, b"x" * 16 * 1024)
            assert await bell.wait(SOON) == b""
        assert (await store.get(key)).data == data

    async def test_exactly_16_kib_ride(self, store: Any) -> None:
        """The limit belongs to what rides."""
        key = self.new_key()
        token, got = await lead(store, key)
        async with store.listen(key) as bell:
            data = self.new_data(key).ljust(16 * 1024, b"x")
            await store.commit(key, token, got.seen, data, LONG)
            assert await bell.wait(SOON) == data

    async def test_a_late_commit_rings(self, store: Any) -> None:
        """A commit without a lease wakes the waiters too."""
        key = self.new_key()
        token, got = await lead(store, key, lease=self.short)
        await self.pass_time(self.short)
        async with store.listen(key) as bell:
            data = self.new_data(key)
            assert await store.commit(key, token, got.seen, data, LONG)
            assert await bell.wait(SOON) == data

    @pytest.mark.parametrize("end", ["fail", "release", "forget"])
    async def test_every_other_end_rings(self, store: Any, end: str) -> None:
        """FAIL, RELEASE and forget say: look again; the error may ride in FAIL's message."""
        key = self.new_key()
        token, _ = await lead(store, key)
        async with store.listen(key) as bell:
            waiting = asyncio.ensure_future(bell.wait(SOON))
            error = self.new_data(key, b"500", Kind.ERROR)
            if end == "fail":
                await store.fail(key, token, error, LONG)
            elif end == "release":
                await store.release(key, token)
            else:
                await store.forget(key, LONG)
            assert await waiting in ((b"", error) if end == "fail" else (b"",))

    @pytest.mark.parametrize("write", ["commit", "fail", "release", "renew", "acquire"])
    async def test_what_was_refused_does_not_ring(self, store: Any, write: str) -> None:
        """A wrong token wakes nobody: the first message is the leader's own."""
        key = self.new_key()
        token, got = await lead(store, key)
        wrong, data = new_token(), self.new_data(key)
        async with store.listen(key) as bell:
            if write == "commit":
                await store.commit(key, wrong, got.seen, data, LONG)
            elif write == "fail":
                await store.fail(key, wrong, data, LONG)
            elif write == "release":
                await store.release(key, wrong)
            elif write == "renew":
                await store.renew(key, wrong, LONG)
            else:
                await store.acquire(key, wrong, SEEN_NOTHING, LONG)
            own = self.new_data(key)
            await store.commit(key, token, got.seen, own, LONG)
            assert await bell.wait(SOON) == own

    async def test_messages_keep_their_order(self, store: Any) -> None:
        """Several rings are heard one by one."""
        key = self.new_key()
        async with store.listen(key) as bell:
            sent = [await self._commit(store, key) for _ in range(3)]
            assert [await bell.wait(SOON) for _ in range(3)] == sent

    async def test_all_listeners_hear(self, store: Any) -> None:
        """One ring reaches everybody who listens at the key."""
        key = self.new_key()
        async with store.listen(key) as one, store.listen(key) as two:
            data = await self._commit(store, key)
            assert [await one.wait(SOON), await two.wait(SOON)] == [data, data]

    async def test_the_one_who_leaves_does_not_deafen_the_other(self, store: Any) -> None:
        """A subscription ends with its own listener only."""
        key = self.new_key()
        async with store.listen(key) as one:
            async with store.listen(key) as two:
                pass
            assert two is not one
            data = await self._commit(store, key)
            assert await one.wait(SOON) == data

    async def test_listening_again(self, store: Any) -> None:
        """A second subscription hears what comes; what was before may still be on its way."""
        key = self.new_key()
        async with store.listen(key):
            before = await self._commit(store, key)
        async with store.listen(key) as bell:
            data = await self._commit(store, key)
            heard = await bell.wait(SOON)
            while heard in (before, b""):
                heard = await bell.wait(SOON)
            assert heard == data

    async def test_another_key_does_not_ring(self, store: Any) -> None:
        """A bell belongs to one key in one namespace."""
        key = self.new_key()
        near = [self.new_key(key.namespace), Key(key.digest, self.new_key().namespace)]
        async with store.listen(key) as bell:
            for other in near:
                await self._commit(store, other)
            data = await self._commit(store, key)
            assert await bell.wait(SOON) == data

    async def test_a_cancelled_wait_loses_nothing(self, store: Any) -> None:
        """The bell rings for the next wait."""
        key = self.new_key()
        async with store.listen(key) as bell:
            waiting = asyncio.ensure_future(bell.wait(SOON))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            data = await self._commit(store, key)
            assert await bell.wait(SOON) == data

    async def test_an_error_in_the_body_comes_through(self, store: Any) -> None:
        """Listening hides no exception of who listens."""
        with pytest.raises(ZeroDivisionError):
            async with store.listen(self.new_key()):
                raise ZeroDivisionError
