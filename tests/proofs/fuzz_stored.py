"""Targets: what stands in a store beside plain entries, what servers say, and streams."""

from __future__ import annotations

import asyncio
import json
import math
import random
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import msgspec
from fuzz_input import must, mutated, odd_reply, spoilt

from samecall import Key, Policy, Seal, StoreError
from samecall._codec import PlainCodec, pack_items, unpack_items
from samecall._copy import unwrap, wrap
from samecall._entry import Entry, Kind, Payload, encode_entry, new_stamp
from samecall._envelopes import Envelopes
from samecall._errors import Undecodable
from samecall._key import key_from
from samecall._lease import Claim
from samecall._lineage import Floors, Lineage, moment
from samecall._news import LONGEST_SPREAD, spread_of
from samecall._ports import Acquired, Failed, Found, Hit, Lead, MonotonicClock, Wait
from samecall._recordings import Recorded
from samecall._redis import RedisStore, names
from samecall._redis.ear import Ear
from samecall._redis.jobs import Job
from samecall._redis.replies import acquired, flag, generation
from samecall._redis.topology import read_slots
from samecall._stamps import is_token, new_token
from samecall._stream.codec import PlainStreamCodec, TrackCodec
from samecall._stream.follower import Follower
from samecall._stream.frames import Frame, Frames
from samecall._stream.tape import End
from samecall.cli._entries import line_of
from samecall.instructor._stream_columns import _Plain, _squeezed, folded, unfolded

KEY = key_from("k", "default", None)
TOKEN = new_token(KEY)
SEAL = Seal({"now": b"n" * 32, "old": b"o" * 32}, "now")
TEXT = b'{"name":"Ada","note":"' + b"said again and again, " * 30 + b'"}'
NEVER = float("inf")


def nothing(*_: object) -> None:
    """What is told is of no interest."""


# --- sealed and squeezed entries ------------------------------------------------------------------

SEALS = Envelopes(SEAL)
OPEN = Envelopes()
_MADE: set[bytes] = set()


def made(envelopes: Envelopes, data: bytes = TEXT, kind: Kind = Kind.VALUE) -> bytes:
    """The bytes of an entry as a store has them."""
    _MADE.add(data)
    entry = Entry(kind, Payload("plain", data), new_stamp(), 60.0, 60.0)
    return envelopes.seal(KEY, entry, compress_over=10)[1]


def envelope_input(chance: random.Random) -> tuple[bool, bytes]:
    sealed = chance.random() < 0.5
    whole = made(SEALS if sealed else OPEN, TEXT, chance.choice(list(Kind)))
    if chance.random() < 0.3:
        return sealed, mutated(chance, whole)
    tag = "sealed" if sealed else "z:plain"
    data = mutated(chance, whole[whole.index(tag.encode()) + len(tag) :])
    entry = Entry(Kind.VALUE, Payload(tag, data), whole[3:19], 60.0, 60.0)
    return sealed, encode_entry(KEY, entry)


def envelope(given: tuple[bool, bytes]) -> str:
    """Of what is sealed nothing but what was sealed comes out."""
    sealed, data = given
    line, _ = line_of(KEY, data, 1.0, SEALS if sealed else OPEN)
    must(json.dumps(msgspec.to_builtins(line)), "no line of `samecall ls`")
    try:
        entry = (SEALS if sealed else OPEN).read(KEY, data, left=1.0, now=1.0)
    except Undecodable:
        return "refused"
    must(not sealed or entry.payload.data in _MADE, "forged, and it opens")
    must(isinstance(entry.payload.data, bytes), "no payload")
    return "read"


def near_input(chance: random.Random) -> Found:
    left = chance.choice((0.0, -1.0, 5.0, math.nan, 1e300))
    whole = wrap(made(OPEN), chance.choice((5.0, math.inf, math.nan, -3.0)), 60.0)
    return Found(mutated(chance, whole) if chance.random() < 0.7 else whole, left)


def near(found: Found) -> str:
    """A copy in a near store: what is in it, with a life that has an end, or nothing."""
    got = unwrap(found)
    if got is None:
        return "refused"
    must(isinstance(got.data, bytes) and got.left > 0, "no life")
    return "read"


# --- generations, tokens, messages ----------------------------------------------------------------

_LINEAGE = Lineage(SEAL)
_TAGS = ("", "t")


def _records() -> list[bytes]:
    return [offer.fresh for offer in _LINEAGE.offers("ns", _TAGS, Floors())]


def generations_input(chance: random.Random) -> tuple[list[bytes], bool]:
    told = _records()
    at, how = chance.randrange(2), chance.randrange(5)
    told[at] = (
        told[1 - at],  # another tag's
        chance.randbytes(chance.choice((0, 2, 3, 16, 24, 57))),
        told[at][:3] + chance.randbytes(chance.randint(0, 60)),
        mutated(chance, told[at]),
        told[at],
    )[how]
    return told, how == 4


def generations(given: tuple[list[bytes], bool]) -> str:
    """Sealed ones: those that were made here, or none; and another is offered in their place."""
    told, whole = given
    before = _records()
    got = _LINEAGE.read("ns", _TAGS, told)
    for offer in _LINEAGE.offers("ns", _TAGS, Floors()):
        must(len(offer.fresh) == len(before[0]), "no offer")
    if got is None:
        must(not whole, "sound ones are not believed")
        return "refused"
    must(all(len(one) == 24 and int.from_bytes(one[:8]) <= moment() for one in got), "forged")
    return "read"


def token_input(chance: random.Random) -> bytes:
    return mutated(chance, TOKEN) if chance.random() < 0.8 else chance.randbytes(16)


def token(data: bytes) -> str:
    """Of this key, by its length and its last four bytes; never by another's."""
    mine = is_token(data, KEY)
    must(mine is (len(data) == 16 and data[12:] == KEY.digest[:4]), "by something else")
    must(not is_token(data, key_from("other", "default", None)), "of any key")
    return "read" if mine else "refused"


class _Told:
    """A bell that rings once."""

    def __init__(self, message: bytes | None) -> None:
        self.message = message

    async def wait(self, timeout: float) -> bytes | None:
        return self.message


class Messages:
    """A follower that is told something."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    @staticmethod
    def input(chance: random.Random) -> bytes:
        match chance.randrange(4):
            case 0:
                return b"~" + chance.choice(
                    (b"", b"1", b"99999", b"-1", b"1e3", b"\xb2", b"9" * 99)
                )
            case 1:
                return b"~%d" % chance.randrange(10**6)
            case 2:
                stamp = chance.choice((TOKEN, new_token(KEY)))
                entry = Entry(chance.choice(list(Kind)), Payload("plain", TEXT), stamp, 60.0, 60.0)
                whole = encode_entry(KEY, entry)
                return whole if chance.random() < 0.3 else mutated(chance, whole)
            case _:
                return mutated(chance, b"~10") if chance.random() < 0.5 else chance.randbytes(70)

    def run(self, message: bytes) -> str:
        """An entry is taken if the leader made it, and a pause is never longer than it may be."""
        spread = spread_of(message)
        must(isinstance(spread, float) and 0 <= spread <= LONGEST_SPREAD, "endless")
        if spread:
            return "a pause"
        store: Any = None
        claim = Claim(store, KEY, Policy(), b"", MonotonicClock(), nothing)
        got = self._runner.run(claim._rung(_Told(message), 1.0, TOKEN))
        if got is None:
            return "look again"
        must(isinstance(got, (Hit, Failed)) and got.data[3:19] == TOKEN, "of another leader")
        return "an entry"


class _Hears:
    def __init__(self) -> None:
        self.count = 0

    def told(self) -> None:
        self.count += 1

    doubtful = told

    def changed(self, key: Key, stamp: bytes) -> None:
        must(isinstance(key.digest, bytes) and isinstance(stamp, bytes), "no key")
        must(key.namespace == "default", "of another namespace")

    def renewed(self, namespace: str, tag: str) -> None:
        must(namespace == "default" and isinstance(tag, str), "no tag")


def _ear() -> Ear:
    made: Any = Ear.__new__(Ear)
    made._namespaces, made._heard = {b"default": "default"}, [_Hears()]
    made._true, made._alarm, made._closed = False, None, False
    return made


_EAR = _ear()


def change_input(chance: random.Random) -> Any:
    change, generation_of = names.change(KEY, TOKEN), names.generation("default", "t\xe9")
    name = mutated(chance, chance.choice((change, generation_of)).encode())
    name = name if chance.random() < 0.8 else change.encode()
    whole = [b"message", b"__redis__:invalidate", [name, b"default:x:{", b"default:g:%ff"]]
    subscribed = [b"subscribe", b"__redis__:invalidate", 1]
    return whole if chance.random() < 0.6 else odd_reply(chance, whole, subscribed, b"PONG")


def change(message: Any) -> str:
    """A name that is none of ours is heard of by nobody; a message that is none is told."""
    whole = isinstance(message, list) and message[:2] == [b"message", b"__redis__:invalidate"]
    try:
        _EAR._hear(message)
    except StoreError:
        return "refused"
    except (AttributeError, TypeError):
        must(not whole or not all(isinstance(one, bytes) for one in message[2]), "a name")
        return "the line is dropped"
    return "heard"


# --- replies --------------------------------------------------------------------------------------

_ACQUIRED: tuple[Any, ...] = (
    (1_000, b"v" * 60), [b"E", 1_000, b"e"], [b"W", TOKEN, 4_000, b""],
    [b"L", b"", b""], [b"L", b"", b"e" * 40, b"vt"], [b"X", b"OOM"],
)  # fmt: skip
_RECORDED: tuple[Any, ...] = ([1, 1, 3], [1, 0, -1])
_SLOTS: tuple[Any, ...] = ([[0, 16383, [b"h", 7000, b"id", []]], [1, 2, [None, 1]]],)
_LOOKED: tuple[Any, ...] = ([b"H", 1_000, b"v"], [b"N"], [b"0", [names.value(KEY).encode()]])
_NOTED: tuple[Any, ...] = ([1_000, names.report("default", "w").encode(), b"900"], [b"report"], 2)
_LIKELY: tuple[tuple[Any, ...], ...] = (
    _ACQUIRED, (0, 1), (0, 1), (0, 1), (0, 1), _LOOKED, (b"OK",), (0, 1), (b"g" * 16, [b"g"]),
    _RECORDED, ([[b"1-0", [b"f", b"frame"]], [b"2-0", [b"f", b""]]],), _LOOKED, _NOTED, _LOOKED,
    _SLOTS,
)  # fmt: skip
"""By what is asked, see `Replies`."""


class _Lane:
    """Gives one reply to whatever is asked, and then what ends a walk."""

    put = None

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)

    def ask(self, script: Any, keys: Any, args: Any, **more: Any) -> asyncio.Future[Any]:
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        reply = self.replies.pop(0) if self.replies else [b"0", []]
        job = Job(script, keys, args, answered, settles=False, read=more.get("read"))
        job.answer(reply)
        return answered

    async def scan(self) -> tuple[Any, ...]:
        return (self,)

    async def unlink(self, found: Any) -> Any:
        return await self.ask(None, (), ())

    async def probe(self, script: Any, name: str) -> Any:
        return await self.ask(script, (name,), ())


def _over(*replies: Any) -> RedisStore:
    lane = _Lane(*replies)
    bells = SimpleNamespace(publish=b"PUBLISH")
    lines: Any = SimpleNamespace(reads=lane, writes=lane, bells=bells, ear=None, db=0)
    return RedisStore(lines, 0.5)


class Replies:
    """A Redis that says anything."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    @staticmethod
    def input(chance: random.Random) -> tuple[int, list[Any]]:
        what = chance.randrange(len(_LIKELY))
        some = 1 if chance.random() < 0.5 else 3  # of so many replies one is odd, or each
        told = [odd_reply(chance, *_LIKELY[what]) for _ in range(some)]
        return what, [*told, *(chance.choice(_LIKELY[what]) for _ in range(3 - some))]

    def run(self, given: tuple[int, list[Any]]) -> str:
        try:
            self._runner.run(self._ask(*given))
        except StoreError:
            return "a store fault"
        return "read"

    async def _ask(self, what: int, replies: list[Any]) -> None:  # noqa: C901, PLR0912 - one by one
        store = _over(*replies)
        match what:
            case 0:
                got = await store.acquire(KEY, TOKEN, b"", 5.0)
                must(isinstance(got, (Hit, Failed, Wait, Lead)), "no reply")
                _typed(got)
            case 1:
                must(isinstance(await store.renew(KEY, TOKEN, 5.0), bool), "no flag")
            case 2:
                done = await store.commit(KEY, TOKEN, b"", b"v" * 60, 5.0)
                must(isinstance(done, bool), "no flag")
            case 3:
                must(isinstance(await store.fail(KEY, TOKEN, b"e" * 60, 5.0), bool), "no flag")
            case 4:
                must(isinstance(await store.release(KEY, TOKEN), bool), "no flag")
            case 5:
                found = await store.get(KEY)
                must(found is None or isinstance(found.data, bytes), "no bytes")
            case 6:
                await store.set(KEY, b"v" * 60, 5.0)
            case 7:
                await store.forget(KEY, 5.0)
            case 8:
                told = await store.generations("default", ("", "t"), 5.0)
                must(all(isinstance(one, bytes) for one in told), "no generation")
            case 9:
                done_so = await store.record(KEY, TOKEN, 1, b"f", 5.0, 5.0)
                must(isinstance(done_so, Recorded), "no record")
            case 10:
                frames = await store.replay(KEY, TOKEN, 0)
                must(all(isinstance(one, bytes) for one in frames), "no frames")
            case 11:
                async for key, value in store.walk("default"):
                    must(isinstance(key, Key) and isinstance(value.data, bytes), "no entry")
                    must(isinstance(value.left, float), "no life")
            case 12:
                for posted in await store.posted(None):
                    must(isinstance(posted.data, bytes) and posted.age >= 0, "no report")
            case 13:
                await store.clear("default")
            case _:
                slots = read_slots(replies[0], "here")
                must(all(isinstance(one[2][0], str) for one in slots), "no host")


def _typed(got: Acquired) -> None:
    match got:
        case Hit(data=data, left=left) | Failed(data=data, left=left):
            must(isinstance(data, bytes) and isinstance(left, float), "no bytes")
        case Wait(token=held, left=left, seen=seen):
            must(isinstance(held, bytes) and isinstance(seen, bytes), "no token")
            must(isinstance(left, float), "no time")
        case Lead(seen=seen, epoch=epoch, odd=odd):
            must(isinstance(seen, bytes) and isinstance(epoch, bytes), "no stamp")
            must(isinstance(odd, tuple), "no letters")


def reply_input(chance: random.Random) -> Any:
    return odd_reply(chance, *_ACQUIRED)


def reply(told: Any) -> str:
    """What a script says of one key."""
    read_any = False
    for read_one in (acquired, flag, generation):
        with suppress(StoreError):
            got: Any = read_one(told)
            must(isinstance(got, (Hit, Failed, Wait, Lead, bool, bytes)), "no reply")
            read_any = True
    return "read" if read_any else "a store fault"


# --- streams --------------------------------------------------------------------------------------


def _frames(sealed: bool) -> Frames:
    return Frames(KEY, TOKEN, SEAL if sealed else None)


def packed(frame: Frame, *, sealed: bool = False) -> bytes:
    """The bytes of a frame."""
    return _frames(sealed).pack(frame)


def frames_input(chance: random.Random) -> tuple[bool, list[bytes]]:
    sealed = chance.random() < 0.3
    pack, chunks, out = _frames(sealed), 0, list[bytes]()
    for number in range(1, chance.randint(2, 5)):
        held = [b"chunk %d" % (chunks + at) for at in range(chance.randint(0, 3))]
        end = chance.choice(("", "", "", *(each.value for each in End)))
        frame = Frame(number, chunks, held, [10] * len(held), end, b"e" if end else b"", ("t",))
        chunks += len(held)
        data = pack.pack(frame)
        match chance.randrange(6):
            case 0:
                data = mutated(chance, data)
            case 1 if not sealed:  # sound on the outside
                told = spoilt(chance, msgspec.to_builtins(frame, builtin_types=(bytes,)))
                with suppress(RecursionError, TypeError, ValueError, OverflowError):
                    body = msgspec.msgpack.encode(told)
                    body = mutated(chance, body) if chance.random() < 0.3 else body
                    data = data[:3] + pack._checksum(body) + body
            case 2:
                out.append(data)
            case _:
                pass
        out.append(data)
    if chance.random() < 0.3:
        chance.shuffle(out)
    return sealed, out


def frames(given: tuple[bool, list[bytes]]) -> str:
    """On the tape are the chunks in their order, none missing or twice, or what a forger said."""
    sealed, all_of_them = given
    archive: Any = None
    follower = Follower(archive, KEY, TOKEN, Policy(), nothing, SEAL if sealed else None)
    tape = follower.tape
    taken = [data for data in all_of_them if tape.end is None and follower._hear(data)]
    must(len(tape.chunks) == len(tape.times), "a chunk without a time")
    must(all(isinstance(chunk, bytes) for chunk in tape.chunks), "no chunk")
    must(tape.end is None or isinstance(tape.end, End), "no end")
    if sealed:
        whole = [b"chunk %d" % at for at in range(len(tape.chunks))]
        must(tape.chunks == whole, "chunks in another order")
    return f"{min(len(taken), 2)} or more frames taken" if taken else "refused"


_STREAMS = TrackCodec(PlainStreamCodec())
_PLAIN = PlainCodec()
_ITEMS = [msgspec.msgpack.encode(one) for one in ("one", {"two": [2]}, 3.0, None)]
_EVENTS = [b'["t","v",{},{},false]\n{"n":%d,"text":"word %d"}' % (at, at) for at in range(9)]


def items_input(chance: random.Random) -> tuple[str, bytes]:
    if chance.random() < 0.5:
        payload = pack_items(_ITEMS, [0, 5, 5, 9])
        if chance.random() < 0.4:
            told = spoilt(chance, [list(_ITEMS), [0, 5, 5, 9]])
            with suppress(RecursionError, TypeError, ValueError, OverflowError):
                import zlib

                return "items", zlib.compress(msgspec.msgpack.encode(told), 1)
        return chance.choice(("items", "plain")), mutated(chance, payload.data)
    data = folded(_EVENTS, [0.01 * at for at in range(9)])
    if chance.random() < 0.6:  # sound on the outside
        told = spoilt(chance, _columns(chance), 6)
        with suppress(RecursionError, TypeError, ValueError, OverflowError):
            mark = chance.choice((b"f", b"f", b"p"))
            return "folded", _squeezed(mark + msgspec.msgpack.encode(told))
    return "folded", mutated(chance, data)


def _columns(chance: random.Random) -> Any:
    if chance.random() < 0.3:
        return msgspec.to_builtins(_Plain(_EVENTS, [10, 9]), builtin_types=(bytes,))
    text: Any = [b"wordword", [4, 4], [], []]
    steps: Any = [b"", [], [1, 2], []]
    literals: Any = [b"", [], [], [b"1", b'"x"']]
    return [[[[b'{"n":', b',"t":', b',"l":', b"}"], [steps, text, literals]]], [0, 2], [5, 2]]


def items(given: tuple[str, bytes]) -> str:
    """A stored stream: as many times as items, or a miss."""
    tag, data = given
    try:
        if tag == "folded":
            chunks, times = unfolded(data)
        else:
            payload = Payload(tag, data)
            track = _STREAMS.decode(payload)
            chunks, times = list(track.chunks), list(track.times)
            if tag == "items":
                must(len(unpack_items(payload)[0]) == len(chunks), "two readings")
    except Undecodable:
        return "refused"
    must(all(isinstance(chunk, bytes) for chunk in chunks), "no chunk")
    must(all(isinstance(time, float) for time in times), "no time")
    return "read"
