"""What a store that records streams promises."""

from __future__ import annotations

from typing import Any

import pytest

from samecall._entry import Key
from samecall._errors import StoreError
from samecall._ports import Lead
from samecall._recordings import Recorded
from samecall.testing._acquire_contract import LONG, lead, new_token
from samecall.testing._faulty import FaultyStore
from samecall.testing._store_contract import StoreContract

__all__ = ["RecordingContract"]

_KEPT = Recorded(leads=True, whole=True, followers=0)
_SOON = 10.0


class RecordingContract(StoreContract):
    """One recording per token, appended to by who holds the lease, read from the start."""

    async def _record(
        self, store: Any, key: Key, token: bytes, number: int, frame: bytes = b"frame"
    ) -> Recorded:
        got: Recorded = await store.record(key, token, number, frame, LONG, LONG)
        return got

    async def test_a_lease_from_after_a_forget_records_nothing(self, store: Any) -> None:
        """It came late, to a call that was forgotten; it is freed. What was recorded is gone."""
        key = self.new_key()
        token, _ = await lead(store, key)
        assert await self._record(store, key, token, 1) == _KEPT
        await store.forget(key, LONG)
        assert list(await store.replay(key, token, 0)) == []
        late, other = await store.acquire(key, token, b"", LONG), new_token()
        assert isinstance(late, Lead)
        assert late.epoch
        lost = Recorded(leads=False, whole=True, followers=0)
        assert await self._record(store, key, token, 1) == lost
        new = await store.acquire(key, other, b"", LONG)
        assert isinstance(new, Lead)
        got = await store.record(key, other, 1, b"frame", LONG, LONG, new.epoch)
        assert got == _KEPT

    async def test_a_lease_taken_anew_has_no_recording_of_before(self, store: Any) -> None:
        """It had run out, a `forget` may have come, and the ACQUIRE may be one that came late."""
        key = self.new_key()
        token, _ = await lead(store, key, lease=self.short)
        got = await store.record(key, token, 1, b"frame", self.short, LONG)
        assert got == _KEPT
        await self.pass_time(self.short)
        await store.forget(key, LONG)
        assert isinstance(await store.acquire(key, token, b"", LONG), Lead)
        assert list(await store.replay(key, token, 0)) == []

    async def test_an_acquire_that_is_sent_twice_keeps_the_recording(self, store: Any) -> None:
        """The lease is there still."""
        key = self.new_key()
        token, _ = await lead(store, key)
        assert await self._record(store, key, token, 1) == _KEPT
        assert isinstance(await store.acquire(key, token, b"", LONG), Lead)
        assert list(await store.replay(key, token, 0)) == [b"frame"]

    async def test_frames_come_back_in_order(self, store: Any) -> None:
        """All of them, or those after a number."""
        key = self.new_key()
        token, _ = await lead(store, key)
        frames = [b"%d" % number for number in range(1, 201)]
        for number, frame in enumerate(frames, 1):
            assert await self._record(store, key, token, number, frame) == _KEPT
        assert list(await store.replay(key, token, 0)) == frames
        assert list(await store.replay(key, token, 150)) == frames[150:]
        assert list(await store.replay(key, token, 200)) == []

    async def test_no_recording_has_no_frames(self, store: Any) -> None:
        """Nothing there reads as nothing yet."""
        assert list(await store.replay(self.new_key(), new_token(), 0)) == []

    async def test_any_bytes_are_a_frame(self, store: Any) -> None:
        """Frames are opaque, and may be large."""
        key = self.new_key()
        token, _ = await lead(store, key)
        frames = [bytes(range(256)), b"\r\n\x00", b"x" * 300_000]
        for number, frame in enumerate(frames, 1):
            await self._record(store, key, token, number, frame)
        assert list(await store.replay(key, token, 0)) == frames

    async def test_recording_needs_the_lease(self, store: Any) -> None:
        """Nobody appends without it: not before, not after, not with another's token."""
        key = self.new_key()
        lost = Recorded(leads=False, whole=True, followers=0)
        assert await self._record(store, key, new_token(), 1) == lost
        token, _ = await lead(store, key)
        other = new_token()
        assert await self._record(store, key, other, 1) == lost
        assert await self._record(store, key, token, 1) == _KEPT
        await store.release(key, token)
        assert await self._record(store, key, token, 2) == lost
        assert list(await store.replay(key, token, 0)) == [b"frame"]
        assert list(await store.replay(key, other, 0)) == []

    async def test_a_frame_is_appended_once(self, store: Any) -> None:
        """What may have been done already may be sent again."""
        key = self.new_key()
        token, _ = await lead(store, key)
        for number in (1, 1, 2, 1, 2, 3, 3):
            await self._record(store, key, token, number, b"%d" % number)
        assert list(await store.replay(key, token, 0)) == [b"1", b"2", b"3"]

    async def test_a_frame_after_a_lost_reply(self, store: Any) -> None:
        """The retry finds it there."""
        key = self.new_key()
        token, _ = await lead(store, key)
        faulty = FaultyStore(store)
        faulty.lose_reply("record")
        with pytest.raises(StoreError):
            await self._record(faulty, key, token, 1)
        assert await self._record(faulty, key, token, 1) == _KEPT
        assert list(await store.replay(key, token, 0)) == [b"frame"]

    async def test_a_hole_ends_a_recording(self, store: Any) -> None:
        """A recording without its beginning is none; the lease stays ours."""
        key = self.new_key()
        token, _ = await lead(store, key)
        await self._record(store, key, token, 1)
        assert await self._record(store, key, token, 3) == Recorded(
            leads=True, whole=False, followers=-1
        )
        assert list(await store.replay(key, token, 0)) == []
        assert await store.renew(key, token, LONG) is True

    async def test_generations_are_apart(self, store: Any) -> None:
        """Each token has its own recording, each namespace too."""
        key = self.new_key()
        one, _ = await lead(store, key)
        await self._record(store, key, one, 1, b"one")
        await store.release(key, one)
        two, _ = await lead(store, key)
        await self._record(store, key, two, 1, b"two")
        assert list(await store.replay(key, one, 0)) == [b"one"]
        assert list(await store.replay(key, two, 0)) == [b"two"]
        elsewhere = Key(key.digest, self.new_key().namespace)
        assert list(await store.replay(elsewhere, two, 0)) == []

    async def test_recording_renews_the_lease(self, store: Any) -> None:
        """With a frame or without one: the lease lasts from then on as long as is said."""
        for number in (1, 0):
            key = self.new_key()
            token, _ = await lead(store, key)
            await store.record(key, token, number, b"f" * number, self.short, LONG)
            await self.pass_time(self.short)
            await lead(store, key)

    async def test_a_recording_ends_with_its_life(self, store: Any) -> None:
        """Counted from its last frame, or from the last renewal."""
        key = self.new_key()
        token, _ = await lead(store, key)
        await store.record(key, token, 1, b"frame", LONG, LONG)
        await store.record(key, token, 0, b"", LONG, self.short)
        await self.pass_time(self.short)
        assert list(await store.replay(key, token, 0)) == []

    async def test_a_frame_rings(self, store: Any) -> None:
        """Who follows hears it, or at least that there is something; the recorder knows of him."""
        key = self.new_key()
        token, _ = await lead(store, key)
        async with store.follow(key, token) as one, store.follow(key, token) as two:
            done = await self._record(store, key, token, 1, b"small")
            assert done.followers != 0
            for bell in (one, two):
                assert await bell.wait(_SOON) in (b"small", b"")
            await self._record(store, key, token, 2, b"x" * 300_000)
            assert await one.wait(_SOON) is not None
            await self._record(store, key, token, 0, b"")
            assert await two.wait(_SOON) is not None

    async def test_others_do_not_hear_it(self, store: Any) -> None:
        """Neither another generation's followers nor those who wait for the value."""
        key = self.new_key()
        token, _ = await lead(store, key)
        async with store.follow(key, new_token()) as other, store.listen(key) as waiting:
            done = await self._record(store, key, token, 1)
            assert done.followers == 0
            assert await other.wait(0.01) is None
            assert await waiting.wait(0.01) is None
