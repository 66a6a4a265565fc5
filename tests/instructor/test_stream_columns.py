"""The compact form of a stream: the same chunks again, in little room."""

from __future__ import annotations

import random
import zlib
from typing import Any

import anthropic
import msgspec
import openai
import pytest

from samecall import Undecodable
from samecall.instructor import _stream_columns, _stream_events
from samecall.instructor._completions import pack
from samecall.instructor._stream_columns import folded, unfolded
from samecall.testing import StubProvider

WORDS = [
    "a",
    "stream",
    "of",
    "tokens",
    "about",
    "bread",
    "and",
    "flour",
    "with",
    "water",
    "salt",
    "time",
    "heat",
    "and",
    "patience",
]
ODD: list[list[bytes]] = [
    [],
    [b""],
    [b"", b"x", b""],
    [b'{"a":1}', b'{"a":2}', b'{"a":2.5}', b'{"a":-0}', b'{"a":01}'],
    [b'{"a":"x"}', b'{"a":null}', b'{"a":"\\""}', b'{"a":"\\\\"}', b'"open'],
    [b'{"n":%d}' % n for n in (0, 10**14, 10**16, 10**40, -1)],
    [b"\xff\x00\n", b"\xff\x01\n", b"\xff\x00\n"],
    [b'{"a":"x","b":"y"}', b'{"b":"x","a":"y"}', b'{"a":"x","b":"z"}'],
]


@pytest.mark.parametrize("chunks", ODD, ids=lambda chunks: f"{len(chunks)}-{chunks[:1]}")
def test_whatever_goes_in_comes_out(chunks: list[bytes]) -> None:
    times = [0.25 * at for at in range(len(chunks))]
    assert unfolded(folded(chunks, times)) == (chunks, times)


def test_random_bytes_come_out() -> None:
    draw = random.Random(7)
    pieces = [b'"a"', b'"b\\n"', b"1", b"-2.5e3", b"{", b"}", b":", b",", b'"', b"\\", b"0", b" "]
    for _ in range(2_000):
        chunks = [
            b"".join(draw.choices(pieces, k=draw.randrange(9))) for _ in range(draw.randrange(6))
        ]
        assert unfolded(folded(chunks, [0.0] * len(chunks)))[0] == chunks


def test_what_cannot_be_folded_is_kept_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stream_columns, "_column", lambda _: _stream_columns._Column())
    chunks = [b'{"a":"x"}', b'{"a":"y"}']
    assert unfolded(folded(chunks, [0.5, 1.0])) == (chunks, [0.5, 1.0])


def test_damage_is_undecodable() -> None:
    data = folded([b'{"a":"%d"}' % n for n in range(40)], [0.0] * 40)
    for at in range(0, len(data), 3):
        damaged = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
        try:
            chunks, times = unfolded(damaged)
        except Undecodable:
            continue
        assert len(chunks) <= 40
        assert len(times) <= 40
    for cut in range(len(data)):
        with pytest.raises(Undecodable):
            unfolded(data[:cut])


def test_a_bomb_does_not_go_off() -> None:
    shape = [[b"x" * 1000], []]
    body = msgspec.msgpack.encode([[shape], [0, 2**40], []])
    with pytest.raises(Undecodable):
        unfolded(b"z" + zlib.compress(b"f" + body))
    with pytest.raises(Undecodable):
        unfolded(b"z" + zlib.compress(bytes(2**29), 9))


@pytest.mark.parametrize(
    "body",
    [
        [[[[b""], []]], [0, 2**23, 0, -(2**23)], []],  # so often none, and so often less
        [[], [], [1, 2**23, 1, -(2**23)]],
        [[[[b"", b""], [[b"text" * 999, [3996, -3996] * 500, [], []]]]], [0, 1000], [0, 1000]],
    ],
    ids=["chunks", "times", "texts"],
)
def test_less_than_none_makes_no_room_for_more(body: object) -> None:
    with pytest.raises(Undecodable):
        unfolded(b"z" + zlib.compress(b"f" + msgspec.msgpack.encode(body)))


def test_what_is_too_deep_is_undecodable() -> None:
    with pytest.raises(Undecodable):
        unfolded(b"z" + zlib.compress(b"f" + b"\x94\x90\x90\x90" + b"\x91" * 100_000))


@pytest.mark.parametrize("shape", ["chat", "responses", "anthropic"])
async def test_a_token_stream_takes_little_more_room_than_its_answer(shape: str) -> None:
    """At most 1.3 times the completion's JSON, times included: issue C, line 8."""
    draw = random.Random(1)
    answer = {"title": "Bread", "text": " ".join(draw.choices(WORDS, k=120))}
    async with StubProvider(chunk_chars=4) as stub:
        stub.answer("Who?", answer)
        events, whole = await asked(shape, stub)
    chunks = [_stream_events.chunk_of(event, None) for event in events]
    times, now = [], 0.3
    for _ in chunks:
        times.append(now)
        now += draw.expovariate(50)
    payload = _stream_events.payload_of(chunks, times)
    assert len(events) > 150
    assert len(payload.data) <= 1.3 * len(pack(whole).data)
    assert sum(map(len, chunks)) > 12 * len(payload.data)


async def asked(shape: str, stub: StubProvider) -> tuple[list[Any], Any]:
    """(events of the stream, the answer at once) of a bare SDK."""
    messages: Any = [{"role": "user", "content": "Who?"}]
    if shape == "anthropic":
        async with anthropic.AsyncAnthropic(base_url=stub.anthropic_url, api_key="k") as claude:
            more: Any = {"model": "m", "messages": messages, "max_tokens": 99}
            stream = await claude.messages.create(**more, stream=True)
            return [event async for event in stream], await claude.messages.create(**more)
    async with openai.AsyncOpenAI(base_url=stub.openai_url, api_key="k") as sdk:
        if shape == "chat":
            chat = await sdk.chat.completions.create(model="m", messages=messages, stream=True)
            whole = await sdk.chat.completions.create(model="m", messages=messages)
            return [event async for event in chat], whole
        answers = await sdk.responses.create(model="m", input="Who?", stream=True)
        return [event async for event in answers], await sdk.responses.create(
            model="m", input="Who?"
        )
