"""Targets: entries and what is in them, keys, URLs, and a cache over bytes of others."""

from __future__ import annotations

import asyncio
import math
import random
from typing import Any

import msgspec
from fuzz_input import must, mutated, thing
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
from samecall._open import SCHEMES, open_store
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


def sealed(body: bytes) -> bytes:
    """An envelope of `KEY` with a right checksum around any body."""
    head = MAGIC + b"s" * 16 + KEY.digest
    return head + _checksum(head, body) + body


def envelope(kind: Kind, payload: Payload) -> bytes:
    return encode_entry(KEY, Entry(kind, payload, new_stamp(), 60.0, 60.0))


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
    b"memory://",
    b"disk:///var/cache/a%20b.db?max_bytes=2000000",
    b"disk://~/cache.db",
    b"embedded://whatever",  # whole it would start a server
    *(  # all that there are
        b"%b://u:Pa55word@h:1,h:2%b" % (scheme.encode(), b"/service" * ("sentinel" in scheme))
        for scheme in SCHEMES
        if scheme not in ("memory", "disk", "embedded")
    ),
)


def url_input(chance: random.Random) -> str:
    return mutated(chance, chance.choice(_URLS)).decode("utf-8", "surrogateescape")[:5_000]


def url(text: str) -> str:
    if text.lower().startswith("embedded://") and not text[11:].strip("/"):
        return "a server"  # is what it would start
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

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
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
