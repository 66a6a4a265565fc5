"""What generations promise."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from samecall._ports import Offer

__all__ = ["GenerationContract"]


def _name() -> str:
    return f"contract-{os.urandom(6).hex()}"


@pytest.mark.asyncio
class GenerationContract:
    """The part of `StoreContract` about tags and namespaces; see there."""

    async def test_a_generation_lasts(self, store: Any) -> None:
        """Who asks twice is told the same, whatever else is asked for beside it."""
        space = _name()
        one, two = await store.generations(space, ("", "tag"), 60.0)
        assert len(one) == len(two) == 16
        assert one != two
        assert await store.generations(space, ("tag", "other", ""), 1.0) == (
            two,
            (await store.generations(space, ("other",), 60.0))[0],
            one,
        )

    async def test_what_is_offered(self, store: Any) -> None:
        """A tag begins with it; what is there stays, unless the offer stands instead of that."""
        space, tags = _name(), ("", "tag")
        one, two, three = (b"\xa5g\x01" + os.urandom(54) for _ in range(3))  # as sealed ones begin
        assert await store.generations(space, tags, 60.0, (Offer(one), Offer(two))) == (one, two)
        assert await store.generations(space, tags, 60.0) == (one, two)
        offers = (Offer(three, instead=two), Offer(three, instead=two))
        assert await store.generations(space, tags, 60.0, offers) == (one, three)
        assert await store.generations(space, tags, 60.0, offers) == (one, three)
        await store.renew_generation(space, "tag")
        assert await store.generations(space, ("tag",), 60.0, offers[:1]) == (three,)

    async def test_what_is_offered_again(self, store: Any) -> None:
        """It takes the place of what it is of; once that has ended, what is fresh comes instead."""
        space, tags = _name(), ("tag",)
        one, again, fresh, late = (b"\xa5g\x01" + os.urandom(54) for _ in range(4))
        assert await store.generations(space, tags, 60.0, (Offer(one),)) == (one,)
        assert await store.generations(space, tags, 60.0, (Offer(fresh, one, again),)) == (again,)
        assert await store.generations(space, tags, 60.0, (Offer(fresh, one, late),)) == (again,)
        await store.renew_generation(space, "tag")
        assert await store.generations(space, tags, 60.0, (Offer(fresh, again, late),)) == (fresh,)
        assert await store.generations(space, tags, 60.0) == (fresh,)

    async def test_no_names_are_no_generations(self, store: Any) -> None:
        """To ask for nothing is no error."""
        assert await store.generations(_name(), (), 60.0) == ()

    @pytest.mark.parametrize("tag", ["", "tag", "a:b", "{a}", "*", "é", "a b", "%3A"])
    async def test_a_renewed_generation_is_another(self, store: Any, tag: str) -> None:
        """And stays so; other tags, and the tag in other namespaces, are not touched."""
        space, other = _name(), _name()
        (old,) = await store.generations(space, (tag,), 60.0)
        kept = await store.generations(space, (f"{tag}x", "?"), 60.0)
        elsewhere = await store.generations(other, (tag,), 60.0)
        await store.renew_generation(space, tag)
        (new,) = await store.generations(space, (tag,), 60.0)
        assert new != old
        assert await store.generations(space, (tag,), 60.0) == (new,)
        assert await store.generations(space, (f"{tag}x", "?"), 60.0) == kept
        assert await store.generations(other, (tag,), 60.0) == elsewhere

    async def test_a_generation_that_nobody_knows_is_renewed(self, store: Any) -> None:
        """To forget by a tag that was never used is no error."""
        await store.renew_generation(_name(), "tag")

    async def test_many_who_ask_first_agree(self, store: Any) -> None:
        """A missing generation is made once."""
        space = _name()
        told = await asyncio.gather(*(store.generations(space, ("", "t"), 60.0) for _ in range(20)))
        assert len(set(told)) == 1
