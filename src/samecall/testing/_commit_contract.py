"""What COMMIT and RELEASE promise of one key."""

from __future__ import annotations

from typing import Any

import pytest

from samecall._errors import StoreError
from samecall._ports import EPOCH_UNTOLD, SEEN_ANY, SEEN_NOTHING, Hit, Wait
from samecall.testing._acquire_contract import LONG, lead, new_token, stamp_of
from samecall.testing._faulty import FaultyStore
from samecall.testing._store_contract import StoreContract

__all__ = ["CommitContract"]


class CommitContract(StoreContract):
    """Answers that only the leader stores, or who changes nothing that he did not see."""

    # --- commit -------------------------------------------------------------------------------

    async def test_commit_stores_and_frees(self, store: Any) -> None:
        """The value is there for its ttl, and the lease is gone."""
        key = self.new_key()
        token, got = await lead(store, key)
        data = self.new_data(key)
        assert await store.commit(key, token, got.seen, data, LONG) is True
        found = await store.get(key)
        assert found.data == data
        assert LONG / 2 < found.left <= LONG
        await lead(store, key, seen=stamp_of(data))

    async def test_commit_of_the_leader_needs_no_stamp(self, store: Any) -> None:
        """Whose lease stands commits over whatever was written meanwhile."""
        key = self.new_key()
        token, got = await lead(store, key)
        await store.set(key, self.new_data(key), LONG)
        data = self.new_data(key)
        assert await store.commit(key, token, got.seen, data, LONG) is True
        assert (await store.get(key)).data == data

    async def test_commit_ends_with_its_ttl(self, store: Any) -> None:
        """A committed value has the lifetime it was given."""
        key = self.new_key()
        token, got = await lead(store, key)
        await store.commit(key, token, got.seen, self.new_data(key), self.short)
        await self.pass_time(self.short)
        assert await store.get(key) is None

    async def test_commit_against_anothers_lease(self, store: Any) -> None:
        """Refused: the other will commit, and keeps its lease."""
        key = self.new_key()
        late, got = await lead(store, key, lease=self.short)
        await self.pass_time(self.short)
        token, _ = await lead(store, key)
        assert await store.commit(key, late, got.seen, self.new_data(key), LONG) is False
        assert await store.get(key) is None
        waiting = await store.acquire(key, new_token(), SEEN_NOTHING, LONG)
        assert isinstance(waiting, Wait)
        assert waiting.token == token

    async def test_commit_after_the_lease_ran_out(self, store: Any) -> None:
        """Nobody leads and nothing changed: the paid answer is kept."""
        key = self.new_key()
        token, got = await lead(store, key, lease=self.short)
        await self.pass_time(self.short)
        data = self.new_data(key)
        assert await store.commit(key, token, got.seen, data, LONG) is True
        assert (await store.get(key)).data == data

    async def test_late_commit_over_the_value_that_was_seen(self, store: Any) -> None:
        """The stamp is still the one that ACQUIRE told: a refresh is kept."""
        key = self.new_key()
        await store.set(key, self.new_data(key), LONG)
        token, got = await lead(store, key, seen=SEEN_ANY, lease=self.short)
        await self.pass_time(self.short)
        data = self.new_data(key)
        assert await store.commit(key, token, got.seen, data, LONG) is True
        assert (await store.get(key)).data == data

    @pytest.mark.parametrize("before", [False, True], ids=["nothing-before", "value-before"])
    async def test_late_commit_over_a_newer_value(self, store: Any, *, before: bool) -> None:
        """Refused: somebody was faster, and his value stays."""
        key = self.new_key()
        if before:
            await store.set(key, self.new_data(key), LONG)
        token, got = await lead(store, key, seen=SEEN_ANY, lease=self.short)
        await self.pass_time(self.short)
        newer = self.new_data(key)
        await store.set(key, newer, LONG)
        assert await store.commit(key, token, got.seen, self.new_data(key), LONG) is False
        assert (await store.get(key)).data == newer

    async def test_late_commit_where_the_seen_value_has_gone(self, store: Any) -> None:
        """Refused: absent is a stamp too, and not the one that was seen."""
        key = self.new_key()
        await store.set(key, self.new_data(key), LONG)
        token, got = await lead(store, key, seen=SEEN_ANY)
        await store.forget(key, self.short)
        await self.pass_time(self.short)
        assert await store.commit(key, token, got.seen, self.new_data(key), LONG) is False
        assert await store.get(key) is None

    async def test_commit_again_after_a_lost_reply(self, store: Any) -> None:
        """The retry changes nothing and says so: the value is there once, and nobody leads."""
        key = self.new_key()
        token, got = await lead(store, key)
        data = self.new_data(key)
        faulty = FaultyStore(store)
        faulty.lose_reply("commit")
        with pytest.raises(StoreError):
            await faulty.commit(key, token, got.seen, data, LONG)
        assert await faulty.commit(key, token, got.seen, data, LONG) is True
        assert (await store.get(key)).data == data
        await lead(store, key, seen=stamp_of(data))

    # --- commit of who called without an answer to its ACQUIRE ---------------------------------

    async def test_untold_commit_where_nothing_came_between(self, store: Any) -> None:
        """Nobody leads, nothing was forgotten: the paid answer is kept."""
        key, data = self.new_key(), self.new_data(self.new_key())
        assert await store.commit(key, new_token(), SEEN_NOTHING, data, LONG, EPOCH_UNTOLD) is True
        assert (await store.get(key)).data == data

    async def test_untold_commit_under_a_late_lease(self, store: Any) -> None:
        """The own lease counts as none and is freed; what nothing forbids is stored."""
        key = self.new_key()
        token, _ = await lead(store, key)
        data = self.new_data(key)
        assert await store.commit(key, token, SEEN_NOTHING, data, LONG, EPOCH_UNTOLD) is True
        await lead(store, key, seen=stamp_of(data))

    async def test_untold_commit_over_a_value(self, store: Any) -> None:
        """Refused, although the lease came late: it was not this value that was seen."""
        key = self.new_key()
        newer = self.new_data(key)
        await store.set(key, newer, LONG)
        token, _ = await lead(store, key, seen=SEEN_ANY)
        data = self.new_data(key)
        assert await store.commit(key, token, SEEN_NOTHING, data, LONG, EPOCH_UNTOLD) is False
        assert (await store.get(key)).data == newer
        await lead(store, key, seen=SEEN_ANY)

    async def test_untold_commit_after_a_forget(self, store: Any) -> None:
        """Refused, with a lease that came late or without: the call may be older."""
        key = self.new_key()
        await store.forget(key, LONG)
        token, _ = await lead(store, key)
        for _ in range(2):
            data = self.new_data(key)
            assert await store.commit(key, token, SEEN_NOTHING, data, LONG, EPOCH_UNTOLD) is False
        assert await store.get(key) is None
        await lead(store, key)

    async def test_untold_commit_against_anothers_lease(self, store: Any) -> None:
        """Refused, and the other's lease stays."""
        key = self.new_key()
        await lead(store, key)
        data = self.new_data(key)
        assert await store.commit(key, new_token(), SEEN_NOTHING, data, LONG, EPOCH_UNTOLD) is False
        assert isinstance(await store.acquire(key, new_token(), SEEN_NOTHING, LONG), Wait)

    async def test_untold_commit_again_after_a_lost_reply(self, store: Any) -> None:
        """It finds its own stamp there, and leaves no lease that came meanwhile."""
        key = self.new_key()
        token, data = new_token(), self.new_data(key)
        assert await store.commit(key, token, SEEN_NOTHING, data, LONG, EPOCH_UNTOLD) is True
        await store.acquire(key, token, SEEN_ANY, LONG)
        assert await store.commit(key, token, SEEN_NOTHING, data, LONG, EPOCH_UNTOLD) is True
        await lead(store, key, seen=SEEN_ANY)

    async def test_commit_of_any_bytes(self, store: Any) -> None:
        """COMMIT reads nothing into the bytes but their stamp."""
        key = self.new_key()
        data = bytes(range(256)) * 100
        token, got = await lead(store, key)
        await store.commit(key, token, got.seen, data, LONG)
        hit = await store.acquire(key, new_token(), SEEN_NOTHING, LONG)
        assert type(hit) is Hit
        assert hit.data == data

    # --- release ------------------------------------------------------------------------------

    async def test_release_frees(self, store: Any) -> None:
        """The next one leads at once."""
        key = self.new_key()
        token, _ = await lead(store, key)
        assert await store.release(key, token) is True
        await lead(store, key)

    async def test_release_with_a_wrong_token(self, store: Any) -> None:
        """Another's lease stays, also against a token that never led."""
        key = self.new_key()
        token, _ = await lead(store, key)
        assert await store.release(key, new_token()) is False
        got = await store.acquire(key, new_token(), SEEN_NOTHING, LONG)
        assert isinstance(got, Wait)
        assert got.token == token

    async def test_release_of_nothing(self, store: Any) -> None:
        """To free what nobody holds is no error."""
        assert await store.release(self.new_key(), new_token()) is False

    async def test_a_late_release_leaves_the_next_leader(self, store: Any) -> None:
        """Who lost the lease cannot free his successor's."""
        key = self.new_key()
        late, _ = await lead(store, key, lease=self.short)
        await self.pass_time(self.short)
        token, _ = await lead(store, key)
        assert await store.release(key, late) is False
        assert await store.renew(key, token, LONG) is True
