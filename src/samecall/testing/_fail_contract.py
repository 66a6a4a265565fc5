"""What FAIL, forget and clear promise of one key."""

from __future__ import annotations

from typing import Any

import pytest

from samecall._entry import Kind
from samecall._ports import EPOCH_NONE, SEEN_ANY, SEEN_NOTHING, Failed, Hit, Wait
from samecall.testing._acquire_contract import LONG, lead, new_token, stamp_of
from samecall.testing._store_contract import StoreContract

__all__ = ["FailContract"]


class FailContract(StoreContract):
    """Errors that stand beside values, and what a forget leaves of both."""

    # --- fail ---------------------------------------------------------------------------------

    async def test_fail_answers_those_who_ask(self, store: Any) -> None:
        """The error is there for its ttl, is no value, and the lease is gone."""
        key = self.new_key()
        token, _ = await lead(store, key)
        error = self.new_data(key, b"429", Kind.ERROR)
        assert await store.fail(key, token, error, LONG) is True
        got = await store.acquire(key, new_token(), SEEN_NOTHING, LONG)
        assert type(got) is Failed
        assert got.data == error
        assert LONG / 2 < got.left <= LONG
        assert await store.get(key) is None
        await lead(store, key, seen=SEEN_ANY)

    async def test_an_error_ends_with_its_ttl(self, store: Any) -> None:
        """After the error's window the next caller leads."""
        key = self.new_key()
        token, _ = await lead(store, key)
        await store.fail(key, token, self.new_data(key, b"429", Kind.ERROR), self.short)
        await self.pass_time(self.short)
        await lead(store, key)

    async def test_an_error_stands_beside_the_value(self, store: Any) -> None:
        """It overwrites nothing: who takes the value has it, who refuses it hears the error."""
        key = self.new_key()
        data = self.new_data(key)
        await store.set(key, data, LONG)
        token, _ = await lead(store, key, seen=stamp_of(data))
        await store.fail(key, token, self.new_data(key, b"500", Kind.ERROR), LONG)
        assert (await store.get(key)).data == data
        assert type(await store.acquire(key, new_token(), SEEN_NOTHING, LONG)) is Hit
        assert type(await store.acquire(key, new_token(), stamp_of(data), LONG)) is Failed

    async def test_a_refresh_passes_over_an_error(self, store: Any) -> None:
        """`SEEN_ANY` leads anew where a stamp would hear the error."""
        key = self.new_key()
        token, _ = await lead(store, key)
        await store.fail(key, token, self.new_data(key, b"500", Kind.ERROR), LONG)
        await lead(store, key, seen=SEEN_ANY)

    async def test_commit_clears_the_error(self, store: Any) -> None:
        """After a success nobody hears the error from before it."""
        key = self.new_key()
        token, _ = await lead(store, key)
        await store.fail(key, token, self.new_data(key, b"500", Kind.ERROR), LONG)
        token, got = await lead(store, key, seen=SEEN_ANY)
        data = self.new_data(key)
        await store.commit(key, token, got.seen, data, LONG)
        await lead(store, key, seen=stamp_of(data))

    async def test_fail_with_a_wrong_token(self, store: Any) -> None:
        """Another's error is not stored and its lease not freed."""
        key = self.new_key()
        token, _ = await lead(store, key)
        error = self.new_data(key, b"500", Kind.ERROR)
        assert await store.fail(key, new_token(), error, LONG) is False
        got = await store.acquire(key, new_token(), SEEN_NOTHING, LONG)
        assert isinstance(got, Wait)
        assert got.token == token

    async def test_fail_after_the_lease_ran_out(self, store: Any) -> None:
        """Who no longer leads has no error to share."""
        key = self.new_key()
        token, _ = await lead(store, key, lease=self.short)
        await self.pass_time(self.short)
        error = self.new_data(key, b"500", Kind.ERROR)
        assert await store.fail(key, token, error, LONG) is False
        await lead(store, key)

    # --- forget and clear ---------------------------------------------------------------------

    async def test_forget_ends_the_lease(self, store: Any) -> None:
        """The leader from before has lost, and the next one leads."""
        key = self.new_key()
        late, _ = await lead(store, key)
        await store.forget(key, LONG)
        assert await store.renew(key, late, LONG) is False
        await lead(store, key)

    async def test_forget_deletes_the_error(self, store: Any) -> None:
        """Nobody hears an error from before a forget."""
        key = self.new_key()
        token, _ = await lead(store, key)
        await store.fail(key, token, self.new_data(key, b"500", Kind.ERROR), LONG)
        await store.forget(key, LONG)
        await lead(store, key)

    async def test_commit_begun_before_a_forget(self, store: Any) -> None:
        """Refused: nothing begun before a forget comes back after it."""
        key = self.new_key()
        token, got = await lead(store, key)
        await store.forget(key, LONG)
        assert await store.commit(key, token, got.seen, self.new_data(key), LONG) is False
        assert await store.get(key) is None

    async def test_fail_begun_before_a_forget(self, store: Any) -> None:
        """Refused as well."""
        key = self.new_key()
        token, _ = await lead(store, key)
        await store.forget(key, LONG)
        error = self.new_data(key, b"500", Kind.ERROR)
        assert await store.fail(key, token, error, LONG) is False
        await lead(store, key)

    async def test_commit_begun_after_a_forget(self, store: Any) -> None:
        """A lease taken after the forget commits as ever."""
        key = self.new_key()
        await store.forget(key, LONG)
        token, got = await lead(store, key)
        data = self.new_data(key)
        assert await store.commit(key, token, got.seen, data, LONG, got.epoch) is True
        assert (await store.get(key)).data == data

    async def test_each_forget_leaves_another_epoch(self, store: Any) -> None:
        """LEAD tells it, and tells none where nothing was forgotten."""
        key = self.new_key()
        token, got = await lead(store, key)
        epochs = {got.epoch}
        for _ in range(3):
            await store.forget(key, LONG)
            token, got = await lead(store, key)
            assert await store.acquire(key, token, SEEN_NOTHING, LONG) == got
            epochs.add(got.epoch)
        assert len(epochs) == 4
        assert EPOCH_NONE in epochs

    @pytest.mark.parametrize("forgets", [1, 2])
    async def test_commit_under_a_lease_that_came_after_a_forget(
        self, store: Any, forgets: int
    ) -> None:
        """An ACQUIRE carried out twice proves nothing: refused, and the lease is free again."""
        key = self.new_key()
        if forgets == 2:
            await store.forget(key, LONG)
        token, got = await lead(store, key)
        await store.forget(key, LONG)
        await store.acquire(key, token, SEEN_NOTHING, LONG)
        data = self.new_data(key)
        assert await store.commit(key, token, got.seen, data, LONG, got.epoch) is False
        assert await store.get(key) is None
        await lead(store, key)

    async def test_fail_under_a_lease_that_came_after_a_forget(self, store: Any) -> None:
        """The same of an error."""
        key = self.new_key()
        token, got = await lead(store, key)
        await store.forget(key, LONG)
        await store.acquire(key, token, SEEN_NOTHING, LONG)
        error = self.new_data(key, b"500", Kind.ERROR)
        assert await store.fail(key, token, error, LONG, got.epoch) is False
        await lead(store, key)

    async def test_fail_begun_after_a_forget(self, store: Any) -> None:
        """A lease taken after the forget fails as ever."""
        key = self.new_key()
        await store.forget(key, LONG)
        token, got = await lead(store, key)
        error = self.new_data(key, b"500", Kind.ERROR)
        assert await store.fail(key, token, error, LONG, got.epoch) is True
        assert type(await store.acquire(key, new_token(), SEEN_NOTHING, LONG)) is Failed

    async def test_a_lost_lease_begun_after_a_forget(self, store: Any) -> None:
        """The forget is older than the call: its answer is kept, as without one."""
        key = self.new_key()
        await store.forget(key, LONG)
        token, got = await lead(store, key, lease=self.short)
        await self.pass_time(self.short)
        data = self.new_data(key)
        assert await store.commit(key, token, got.seen, data, LONG, got.epoch) is True
        assert (await store.get(key)).data == data

    async def test_a_tombstone_that_ends_refuses_nobody(self, store: Any) -> None:
        """Who led while it stood commits after its end."""
        key = self.new_key()
        await store.forget(key, self.short)
        token, got = await lead(store, key)
        await self.pass_time(self.short)
        data = self.new_data(key)
        assert await store.commit(key, token, got.seen, data, LONG, got.epoch) is True

    async def test_a_new_commit_leaves_the_tombstone(self, store: Any) -> None:
        """The flight from before stays refused, also when the newer value has run out."""
        key = self.new_key()
        late, before = await lead(store, key)
        await store.forget(key, LONG)
        token, got = await lead(store, key)
        await store.commit(key, token, got.seen, self.new_data(key), self.short, got.epoch)
        await self.pass_time(self.short)
        assert await store.commit(key, late, before.seen, self.new_data(key), LONG) is False
        assert await store.get(key) is None

    async def test_a_tombstone_ends(self, store: Any) -> None:
        """After its time a commit without a lease goes by the stamp again."""
        key = self.new_key()
        token, got = await lead(store, key)
        await store.forget(key, self.short)
        await self.pass_time(self.short)
        assert await store.commit(key, token, got.seen, self.new_data(key), LONG) is True

    async def test_a_shorter_tombstone_does_not_shorten(self, store: Any) -> None:
        """Two forgets guard for the longer of their times."""
        key = self.new_key()
        token, got = await lead(store, key)
        await store.forget(key, LONG)
        await store.forget(key, self.short)
        await self.pass_time(self.short)
        assert await store.commit(key, token, got.seen, self.new_data(key), LONG) is False

    async def test_clear_deletes_errors(self, store: Any) -> None:
        """An error of a cleared namespace answers nobody."""
        key = self.new_key()
        token, _ = await lead(store, key)
        await store.fail(key, token, self.new_data(key, b"500", Kind.ERROR), LONG)
        await store.clear(key.namespace)
        await lead(store, key)
