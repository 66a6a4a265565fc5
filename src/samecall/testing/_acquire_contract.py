"""What ACQUIRE and RENEW promise of one key."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from samecall._entry import STAMP_END, STAMP_START, Key
from samecall._errors import StoreError
from samecall._ports import SEEN_ANY, SEEN_NOTHING, Hit, Lead, Wait
from samecall.testing._faulty import FaultyStore
from samecall.testing._store_contract import StoreContract

__all__ = ["LONG", "AcquireContract", "lead", "new_token", "stamp_of"]

LONG = 600.0


def stamp_of(data: bytes) -> bytes:
    """The stamp of an envelope."""
    return data[STAMP_START:STAMP_END]


def new_token() -> bytes:
    """The name of one flight: 16 random bytes."""
    return os.urandom(16)


async def lead(
    store: Any, key: Key, *, seen: bytes = SEEN_NOTHING, lease: float = LONG
) -> tuple[bytes, Lead]:
    """Take the lease of a key that nobody leads; its token and what ACQUIRE said."""
    token = new_token()
    got = await store.acquire(key, token, seen, lease)
    assert isinstance(got, Lead)
    return token, got


class AcquireContract(StoreContract):
    """One leader per key."""

    # --- acquire ------------------------------------------------------------------------------

    async def test_the_first_leads(self, store: Any) -> None:
        """Nothing there: the lease is ours, and no stamp was seen."""
        assert await store.acquire(self.new_key(), new_token(), SEEN_NOTHING, LONG) == Lead(b"")

    async def test_the_second_waits(self, store: Any) -> None:
        """A lease there: wait for its token, for what is left of it."""
        key = self.new_key()
        token, _ = await lead(store, key)
        got = await store.acquire(key, new_token(), SEEN_NOTHING, LONG)
        assert isinstance(got, Wait)
        assert (got.token, got.seen) == (token, b"")
        assert LONG / 2 < got.left <= LONG

    async def test_one_of_many_leads(self, store: Any) -> None:
        """Of many at once exactly one leads and all others wait for it."""
        key = self.new_key()
        tokens = [new_token() for _ in range(50)]
        got = await asyncio.gather(
            *(store.acquire(key, token, SEEN_NOTHING, LONG) for token in tokens)
        )
        leaders = [token for token, each in zip(tokens, got, strict=True) if each == Lead(b"")]
        assert len(leaders) == 1
        assert {each.token for each in got if isinstance(each, Wait)} == set(leaders)
        assert sum(isinstance(each, Wait) for each in got) == 49

    async def test_acquire_again_with_the_own_token_leads(self, store: Any) -> None:
        """A retry is safe: it leads again, and everybody else still waits for it."""
        key = self.new_key()
        token, _ = await lead(store, key)
        assert await store.acquire(key, token, SEEN_NOTHING, LONG) == Lead(b"")
        waiting = await store.acquire(key, new_token(), SEEN_NOTHING, LONG)
        assert isinstance(waiting, Wait)
        assert waiting.token == token

    async def test_acquire_after_a_lost_reply(self, store: Any) -> None:
        """Who never heard that he leads learns it from the retry."""
        key, token = self.new_key(), new_token()
        faulty = FaultyStore(store)
        faulty.lose_reply("acquire")
        with pytest.raises(StoreError):
            await faulty.acquire(key, token, SEEN_NOTHING, LONG)
        assert isinstance(await store.acquire(key, new_token(), SEEN_NOTHING, LONG), Wait)
        assert await faulty.acquire(key, token, SEEN_NOTHING, LONG) == Lead(b"")

    async def test_release_settles_an_acquire_without_a_reply(self, store: Any) -> None:
        """The token of an ACQUIRE that timed out frees what it may have taken."""
        key, token = self.new_key(), new_token()
        faulty = FaultyStore(store)
        faulty.lose_reply("acquire")
        with pytest.raises(StoreError):
            await faulty.acquire(key, token, SEEN_NOTHING, LONG)
        assert await store.release(key, token) is True
        await lead(store, key)

    async def test_an_expired_lease_is_free(self, store: Any) -> None:
        """A leader that died is replaced after its lease."""
        key = self.new_key()
        await lead(store, key, lease=self.short)
        await self.pass_time(self.short)
        await lead(store, key)

    async def test_leases_of_two_namespaces(self, store: Any) -> None:
        """One digest in two namespaces has two leaders."""
        one = self.new_key()
        two = Key(one.digest, self.new_key().namespace)
        await lead(store, one)
        await lead(store, two)

    # --- seen ---------------------------------------------------------------------------------

    async def test_a_value_is_a_hit(self, store: Any) -> None:
        """A value there answers, with what is left of its life."""
        key = self.new_key()
        data = self.new_data(key)
        await store.set(key, data, LONG)
        got = await store.acquire(key, new_token(), SEEN_NOTHING, LONG)
        assert type(got) is Hit
        assert got.data == data
        assert LONG / 2 < got.left <= LONG

    async def test_a_hit_takes_no_lease(self, store: Any) -> None:
        """Who was answered owes nothing."""
        key = self.new_key()
        data = self.new_data(key)
        await store.set(key, data, LONG)
        await store.acquire(key, new_token(), SEEN_NOTHING, LONG)
        await lead(store, key, seen=stamp_of(data))

    async def test_a_value_answers_while_somebody_leads(self, store: Any) -> None:
        """A refresh in the air does not hide the value from who takes it."""
        key = self.new_key()
        data = self.new_data(key)
        await store.set(key, data, LONG)
        await lead(store, key, seen=SEEN_ANY)
        assert type(await store.acquire(key, new_token(), SEEN_NOTHING, LONG)) is Hit

    async def test_the_stamp_seen_counts_as_absent(self, store: Any) -> None:
        """Who refused this value leads or waits, and is told its stamp."""
        key = self.new_key()
        data = self.new_data(key)
        await store.set(key, data, LONG)
        token, got = await lead(store, key, seen=stamp_of(data))
        assert got.seen == stamp_of(data)
        waiting = await store.acquire(key, new_token(), stamp_of(data), LONG)
        assert isinstance(waiting, Wait)
        assert (waiting.token, waiting.seen) == (token, stamp_of(data))

    @pytest.mark.parametrize("short", [b"", b"x", b"x" * 18])
    async def test_a_value_too_short_for_a_stamp(self, store: Any, short: bytes) -> None:
        """It is handed out to be refused, under a stamp of zero bytes, and replaced like others."""
        key, none = self.new_key(), bytes(16)
        await store.set(key, short, LONG)
        got = await store.acquire(key, new_token(), SEEN_NOTHING, LONG)
        assert isinstance(got, Hit)
        assert got.data == short
        token, lead_ = await lead(store, key, seen=none)
        assert lead_.seen == none
        waiting = await store.acquire(key, new_token(), none, LONG)
        assert isinstance(waiting, Wait)
        assert waiting.seen == none
        await store.release(key, token)
        assert await store.commit(key, new_token(), none, self.new_data(key), LONG) is True

    async def test_another_stamp_is_a_hit(self, store: Any) -> None:
        """Only the very value that was refused is passed over."""
        key = self.new_key()
        data = self.new_data(key)
        await store.set(key, data, LONG)
        got = await store.acquire(key, new_token(), stamp_of(self.new_data(key)), LONG)
        assert type(got) is Hit

    async def test_seen_any_takes_no_value(self, store: Any) -> None:
        """A refresh leads over any value, and is told its stamp."""
        key = self.new_key()
        data = self.new_data(key)
        await store.set(key, data, LONG)
        _, got = await lead(store, key, seen=SEEN_ANY)
        assert got.seen == stamp_of(data)

    async def test_seen_any_joins_a_refresh(self, store: Any) -> None:
        """A second refresh waits for the first."""
        key = self.new_key()
        token, _ = await lead(store, key, seen=SEEN_ANY)
        got = await store.acquire(key, new_token(), SEEN_ANY, LONG)
        assert isinstance(got, Wait)
        assert got.token == token

    # --- renew --------------------------------------------------------------------------------

    async def test_renew_lengthens(self, store: Any) -> None:
        """An own lease runs for the new time from now."""
        key = self.new_key()
        token, _ = await lead(store, key, lease=60.0)
        assert await store.renew(key, token, LONG) is True
        got = await store.acquire(key, new_token(), SEEN_NOTHING, LONG)
        assert isinstance(got, Wait)
        assert LONG / 2 < got.left <= LONG

    async def test_renew_with_a_wrong_token(self, store: Any) -> None:
        """Another's lease is not lengthened."""
        key = self.new_key()
        await lead(store, key, lease=60.0)
        assert await store.renew(key, new_token(), LONG) is False
        got = await store.acquire(key, new_token(), SEEN_NOTHING, LONG)
        assert isinstance(got, Wait)
        assert got.left <= 60.0

    async def test_renew_does_not_take_back_a_lost_lease(self, store: Any) -> None:
        """What ran out stays lost, and free for others."""
        key = self.new_key()
        token, _ = await lead(store, key, lease=self.short)
        await self.pass_time(self.short)
        assert await store.renew(key, token, LONG) is False
        await lead(store, key)
