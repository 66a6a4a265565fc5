"""A server that answers whatever it likes: a store fault, and every call has its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from samecall import Cache, Policy, SamecallError

REPLIES = {
    "integer": b":1\r\n",
    "negative": b":-5\r\n",
    "no integer": b":abc\r\n",
    "integer of 23 digits": b":99999999999999999999999\r\n",
    "status": b"+OK\r\n",
    "no bytes": b"$-1\r\n",
    "empty bytes": b"$0\r\n\r\n",
    "bytes": b"$3\r\nabc\r\n",
    "bytes of a negative length": b"$-7\r\n",
    "bytes that never come": b"$99999999\r\nabc",
    "no array": b"*-1\r\n",
    "empty array": b"*0\r\n",
    "array": b"*3\r\n:1\r\n$1\r\na\r\n+x\r\n",
    "array in a hundred arrays": b"*1\r\n" * 100 + b":1\r\n",
    "array of a million": b"*1048577\r\n:1\r\n",
    "map": b"%1\r\n+a\r\n:1\r\n",
    "null": b"_\r\n",
    "truth": b"#t\r\n",
    "push": b">2\r\n+a\r\n+b\r\n",
    "no type": b"@x\r\n",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "garbage": b"\x00\xff\x00\xff\r\n",
    "two replies": b":1\r\n:2\r\n",
    "error": b"-ERR no\r\n",
    "error without a word": b"-\r\n",
    "error that is no UTF-8": b"-\xff\xfe no\r\n",
    "busy": b"-BUSY a script runs\r\n",
    "loading": b"-LOADING wait\r\n",
    "no script": b"-NOSCRIPT unknown\r\n",
    "a redirection to nowhere": b"-ASK x y\r\n",
}
# by these a sentinel says that it watches no such service: a mistake in the URL, and told as one
NO_SUCH_SERVICE = {"no bytes", "no array", "null"}
WAYS = {
    "server": "redis://{}",
    "cluster": "redis+cluster://{}",
    "sentinel": "redis+sentinel://{}/s",
}


class Liar:
    """Answers with `reply`: everything, or scripts alone, or what a script's reply holds."""

    def __init__(self, reply: bytes, lies: str) -> None:
        self.reply, self.lies = reply, lies
        self.place = ""

    def answer(self, command: list[bytes]) -> bytes:
        """What stands for the reply to a command."""
        verb = command[0].upper()
        host, _, port = self.place.partition(":")
        truths = {
            b"CLUSTER": f"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n${len(host)}\r\n{host}\r\n:{port}\r\n",
            b"COMMAND": "*1\r\n*1\r\n$10\r\nssubscribe\r\n",
            b"CLIENT": "+OK\r\n",
            b"SENTINEL": f"*2\r\n${len(host)}\r\n{host}\r\n${len(port)}\r\n{port}\r\n",
            b"ROLE": "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
        }
        if self.lies == "everything" or (verb not in truths and not verb.startswith(b"EVAL")):
            return self.reply
        if verb in truths:
            return truths[verb].encode()
        if self.lies == "scripts":
            return self.reply
        nonce = command[3 + int(command[2])]
        return b"*3\r\n$%d\r\n%s\r\n" % (len(nonce), nonce) + self.reply * 2

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with suppress(OSError, ValueError, asyncio.IncompleteReadError):
            while count := (await reader.readline())[1:]:
                command: list[bytes] = []
                for _ in range(int(count)):
                    size = int((await reader.readline())[1:])
                    command.append((await reader.readexactly(size + 2))[:-2])
                writer.write(self.answer(command))
                await writer.drain()
        writer.close()

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[None]:
        """While it can be asked."""
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.place = "{}:{}".format(*server.sockets[0].getsockname())
        yield
        server.close()


async def answer() -> str:
    return "yes"


async def items() -> AsyncIterator[int]:
    async def made() -> AsyncIterator[int]:
        yield 1
        yield 2

    return made()


async def asked(reply: bytes, lies: str, way: str) -> None:
    """All that may be asked of a cache, of such a server."""
    liar = Liar(reply, lies)
    async with liar.listening():
        # L1 would answer for it; the time is short, because some replies never end
        cache = Cache(WAYS[way].format(liar.place), l1=None, policy=Policy(op_timeout=0.1))
        asks = (cache.get_or_call(f"k{n}", answer, tags=("t",)) for n in range(3))
        assert await asyncio.gather(*asks) == ["yes"] * 3
        assert [item async for item in cache.stream("s", items)] == [1, 2]
        assert await cache.get_or_call("k0", answer, mode="refresh") == "yes"
        assert cache.statistics().store_faults > 0
        for work in (
            cache.peek("k0"),
            cache.forget("k0"),
            cache.forget_tag("t"),
            cache.clear(reclaim=True),
            cache.get_or_call("k0", answer, mode="only"),
        ):
            with suppress(SamecallError):  # told to who asks by name
                await work
        await cache.aclose()


@pytest.mark.parametrize("lies", ["everything", "scripts", "parts"])
@pytest.mark.parametrize("way", WAYS)
async def test_any_reply_is_a_fault_and_every_call_is_answered(way: str, lies: str) -> None:
    """In place of everything, of what scripts answer, or of each part of that."""
    told = REPLIES
    if (way, lies) == ("sentinel", "everything"):
        told = {name: reply for name, reply in REPLIES.items() if name not in NO_SUCH_SERVICE}
    outcomes = await asyncio.gather(
        *(asked(reply, lies, way) for reply in told.values()), return_exceptions=True
    )
    wrong = {name: error for name, error in zip(told, outcomes, strict=True) if error}
    assert wrong == {}
    assert asyncio.all_tasks() == {asyncio.current_task()}
