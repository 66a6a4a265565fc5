"""Targets: what workers report, and files: exports, cassettes, rows of `disk://`."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
from fuzz_input import must, mutated, odd_row, spoilt
from fuzz_stored import KEY, OPEN, TEXT, TOKEN, made
from rich.console import Console

from samecall import Cache, ConfigurationError, Key, Policy, StoreError
from samecall._board import Posted
from samecall._cassette.forms import hidden, shown
from samecall._cassette.tape import Recorded as Taped
from samecall._cassette.tape import add_to_tape, read_tape
from samecall._codec import retry_after_of
from samecall._disk import DiskStore
from samecall._entry import Payload
from samecall._errors import Undecodable
from samecall._key import key_from
from samecall._memory import MemoryStore
from samecall._moving import _read_line
from samecall._report import Hot, Report, Row, encode_report
from samecall._stamps import is_token, new_token
from samecall.cli._entries import readable
from samecall.cli._warming import _arguments
from samecall.cli.seen.fleet import Since, added_up, read
from samecall.cli.seen.screen import picture

# --- reports --------------------------------------------------------------------------------------

_ROW = Row(ways={"l1": 3, "led": 1}, provider_calls=1, paid_input=10, saved_output=99)
_REPORT = Report(
    worker="w-1",
    host="h",
    pid=7,
    started=1.8e9,
    counters={"calls": 9, "l1_hits": 3, "led": 2, "store_faults": 1},
    models={"openai/gpt-4o-mini": _ROW, "nobody/none": _ROW},
    latency={"l1": {-200: 3, 5: 1}, "led": {10: 2}, "provider": {11: 1}},
    hot=[Hot(digest=KEY.digest, namespace="default", calls=7, model="m")],
)


def report_input(chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        return mutated(chance, encode_report(_REPORT))
    told = spoilt(chance, msgspec.to_builtins(_REPORT, builtin_types=(bytes,), str_keys=False), 4)
    with suppress(RecursionError, TypeError, ValueError, OverflowError):
        return msgspec.msgpack.encode(told)
    return b""


def report(data: bytes) -> str:
    """A fleet's picture with one of its reports damaged: the sound ones are counted."""
    sound = encode_report(_REPORT)
    seen = read([Posted("default", "w", one, 1.0) for one in (sound, data)])
    must(seen, "the sound one is not read")
    since = Since()
    since.rates(added_up(seen), 1.0)
    fleet = added_up(seen)
    rates = since.rates(fleet, 2.0)
    json.dumps(msgspec.to_builtins(fleet))
    with Path("/dev/null").open("w") as nowhere:
        Console(file=nowhere, width=120).print(picture(fleet, "here", rates, 40))
    return "read" if len(seen) == 2 else "refused"


# --- files ----------------------------------------------------------------------------------------


def _lines_of(chance: random.Random, lines: list[bytes]) -> bytes:
    match chance.randrange(4):
        case 0:
            return mutated(chance, b"".join(lines))
        case 1:
            at = chance.randrange(len(lines))
            lines[at] = mutated(chance, lines[at])
        case _:
            at = chance.randrange(len(lines))
            told = spoilt(chance, json.loads(lines[at]), 4)
            with suppress(RecursionError, TypeError, ValueError):
                lines[at] = json.dumps(told, default=str).encode() + b"\n"
    return b"".join(lines)


class Files:
    """Exports and cassettes, written by others."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._place = tempfile.TemporaryDirectory(prefix="samecall-fuzz-")
        self._path = Path(self._place.name)
        self._cache = Cache(MemoryStore(), l1=None, report=False)
        self._export = self._path / "export.jsonl"
        self._tape = self._path / "tape.jsonl"
        runner.run(self._fill())
        self._lines = self._export.read_bytes().splitlines(keepends=True)
        add_to_tape(self._tape, _TAPE)
        self._taped = self._tape.read_bytes().splitlines(keepends=True)

    async def _fill(self) -> None:
        async def call() -> str:
            return "answer"

        for name in ("a", "b"):
            await self._cache.get_or_call(name, call)
        await self._cache.export(self._export)

    def export_input(self, chance: random.Random) -> bytes:
        return _lines_of(chance, list(self._lines))

    def export(self, data: bytes) -> str:
        """A line that is damaged is named; what is imported can be read."""
        self._export.write_bytes(data)
        try:
            self._runner.run(self._cache.import_(self._export))
        except Undecodable as error:
            must(str(error).startswith("line "), "no line is named")
            return "refused"
        return "read"

    def tape_input(self, chance: random.Random) -> bytes:
        return _lines_of(chance, list(self._taped))

    def tape(self, data: bytes) -> str:
        """A line that is no recorded call is named."""
        self._tape.write_bytes(data)
        try:
            read_so = read_tape(self._tape)
        except ConfigurationError as error:
            said = ("line", "no text", "newer")
            must(any(word in str(error) for word in said), "no line is named")
            return "refused"
        for key, taped in read_so.items():
            must(isinstance(key, Key) and isinstance(taped.answer.data, bytes), "no call")
            must(hidden(json.loads(json.dumps(shown(taped.answer.data)))) == taped.answer.data, "")
            json.dumps(readable(taped.answer.data), default=str)
        return "read"


_TAPE = {
    KEY: Taped({"model": "m", "messages": []}, Payload("plain", msgspec.msgpack.encode("a"))),
    key_from("b", "default", None): Taped(None, Payload("instructor", b'{"name":"Ada"}')),
    key_from("c", "default", None): Taped(
        [1], Payload("x", msgspec.msgpack.encode({"a": [b"{}", b"\xff", b"text", 1]}))
    ),
}


def lines_of_files(size: int) -> tuple[list[bytes], list[bytes]]:
    """A line of an export, and cassettes: one long call, and many."""
    left = {"key": KEY.hex, "left": 60.0, "data": "A" * (4 * (size // 4))}
    head = b'{"samecall": "cassette", "format": 1}\n'
    answer = {"tag": "plain", "text": "a" * size}
    one = {"key": KEY.hex, "namespace": "default", "request": None, "answer": answer}
    few = [
        {**one, "key": f"{at:064x}", "answer": {"tag": "t", "json": [at]}}
        for at in range(size // 200)
    ]
    return [msgspec.json.encode(left) + b"\n"], [
        head + msgspec.json.encode(one) + b"\n",
        head + b"".join(msgspec.json.encode(each) + b"\n" for each in few),
    ]


def exported_line(data: bytes) -> str:
    """One line of an export."""
    try:
        _read_line(2, data, set())
    except Undecodable:
        return "refused"
    return "read"


def taped_lines(data: bytes) -> str:
    """The lines of a cassette."""
    with tempfile.NamedTemporaryFile(prefix="samecall-fuzz-") as file:
        Path(file.name).write_bytes(data)
        return "read" if read_tape(Path(file.name)) else "refused"


def header_input(chance: random.Random) -> str:
    odd = ("1", "-3", "nan", "inf", "1e999", "\u0661", "0x10", " 7 ", "", "9" * 400, "1_0")
    date = b"Wed, 21 Oct 2037 07:28:00 GMT"
    if chance.random() < 0.3:
        return chance.choice(odd)
    return mutated(chance, date).decode("latin-1")[:200]


def header(value: str) -> str:
    """A Retry-After: seconds that can be compared, or none."""
    got = retry_after_of(_Answered({"retry-after": value}))
    must(got is None or (isinstance(got, float) and got >= 0), f"{got!r}")
    return "refused" if got is None else "read"


class _Answered(Exception):
    def __init__(self, headers: dict[str, str]) -> None:
        self.response = SimpleNamespace(headers=headers)


def line_input(chance: random.Random) -> str:
    whole = b'{"messages":[{"role":"user","content":"hi"}],"model":"m","cache_ttl":5}'
    return mutated(chance, whole).decode("utf-8", "replace")


def line(text: str) -> str:
    """A line of `samecall warm`."""
    try:
        must(isinstance(_arguments(text), dict), "no arguments")
    except (TypeError, ValueError):
        return "refused"
    return "read"


# --- rows -----------------------------------------------------------------------------------------


class Rows:
    """A file of `disk://` in whose rows somebody has written."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._place = tempfile.TemporaryDirectory(prefix="samecall-fuzz-")
        self._path = Path(self._place.name) / "cache.db"
        policy = Policy(op_timeout=30.0, lease=0.3)
        self._cache = Cache(f"disk://{self._path}", l1=None, report=False, policy=policy)
        runner.run(self._open())
        self._file = sqlite3.connect(self._path, isolation_level=None, timeout=30.0)
        self._key = key_from("k", "default", self._cache.secret)

    async def _open(self) -> None:
        store: Any = self._cache._rooms.here().store.store
        must(isinstance(store, DiskStore), "no file")
        self._store = store
        await store.post("default", "w", encode_report(_REPORT), 60.0)  # tables that come later
        await store.acquire(KEY, TOKEN, b"", 60.0)
        await store.record(KEY, TOKEN, 1, b"frame", 60.0, 60.0)
        await store.forget(KEY, 60.0)

    def input(self, chance: random.Random) -> tuple[str, list[Any]]:
        now = self._store.disk._opened.ledger.now()
        space, digest, tokened = b"default", self._key.digest, new_token(self._key)
        rows: dict[str, list[Any]] = {
            "entries": [1, space, digest, chance.choice((0, 1)), now + 60, now, made(OPEN)],
            "leases": [space, digest, tokened, now + 0.02],
            "tombstones": [space, digest, b"e" * 16, now + 60],
            "generations": [space, b"", b"g" * 16, now + 9_999_999],
            "rings": [None, space, digest, b"o" * 8],
            "reports": [space, "w2", encode_report(_REPORT), now, now + 60],
        }
        table = chance.choice(list(rows))
        row = rows[table]
        named = {"entries": 3, "rings": 1, "reports": 0}.get(table, 2)
        if table == "generations":
            named = 2
        row[named:] = [odd_row(chance, value) for value in row[named:]]
        if table == "leases" and isinstance(row[2], bytes) and is_token(row[2], self._key):
            row[3] = chance.choice((now + 0.02, "text", None, b"x"))  # else it is waited for
        if chance.random() < 0.1:  # of another space
            row[0 if table not in ("entries", "rings") else 1] = odd_row(chance, space)
        return table, row

    def run(self, given: tuple[str, list[Any]]) -> str:
        return self._runner.run(self._ask(*given))

    async def _ask(self, table: str, row: Sequence[Any]) -> str:
        for each in ("entries", "leases", "tombstones", "generations", "reports"):
            self._file.execute(f"DELETE FROM {each}")
        marks = ", ".join("?" * len(row))
        try:
            self._file.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", row)
        except sqlite3.Error:
            return "no row"

        async def call() -> str:
            return "called"

        got = await self._cache.get_or_call("k", call)
        must(got in ("called", json.loads(TEXT)), f"got {got!r}")
        await self._cache._rooms.here().flights.settled(self._key)
        faults = self._cache.statistics().store_faults
        try:
            for posted in await self._store.posted(None):
                must(isinstance(posted.namespace, str) and isinstance(posted.data, bytes), "none")
            async for _ in self._store.walk("default"):
                pass
            await self._store.replay(self._key, TOKEN, 0)
            await self._cache.forget("k")
        except StoreError:
            faults += 1
        return "a store fault" if faults else "read"
