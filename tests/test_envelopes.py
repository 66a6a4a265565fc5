"""What an envelope holds besides: compressed payloads and seals, both ways."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import traceback
import warnings
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from hashlib import blake2b
from typing import Any

import msgspec
import pytest

from samecall import (
    Cache,
    ConfigurationError,
    Key,
    Policy,
    SamecallWarning,
    Seal,
    Undecodable,
    _envelopes,
    _zstd,
)
from samecall._entry import (
    HEADER,
    Entry,
    Kind,
    Payload,
    decode_entry,
    encode_entry,
    new_stamp,
)
from samecall._entry import _checksum as checksum
from samecall._envelopes import Envelopes
from samecall._memory import MemoryStore
from samecall._stream.frames import Frame, Frames

KEY = Key(b"k" * 32, "space")
OLD, NEW = Seal.new_key(), Seal.new_key()
TEXT = "the same words again and again; " * 40


def sealing() -> Envelopes:
    return Envelopes(Seal({"old": OLD, "new": NEW}, "new"))


def sealed(
    envelopes: Envelopes,
    kind: Kind = Kind.VALUE,
    payload: Payload = Payload("plain", b"answer"),  # noqa: B008 - frozen
    compress_over: int | None = None,
) -> tuple[Entry, bytes]:
    entry = Entry(kind, payload, new_stamp(), 60.0, 60.0, 1.5)
    return envelopes.seal(KEY, entry, compress_over)


def read(envelopes: Envelopes, data: bytes, key: Key = KEY) -> Entry:
    return envelopes.read(key, data, left=50.0, now=1_000.0)


# --- compressed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seal", [None, Seal({"a": OLD}, "a")], ids=["open", "sealed"])
@pytest.mark.parametrize(
    "held", [b"", b"a", os.urandom(500), TEXT.encode(), b"x" * 3_000_000], ids=len
)
def test_what_goes_out_comes_back(seal: Seal | None, held: bytes) -> None:
    envelopes = Envelopes(seal)
    payload = Payload("plain", held)
    entry, data = sealed(envelopes, payload=payload, compress_over=0)
    assert entry.payload is payload
    assert entry.size >= len(held)
    back = read(envelopes, data)
    assert (back.payload, back.kind, back.stamp) == (payload, Kind.VALUE, entry.stamp)
    assert (back.fresh_for, back.kept_for, back.cost, back.born) == (60.0, 60.0, 1.5, 990.0)
    assert back.size >= len(held)
    if held[1:]:
        assert len(data) < len(held) + 250
    if held.startswith((b"the", b"xxx")):
        assert len(data) < 1_000
        assert b"words again" not in data


def test_only_what_is_over_the_threshold_is_compressed() -> None:
    for over, small in ((None, False), (len(TEXT), False), (len(TEXT) - 1, True)):
        payload = Payload("plain", TEXT.encode())
        _, data = sealed(Envelopes(), payload=payload, compress_over=over)
        assert (len(data) < len(TEXT)) is small
    _, data = sealed(Envelopes(None, False), payload=payload, compress_over=0)
    assert len(data) > len(TEXT)


@pytest.fixture(params=["zstandard", "backports.zstd"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the libraries that may do the work."""
    name: str = request.param
    if name != "zstandard" and sys.version_info >= (3, 14):
        name = "compression.zstd"
    found = pytest.importorskip(name)
    press = _zstd._Standard(found) if name == "zstandard" else _zstd._Builtin(found)
    monkeypatch.setattr(_zstd, "_library", lambda: press)
    return name


def test_both_libraries_read_what_the_other_wrote() -> None:
    pytest.importorskip("zstandard")
    backport = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    presses = (
        _zstd._Standard(pytest.importorskip("zstandard")),
        _zstd._Builtin(pytest.importorskip(backport)),
    )
    for wanted in (True, False):
        for writes, reads in (presses, presses[::-1]):
            data = TEXT.encode() * 3
            assert reads.expand(writes.squeeze(data, wanted), wanted) == data


@pytest.mark.usefixtures("library")
def test_a_bomb_is_a_miss_and_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_zstd, "MOST", 10_000)
    whole = _zstd.squeeze(b"x" * 10_000)
    monkeypatch.setattr(_zstd, "MOST", 9_999)
    assert _zstd.squeeze(b"x" * 10_000) is None
    with pytest.raises(Undecodable, match="more than may be"):
        _zstd.expand(whole)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"9" + data[1:],
        lambda data: data[:-1],
        lambda data: data[:1],
        lambda data: data + b"more",
        lambda data: b"1" + os.urandom(30),
    ],
)
def test_damage_is_undecodable(damage: Callable[[bytes], bytes]) -> None:
    squeezed = _zstd.squeeze(TEXT.encode())
    with pytest.raises(Undecodable):
        _zstd.expand(damage(squeezed))


async def test_without_the_library_entries_are_misses_with_one_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemoryStore()
    async with Cache(store, l1=None) as cache:
        await cache.get_or_call("a", _says(TEXT))
        await cache.get_or_call("b", _says(TEXT))
    for name in ("squeeze", "expand", "has_library"):
        assert getattr(_envelopes, name) is getattr(_zstd, name)
    monkeypatch.setattr(_zstd, "_library", lambda: None)
    async with Cache(store, l1=None) as cache:
        with pytest.warns(SamecallWarning, match=r"pip install 'samecall\[zstd\]'"):
            assert await cache.get_or_call("a", _says("other")) == "other"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert await cache.get_or_call("b", _says("other")) == "other"
        assert cache.statistics().undecodable > 0
        assert await cache.get_or_call("a", _says("third")) == "other"


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "many"])
def test_compress_over_takes_a_number_of_bytes(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="compress_over takes"):
        Policy(compress_over=wrong)


# --- sealed -------------------------------------------------------------------------------------


def test_a_sealed_entry_shows_nothing_of_what_it_holds() -> None:
    payload = Payload("plain", b"the answer, in words")
    _, data = sealed(sealing(), payload=payload)
    assert b"answer" not in data
    assert b"plain" not in data


def test_every_bit_of_it_counts() -> None:
    envelopes = sealing()
    _, data = sealed(envelopes)
    for place in range(len(data)):
        for bit in (1, 128):
            broken = bytearray(data)
            broken[place] ^= bit
            mended = bytes(broken[:51]) + checksum(bytes(broken[:51]), bytes(broken[HEADER:]))
            for forged in (bytes(broken), mended + bytes(broken[HEADER:])):
                if forged == data:
                    continue
                try:
                    entry = read(envelopes, forged)
                except Undecodable:
                    continue
                # what stands outside the seal is not believed
                assert entry.payload.data == b"answer"
                assert (entry.kind, entry.fresh_for, entry.kept_for) == (Kind.VALUE, 60.0, 60.0)


def _moved(data: bytes, key: Key, **changes: Any) -> bytes:
    """A hostile writer's envelope: what it knows is the layout, what it lacks is a key."""
    entry = decode_entry(KEY, data, left=50.0, now=0.0)
    return encode_entry(key, msgspec.structs.replace(entry, **changes))


def test_an_entry_cannot_be_moved() -> None:
    envelopes = sealing()
    _, data = sealed(envelopes)
    assert read(envelopes, _moved(data, KEY)).payload.data == b"answer"
    for key, changes in (
        (Key(b"o" * 32, "space"), {}),
        (Key(b"k" * 32, "another"), {}),
        (KEY, {"kind": Kind.ERROR}),
        (KEY, {"stamp": new_stamp()}),
        (KEY, {"payload": Payload("plain", b"forged")}),
        (KEY, {"payload": Payload("z:plain", b"forged")}),
        (KEY, {"payload": Payload("sealed", b"")}),
        (KEY, {"payload": Payload("sealed", b"\x03new")}),
        (KEY, {"payload": Payload("sealed", b"\xff" * 40)}),
    ):
        with pytest.raises(Undecodable):
            read(envelopes, _moved(data, key, **changes), key)


def test_an_old_entry_is_not_young_again_whatever_the_store_says_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the moment under the seal, less what two clocks may differ; never older than it is."""
    envelopes = sealing()
    entry = Entry(Kind.VALUE, Payload("plain", b"answer"), new_stamp(), 1_000.0, 9_000.0)
    _, data = envelopes.seal(KEY, entry)
    for gone, left, age in ((0.0, 9_000.0, 0.0), (5_000.0, 9_000.0, 4_400.0), (0.0, 10.0, 8_990.0)):
        now = time.time()
        with monkeypatch.context() as patch:
            patch.setattr(_envelopes.time, "time", lambda: now + gone)  # noqa: B023 - used within
            read_back = envelopes.read(KEY, data, left=left, now=0.0)
        assert -read_back.born == pytest.approx(age, abs=60.0)


def test_lifetimes_outside_the_seal_are_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    envelopes = sealing()
    _, data = sealed(envelopes)
    longer = _moved(data, KEY, fresh_for=10_000.0, kept_for=10_000.0, cost=9.0)
    entry = envelopes.read(KEY, longer, left=9_999.0, now=0.0)
    assert (entry.fresh_for, entry.kept_for, entry.cost) == (60.0, 60.0, 1.5)
    now = _envelopes.time.time()
    monkeypatch.setattr(_envelopes.time, "time", lambda: now + 60.0 + 601.0)
    with pytest.raises(Undecodable, match="over long ago"):
        envelopes.read(KEY, longer, left=9_999.0, now=0.0)


def test_old_keys_read_and_the_current_one_writes() -> None:
    before, after = Envelopes(Seal({"old": OLD}, "old")), sealing()
    _, data = sealed(before)
    assert read(after, data).payload.data == b"answer"
    _, data = sealed(after)
    with pytest.raises(Undecodable, match="a key that is not here"):
        read(before, data)
    with pytest.raises(Undecodable, match="no key here"):
        read(Envelopes(), data)
    with pytest.raises(Undecodable, match="seal is broken"):
        read(Envelopes(Seal({"new": OLD}, "new")), data)
    with pytest.raises(Undecodable, match="not sealed"):
        read(after, sealed(Envelopes())[1])


@pytest.mark.parametrize(
    ("keys", "current", "message"),
    [
        ({}, "a", "keys takes a dict"),
        ([OLD], "a", "keys takes a dict"),
        ({"a": OLD[:31]}, "a", "32 bytes; 'a' has 31 bytes"),
        ({"a": OLD.hex()}, "a", "32 bytes; 'a' has str"),
        ({"a b": OLD}, "a b", "ids of 1 to 40"),
        ({3: OLD}, 3, "ids of 1 to 40"),
        ({"a": OLD}, "b", r"current takes the id of one of the keys \(a\)"),
    ],
)
def test_bad_keys_are_named_and_never_shown(keys: Any, current: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as raised:
        Seal(keys, current)
    assert OLD.hex()[:8] not in str(raised.value)
    with pytest.raises(ConfigurationError, match="seal takes a Seal"):
        Cache(seal=keys)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"generation_validity": 299}, "generation_validity takes 300 seconds or more.*None"),
        ({"generation_validity": timedelta(minutes=4)}, "generation_validity takes 300 seconds"),
        ({"generation_validity": "1h"}, "generation_validity takes seconds.*got str '1h'"),
        ({"generation_validity": 0}, "generation_validity takes seconds"),
        ({"renews_generations": False}, "takes a generation_validity as well.*=3600"),
        ({"renews_generations": None}, "renews_generations takes True or False; got None"),
    ],
)
def test_what_a_generation_is_valid_for_is_checked(settings: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Seal({"a": OLD}, "a", **settings)


def test_what_a_generation_is_valid_for_is_seconds() -> None:
    assert Seal({"a": OLD}, "a").generation_validity is None
    for hour in (3600, timedelta(hours=1)):
        seal = Seal({"a": OLD}, "a", generation_validity=hour, renews_generations=False)
        assert (seal.generation_validity, seal.renews_generations) == (3600.0, False)


def test_a_seal_shows_no_key() -> None:
    assert repr(Seal({"a": OLD}, "a")) == "Seal(a; current a)"


# --- streams ------------------------------------------------------------------------------------


def test_a_frame_that_is_too_deep_is_undecodable() -> None:
    """Whoever can write to the store knows how its checksum is made."""
    token = b"t" * 16
    body = b"\x9a\x01\x00\x90\x90\xa0\xc4\x00\x90\x90\x00" + b"\x91" * 100_000
    checksum = blake2b(KEY.digest + token + body, digest_size=8).digest()
    with pytest.raises(Undecodable, match="RecursionError"):
        Frames(KEY, token).read(b"\xa5r\x01" + checksum + body)


def test_a_frame_is_bound_to_its_stream_and_its_number() -> None:
    seal, token = Seal({"a": OLD}, "a"), b"t" * 16
    frames = Frames(KEY, token, seal)
    frame = Frame(3, 10, [b"chunk in words"], [5])
    data = frames.pack(frame)
    assert msgspec.structs.replace(frames.read(data), made=0.0) == frame
    assert b"words" not in data
    elsewhere = [
        (Frames(Key(b"o" * 32, "space"), token, seal), b"o" * 32 + token),
        (Frames(Key(b"k" * 32, "other"), token, seal), KEY.digest + token),
        (Frames(KEY, b"u" * 16, seal), KEY.digest + b"u" * 16),
        (Frames(KEY, token, Seal({"a": NEW}, "a")), KEY.digest + token),
    ]
    for other, bound in elsewhere:  # a hostile writer knows how checksums are made
        body = data[11:]
        forged = data[:3] + blake2b(bound + body, digest_size=8).digest() + body
        with pytest.raises(Undecodable):
            other.read(forged)
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= 1
        body = bytes(broken[11:])
        check = blake2b(KEY.digest + token + body, digest_size=8).digest()
        for forged in (bytes(broken), bytes(broken[:3]) + check + body):
            if forged != data:
                with pytest.raises(Undecodable):
                    frames.read(forged)
    with pytest.raises(Undecodable):
        frames.read(Frames(KEY, token).pack(frame))


# --- through a cache ----------------------------------------------------------------------------


def _says(answer: Any) -> Callable[[], Any]:
    async def call() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return call


async def entries(store: MemoryStore) -> AsyncIterator[tuple[Key, bytes]]:
    async for key, found in store.walk("default"):
        yield key, found.data


@pytest.mark.parametrize("url", ["memory://", None], ids=["alone", "shared"])
async def test_a_cache_with_a_seal(url: str | None) -> None:
    seal = Seal({"a": OLD}, "a")
    async with Cache(url or MemoryStore(), seal=seal) as cache:
        for _ in range(2):
            assert await cache.get_or_call("a", _says(TEXT)) == TEXT
        assert await cache.peek("a") == TEXT
        await cache.get_or_call("b", _says({"other": 1}))
        now = cache.statistics()
    assert (now.provider_calls, now.l1_hits, now.undecodable) == (2, 1, 0)


async def test_a_hostile_writer_causes_misses_only() -> None:
    store, seal = MemoryStore(), Seal({"a": OLD}, "a")
    async with Cache(store, seal=seal, l1=None) as cache:
        await cache.get_or_call("a", _says("answer a"))
        await cache.get_or_call("b", _says("answer b"))
    (one, _), (two, second) = [pair async for pair in entries(store)]
    stolen = decode_entry(two, second, left=60.0, now=0.0)
    await store.set(one, encode_entry(one, stolen), 600.0)
    forged = Entry(
        Kind.VALUE, Payload("plain", msgspec.msgpack.encode("forged")), new_stamp(), 60, 60
    )
    await store.set(two, encode_entry(two, forged), 600.0)
    async with Cache(store, seal=seal, l1=None) as cache:
        assert await cache.get_or_call("a", _says("called a")) == "called a"
        assert await cache.get_or_call("b", _says("called b")) == "called b"
        now = cache.statistics()
        assert now.undecodable >= 2
        assert await cache.get_or_call("b", _says("third")) == "called b"


async def test_errors_are_sealed_too() -> None:
    store = MemoryStore()
    async with Cache(store, seal=Seal({"a": OLD}, "a"), l1=None) as cache:
        with pytest.raises(RuntimeError, match="hush"):
            await cache.get_or_call("a", _says(RuntimeError("hush")))
        await asyncio.sleep(0)
    held = [item._data for item in store._errors._items.values()]
    assert len(held) == 1
    assert b"hush" not in held[0]


@pytest.mark.parametrize(
    ("written", "read", "says"),
    [
        (Seal({"a": OLD}, "a"), None, "no key here"),
        (Seal({"a": OLD}, "a"), Seal({"a": NEW}, "a"), "seal is broken"),
        (Seal({"a": OLD}, "a"), Seal({"b": OLD}, "b"), "a key that is not here"),
        (None, Seal({"a": OLD}, "a"), "not sealed"),
    ],
    ids=["none", "wrong", "unknown", "of before"],
)
async def test_another_key_is_a_miss_that_is_counted_and_told_once(
    written: Seal | None, read: Seal | None, says: str
) -> None:
    store = MemoryStore()
    async with Cache(store, seal=written, l1=None) as cache:
        for name in "ab":
            await cache.get_or_call(name, _says("answer"))
    async with Cache(store, seal=read, l1=None) as cache:
        with pytest.warns(SamecallWarning, match=says):
            assert await cache.get_or_call("a", _says("mine")) == "mine"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert await cache.get_or_call("b", _says("mine")) == "mine"
        assert cache.statistics().undecodable >= 2


async def test_warnings_that_are_errors_cost_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop is told instead, and nothing of what a rule of the application's quoted."""
    store, told = MemoryStore(), list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    def quotes(_: object, answer: object) -> bool:
        raise ValueError(answer)

    async with Cache(store, l1=None) as cache:
        await cache.get_or_call("a", _says(TEXT))
    monkeypatch.setattr(_zstd, "_library", lambda: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with Cache(store, l1=None) as cache:
            assert await cache.get_or_call("a", _says("other")) == "other"
            picky = Policy(should_store=quotes, compress_over=None)
            assert await cache.get_or_call("b", _says("answer"), policy=picky) == "answer"
    assert ["zstd" in each["message"] for each in told] == [True, False]
    for each in told:
        assert "answer" not in "".join(traceback.format_exception(each["exception"]))
