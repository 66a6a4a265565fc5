"""Feed random and mutated input to everything that reads what others wrote.

python tests/proofs/fuzz.py 100000             that many inputs, shared out over the targets
python tests/proofs/fuzz.py 1000000 --seed 7   others; the same seed makes the same inputs
python tests/proofs/fuzz.py 20000 url key      only these targets

Each input ends in an answer of the right type or in the one clear error of its target, never in
another exception; and no target takes more than linear time in the size of its input.

Mutators of our own and not atheris: a run is the same on every Python that we support, 3.14
included, and one process serves all targets. What is our own in reading is small (a fixed header,
a checksum, a few typed fields), so that seeds reach its branches; the rest is msgspec and pydantic,
which are compiled and which coverage of Python code cannot guide through.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
from instructor.v2.core.errors import InstructorError
from instructor.v2.core.mode import Mode
from instructor.v2.core.providers import Provider
from instructor.v2.core.registry import mode_registry
from openai.types.chat import ChatCompletion
from pydantic import BaseModel, ValidationError

from samecall import Cache, ConfigurationError, RemoteCallError
from samecall._codec import UNREADABLE
from samecall._entry import (
    HEADER,
    MAGIC,
    Entry,
    Kind,
    Payload,
    _checksum,
    decode_entry,
    encode_entry,
    new_stamp,
)
from samecall._errors import Undecodable, Unkeyable
from samecall._key import digest_of, key_from
from samecall._memory import MemoryStore
from samecall._open import open_store
from samecall._ports import ErrorRecord
from samecall.instructor._answer import Answer
from samecall.instructor._codec import AnswerCodec
from samecall.instructor._models import prepared
from samecall.instructor._remade import _Described

KEY = key_from("k", "default", None)
PROVIDER_ERRORS = ("openai", "anthropic", "google.genai.errors")


class User(BaseModel):
    name: str
    age: int


class Wrong(Exception):
    """A target did what it must not do."""


def must(condition: object, what: str) -> None:
    if not condition:
        raise Wrong(what)


# --- input ----------------------------------------------------------------------------------------


def mutated(chance: random.Random, seed: bytes) -> bytes:
    """`seed` with a few things wrong."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(7):
            case 0 if data:
                data[at % len(data)] ^= 1 << chance.randrange(8)
            case 1 if data:
                data[at % len(data)] = chance.choice(
                    b"\x00\x7f\x80\x90\xc0\xc1\xcf\xd9\xdc\xdf\xff"
                )
            case 2:
                del data[at:]
            case 3:
                data[at:at] = chance.randbytes(chance.randint(1, 9))
            case 4:
                del data[at : at + chance.randint(1, 9)]
            case 5:
                data[at:at] = data[: chance.randint(0, 30)]
            case _:
                data[at:at] = chance.choice((b"\x91", b"[", b'{"a":')) * chance.choice((3, 2_000))
    return bytes(data)


def sealed(body: bytes) -> bytes:
    """An envelope of `KEY` with a right checksum around any body."""
    head = MAGIC + b"s" * 16 + KEY.digest
    return head + _checksum(head, body) + body


def envelope(kind: Kind, payload: Payload) -> bytes:
    return encode_entry(KEY, Entry(kind, payload, new_stamp(), 60.0, 60.0))


def thing(chance: random.Random, depth: int = 4) -> Any:  # noqa: C901, PLR0912 - a closed match
    """Any object that somebody might put into a call."""
    match chance.randrange(16 if depth else 9):
        case 0:
            return chance.choice((None, True, False, NotImplemented, ...))
        case 1:
            return chance.choice((0, -1, 2**63, -(2**70), 10**5000, chance.getrandbits(40)))
        case 2:
            return chance.choice((0.0, -0.0, math.inf, math.nan, 1e308, chance.random()))
        case 3:
            return chance.randbytes(chance.randint(0, 20))
        case 4 | 5 | 6:
            size = chance.randint(0, 12)
            return "".join(chr(chance.choice((65, 0, 0xD800, 0x301, 0x1F600))) for _ in range(size))
        case 7:
            return chance.choice((object(), User, User(name="a", age=1), len, Kind.VALUE, 1j))
        case 8:
            return chance.choice((bytearray(b"x"), memoryview(b"x"), range(3), sys.float_info))
        case 9 | 10 | 11:
            return [thing(chance, depth - 1) for _ in range(chance.randint(0, 4))]
        case 12:
            return tuple(thing(chance, depth - 1) for _ in range(chance.randint(0, 3)))
        case 13:
            nested: Any = thing(chance, 0)
            for _ in range(chance.choice((10, 150, 3_000))):
                nested = [nested] if chance.random() < 0.9 else {"a": nested}
            return nested
        case 14:
            return {frozenset(str(chance.random())), "set"}
        case _:
            names = (chance.choice(("a", "", "\ud800", 1, None, b"a", (1, 2))) for _ in range(3))
            return {name: thing(chance, depth - 1) for name in names}


# --- targets: each takes an input, and raises `Wrong` or whatever it must not raise ---------------

_HANDLERS = mode_registry.get_handlers(Provider.OPENAI, Mode.TOOLS)
CODEC = AnswerCodec(prepared(User), _HANDLERS, {"messages": [{"role": "user", "content": "who"}]})


def _answer() -> Answer:
    call = {"name": "User", "arguments": '{"name":"Ada","age":36}'}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": call}],
    }
    raw = ChatCompletion.model_validate(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        }
    )
    return Answer(User(name="Ada", age=36), raw, raw.usage)


ANSWER = CODEC.encode(_answer())
RECORDS = [
    ErrorRecord(
        "RateLimitError",
        "slow down",
        429,
        7.0,
        msgspec.msgpack.encode(_Described(sdk, 3, "rate_limit", "requests")),
    )
    for sdk in ("openai", "anthropic")
] + [
    ErrorRecord(
        "ClientError",
        "slow",
        429,
        None,
        msgspec.msgpack.encode(_Described("google", 0, None, "RESOURCE_EXHAUSTED")),
    ),
    ErrorRecord("ZeroDivisionError", "no"),
]


def entry_input(chance: random.Random) -> bytes:
    whole = envelope(chance.choice(list(Kind)), ANSWER)
    match chance.randrange(4):
        case 0:
            return chance.randbytes(chance.randint(0, 120))
        case 1:
            return sealed(mutated(chance, whole[HEADER:]))
        case _:
            return mutated(chance, whole)


def entry(data: bytes) -> str:
    try:
        got = decode_entry(KEY, data, left=1.0, now=1.0)
    except Undecodable:
        return "refused"
    must(isinstance(got.kind, Kind) and isinstance(got.payload, Payload), "no entry")
    must(isinstance(got.payload.tag, str) and isinstance(got.payload.data, bytes), "no payload")
    must(math.isfinite(got.fresh_for) and got.fresh_for >= 0 <= got.kept_for, "no lifetime")
    return "read"


def odd_json(chance: random.Random, text: bytes) -> bytes:
    """The same JSON with one part of it gone, or something else."""
    whole = msgspec.json.decode(text)
    place: Any = whole
    while True:
        name = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if isinstance(place[name], (dict, list)) and place[name] and chance.random() < 0.8:
            place = place[name]
            continue
        odd = (None, 0, -1, "", "x", '{"name":"Bob","age":1}', "{", [], {}, [[]], {"a": []}, 1e99)
        place[name] = chance.choice(odd)
        if chance.random() < 0.3:
            del place[name]
        return msgspec.json.encode(whole)


def record_input(chance: random.Random) -> bytes:
    record = chance.choice(RECORDS)
    if chance.random() < 0.5:
        changed = msgspec.structs.replace(
            record,
            body=mutated(chance, record.body),
            status=chance.choice((None, -1, 0, 99, 200, 429, 529, 600, 2**40)),
            retry_after=chance.choice((None, 1.0, math.nan, -math.inf, 1e300)),
        )
        return msgspec.msgpack.encode(changed)
    return mutated(chance, msgspec.msgpack.encode(record))


def record(data: bytes) -> str:
    try:
        told = msgspec.msgpack.decode(data, type=ErrorRecord)
    except UNREADABLE:
        return "refused"
    error = CODEC.rebuild(told)
    cause = error.__cause__ if isinstance(error, InstructorError) else error
    must(isinstance(error, Exception) and isinstance(cause, Exception), "no exception")
    theirs = type(cause).__module__.startswith(PROVIDER_ERRORS)
    must(isinstance(cause, RemoteCallError) or theirs, f"a {type(cause).__qualname__}")
    str(error), repr(error)
    return "by name" if isinstance(error, RemoteCallError) else "the provider's own"


def completion_input(chance: random.Random) -> Payload:
    data = mutated(chance, ANSWER.data)
    if chance.random() < 0.3:  # sound on the outside
        parts = msgspec.msgpack.decode(ANSWER.data)
        at = chance.randrange(2)
        text: bytes = parts[at][2]
        parts[at][2] = mutated(chance, text) if chance.random() < 0.3 else odd_json(chance, text)
        parts[at][0] = chance.choice((parts[at][0], "json", "openai.usage", "os.path", ""))
        data = msgspec.msgpack.encode(parts)
    return Payload("instructor" if chance.random() < 0.98 else "other", data)


def completion(payload: Payload) -> str:
    for read in (CODEC.decode, CODEC.refused):
        try:
            got = read(payload)
            must(isinstance(got, Answer) and isinstance(got.value, User), "no answer")
        except (Undecodable, InstructorError):
            return "refused"
        except (ValidationError, AttributeError, TypeError, ValueError, RecursionError):
            # instructor's own parser over a completion of odd form: `decode` may raise anything
            must(read == CODEC.decode, "refused() raises what the bare client does not")
    return "read"


def key_input(chance: random.Random) -> Any:
    return thing(chance)


def key(value: Any) -> str:
    try:
        digest = digest_of(value)
    except Unkeyable as unkeyable:
        must(isinstance(unkeyable.path, str) and str(unkeyable), "no path")
        return "refused"
    must(isinstance(digest, bytes) and len(digest) == 32, "no digest")
    must(digest == digest_of(value), "two digests of one value")
    return "read"


_URLS = (
    b"redis://user:Pa55word@localhost:6379/0?protocol=3&socket_timeout=1",
    b"rediss://:Pa55word@[::1]:6380/15?ssl_cert_reqs=none",
    b"redis://user:Pa55word/more@localhost/0",
    b"redis+unix:///tmp/x.sock?db=1",
    b"valkey://h/1",
    b"memory://",
    b"redis+cluster://u:Pa55word@h:1,h:2",
    b"redis+sentinel://:Pa55word@h:1,h:2/service",
)


def url_input(chance: random.Random) -> str:
    return mutated(chance, chance.choice(_URLS)).decode("utf-8", "surrogateescape")[:5_000]


def url(text: str) -> str:
    try:
        opener, name = open_store(text, entries=10, size=1_000)
    except ConfigurationError as error:
        place = text.partition("?")[0]
        if "@" in place.partition("Pa55word")[2] and text.count("Pa55word") == 1:
            must("Pa55word" not in str(error), f"a password in {str(error)!r}")
        return "refused"
    must(callable(opener) and isinstance(name, str), "no opener")
    return "read"


class Shelf:
    """A cache over bytes of others."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.store = MemoryStore()
        self.cache = Cache(self.store, l1=None)

    def input(self, chance: random.Random) -> tuple[bytes, bytes]:
        told = Payload("error", record_input(chance))
        kind = chance.choice((Kind.ERROR, Kind.REFUSED))
        payload = told if kind is Kind.ERROR else completion_input(chance)
        error = envelope(kind, payload) if chance.random() < 0.7 else entry_input(chance)
        value = entry_input(chance) if chance.random() < 0.7 else b""
        return value, error

    def run(self, given: tuple[bytes, bytes]) -> str:
        return self.runner.run(self.ask(*given))

    async def ask(self, value: bytes, error: bytes) -> str:
        await self.store.forget(KEY, 0)
        if value:
            await self.store.set(KEY, value, 60)
        await self.store.acquire(KEY, b"d" * 16, b"*", 60)
        await self.store.fail(KEY, b"d" * 16, error, 60)
        fresh = _answer()

        async def call() -> Answer:
            return fresh

        try:
            got = await self.cache.get_or_call(KEY, call, codec=CODEC)
        except (RemoteCallError, InstructorError):
            return "told"
        except Exception as raised:  # noqa: BLE001 - which one it is, is the question
            must(type(raised).__module__.startswith(PROVIDER_ERRORS), f"raised {raised!r}")
            return "told"
        must(isinstance(got, Answer) and isinstance(got.value, User), "no answer")
        if got is not fresh:
            return "read"
        while self.cache.statistics().flights:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        found = await self.store.get(KEY)
        must(found is not None and entry(found.data) == "read", "the bytes were not replaced")
        return "replaced"


Target = tuple[float, Callable[[random.Random], Any], Callable[[Any], str]]


def targets() -> dict[str, Target]:
    """Name: share of the inputs, where they come from, where they go."""
    shelf = Shelf()
    return {
        "entry": (0.35, entry_input, entry),
        "record": (0.18, record_input, record),
        "key": (0.20, key_input, key),
        "url": (0.12, url_input, url),
        "completion": (0.12, completion_input, completion),
        "store": (0.03, shelf.input, shelf.run),
    }


def fuzz(name: str, target: Target, count: int, seed: str) -> Counter[str]:
    """What became of `count` inputs; the first finding ends it."""
    _, make, eat = target
    seen: Counter[str] = Counter()
    for number in range(count):
        given = make(random.Random(f"{seed}/{name}/{number}"))
        try:
            seen[eat(given)] += 1
        except Exception:
            print(f"{name}: input {number} of seed {seed}: {given!r:.2000}", file=sys.stderr)
            raise
    return seen


# --- time -----------------------------------------------------------------------------------------

_LARGER = 16
_FACTOR = 6.0  # times what linear would be; quadratic would be 16 times


def _large(size: int) -> dict[str, tuple[Callable[[Any], str], list[Any]]]:
    deep: Any = "x"
    for _ in range(150):
        deep = [deep]
    body = {"id": "c", "choices": [{"index": 0, "message": {"content": "a" * size}}] * 3}
    text = msgspec.json.encode(body)
    words = " ".join(["sk", "key", "token", "org-", "Bearer", "//"] * (size // 20))
    records = [ErrorRecord("RateLimitError", word, 429, 1.0) for word in ("x" * size, words)]
    parts = [["openai.chat", "v", text], None, 1]
    return {
        "entry": (entry, [sealed(b"\xc4" * size), envelope(Kind.VALUE, Payload("t", bytes(size)))]),
        "record": (record, [msgspec.msgpack.encode(one) for one in records]),
        "key": (key, ["x" * size, ["x"] * (size // 4), {str(n): 1 for n in range(size // 8)}]),
        "deep": (key, [[deep] * (size // 200)]),
        "url": (url, [f"redis://{'a' * size}@h", f"redis://h/?{'a=1&' * (size // 4)}", "@" * size]),
        "completion": (
            completion,
            [Payload("instructor", msgspec.msgpack.encode(parts)), Payload("instructor", text)],
        ),
    }


def _best(eat: Callable[[Any], str], given: Any) -> float:
    best = math.inf
    for _ in range(5):
        began = time.process_time()
        eat(given)
        best = min(best, time.process_time() - began)
    return best


def grow(names: list[str]) -> list[str]:
    """Where an input sixteen times as large takes far more than sixteen times as long."""
    small, large = _large(20_000), _large(20_000 * _LARGER)
    found: list[str] = []
    for name in small:
        if names and name not in names:
            continue
        for at, (one, other) in enumerate(zip(small[name][1], large[name][1], strict=True)):
            least = max(_best(small[name][0], one), 50e-6)
            most = _best(large[name][0], other)
            if most > least * _LARGER * _FACTOR:
                found.append(f"{name}[{at}]: {least * 1e3:.2f} ms, then {most * 1e3:.2f} ms")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("count", type=int, nargs="?", default=100_000)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seed", default="samecall")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # of samecall and of pydantic, about what is odd here
    known = targets()
    chosen = {name: known[name] for name in asked.targets or known}
    whole = sum(target[0] for target in chosen.values())
    for name, target in chosen.items():
        count = max(1, round(asked.count * target[0] / whole))
        began = time.monotonic()
        seen = fuzz(name, target, count, asked.seed)
        words = ", ".join(f"{number} {what}" for what, number in seen.most_common())
        print(f"{name}: {count} inputs in {time.monotonic() - began:.1f} s: {words}", flush=True)
    slow = grow(asked.targets)
    for line in slow:
        print(f"more than linear: {line}")
    if slow:
        raise SystemExit(1)
    print("no finding; time grows with the size of the input and not faster")


if __name__ == "__main__":
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    main()
