"""`python -m samecall.testing.provider`: the stub until standard input ends; prints its URL."""

from __future__ import annotations

import asyncio
import json
import sys

from samecall.testing.provider._stub import StubProvider


async def _serve(settings: str) -> None:
    async with StubProvider(**json.loads(settings)) as stub:
        print(stub.url, flush=True)
        loop = asyncio.get_running_loop()
        ended = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(ended), sys.stdin)
        await ended.read()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1] if len(sys.argv) > 1 else "{}"))
