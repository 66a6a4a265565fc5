"""How often a cluster's topology is looked at, in virtual time."""

from __future__ import annotations

import asyncio

from samecall._redis.lookout import Lookout
from samecall.testing._virtual import VirtualClock, run_virtual


def test_who_asks_in_haste_waits_for_a_breath() -> None:
    """At once the first time; asked for again after each look, a dozen times a second."""

    async def main(clock: VirtualClock) -> None:
        looks: list[float] = []

        async def learn() -> None:
            looks.append(clock.now())
            asyncio.get_running_loop().call_soon(lambda: asyncio.get_running_loop().call_soon(soon))

        def soon() -> None:
            if clock.now() < ends and len(looks) < 20:
                lookout.soon()

        lookout = Lookout(learn, lambda: True, lambda _: None)
        for _ in range(2):
            looks.clear()
            began = clock.now()
            ends = began + 1.0
            await lookout.look()
            assert looks == [began]
            await asyncio.sleep(3.0)
            assert 10 <= len(looks) <= 16
        await lookout.aclose()

    run_virtual(main)
