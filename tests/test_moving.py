"""Warming, and entries that move through a file."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import BaseModel

import instructor
from samecall import (
    Cache,
    ConfigurationError,
    Imported,
    Seal,
    StoreError,
    Undecodable,
    Warmed,
)
from samecall._memory import MemoryStore
from samecall.instructor import cached, warm
from samecall.testing import LocalServer, StubProvider

KEY, OTHER = Seal.new_key(), Seal.new_key()


def says(answer: Any) -> Any:
    async def call() -> Any:
        return answer

    return call


async def filled(cache: Cache, count: int = 100) -> None:
    for number in range(count):
        await cache.get_or_call(f"q{number}", says({"n": number, "text": "word " * number}))


async def kept(cache: Cache, count: int = 100) -> list[int]:
    found = [await cache.peek(f"q{number}") for number in range(count)]
    return [each["n"] for each in found if each is not None]


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


# --- export and import --------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["memory", "redis"])
@pytest.mark.parametrize("seal", [None, Seal({"a": KEY}, "a")], ids=["open", "sealed"])
async def test_there_and_back(tmp_path: Path, there: str, seal: Seal | None) -> None:
    file = tmp_path / "entries.jsonl"
    with LocalServer() as server:
        async with Cache(MemoryStore(), seal=seal) as source:
            await filled(source)
            assert await source.export(file) == 100
        assert (b"text" in file.read_bytes()) is False
        url = server.url if there == "redis" else MemoryStore()
        async with Cache(url, seal=seal, l1=None) as target:
            assert await target.import_(file) == Imported(stored=100, expired=0)
            assert await kept(target) == list(range(100))
            answer = await target.get_or_call("q7", says("not called"))
            assert answer["n"] == 7
            assert await target.import_(file) == Imported(stored=100, expired=0)
            await target.clear()
            assert await kept(target) == []
    assert names_in(tmp_path) == ["entries.jsonl"]


async def test_what_was_answered_just_now_is_in_it_and_for_nobody_elses_eyes(
    tmp_path: Path,
) -> None:
    """A long stream is packed in a thread after its consumer has had all of it."""

    async def stream() -> AsyncIterator[int]:
        async def items() -> AsyncIterator[int]:
            for number in range(2_000):
                yield number

        return items()

    async with Cache(seal=Seal({"a": KEY}, "a")) as cache:
        assert len([item async for item in cache.stream("k", stream)]) == 2_000
        assert await cache.export(tmp_path / "entries") == 1
    assert (tmp_path / "entries").stat().st_mode & 0o777 == 0o600


async def test_sealed_entries_move_sealed(tmp_path: Path) -> None:
    file = tmp_path / "entries.jsonl"
    store = MemoryStore()
    async with Cache(store, seal=Seal({"a": KEY}, "a")) as source:
        await filled(source, 3)
    async with Cache(store) as stranger:  # has no key, and can move them all the same
        assert await stranger.export(file) == 3
        with pytest.raises(Undecodable, match="line 2: it is sealed, and there is no key here"):
            await stranger.import_(file)
    rotated = Seal({"a": KEY, "b": OTHER}, "b")
    async with Cache(MemoryStore(), seal=rotated) as target:
        await target.import_(file)
        assert await kept(target, 3) == [0, 1, 2]


async def test_another_namespace(tmp_path: Path) -> None:
    file = tmp_path / "entries.jsonl"
    async with Cache(MemoryStore(), namespace="a") as cache:
        await filled(cache, 3)
        assert await cache.export(file) == 3
        assert await cache.export(tmp_path / "none", namespace="empty") == 0
    async with Cache(MemoryStore(), namespace="b") as cache:
        await cache.import_(file)
        assert await kept(cache, 3) == []
        await cache.import_(file, namespace="b")
        assert await kept(cache, 3) == [0, 1, 2]


async def test_entries_of_a_client_answer_in_another_namespace(tmp_path: Path) -> None:
    file = tmp_path / "entries.jsonl"
    async with (
        StubProvider() as provider,
        openai.AsyncOpenAI(api_key="no-key", base_url=provider.openai_url) as sdk,
    ):
        bare = instructor.from_openai(sdk, model="stub-1")
        asked: Any = {"response_model": Person, "messages": [{"role": "user", "content": "q"}]}
        async with Cache(MemoryStore(), namespace="a") as cache:
            answer = await cached(bare, cache).create(**asked)
            assert await cache.export(file) == 1
        async with Cache(MemoryStore(), namespace="b") as cache:
            await cache.import_(file, namespace="b")
            assert await cached(bare, cache).create(**asked) == answer
        assert provider.calls == 1


async def test_what_has_expired_meanwhile_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "entries.jsonl"
    async with Cache(MemoryStore()) as cache:
        await filled(cache, 3)
        await cache.export(file)
    header, *lines = map(json.loads, file.read_text().splitlines())
    header["made"] = time.time() - 1_000
    lines[1]["left"] = 999.0
    file.write_text("".join(json.dumps(line) + "\n" for line in (header, *lines)))
    async with Cache(MemoryStore()) as cache:
        assert await cache.import_(file) == Imported(stored=2, expired=1)


def _swap(lines: list[str]) -> None:
    here, there = json.loads(lines[3]), json.loads(lines[4])
    lines[3] = json.dumps({**here, "data": there["data"]}) + "\n"


def _put(line: int, text: str) -> Callable[[list[str]], None]:
    return lambda lines: lines.__setitem__(line, text)


def _header(**changes: Any) -> Callable[[list[str]], None]:
    return lambda lines: lines.__setitem__(
        0, json.dumps({**json.loads(lines[0]), **changes}) + "\n"
    )


@pytest.mark.parametrize(
    ("damage", "message", "stored"),
    [
        (
            _put(3, "nonsense\n"),
            "line 4: no entry (DecodeError); what stands before it is stored",
            2,
        ),
        (_put(3, "{}\n"), "line 4: no entry (ValidationError)", 2),
        (_put(3, '{"key":"00","left":1,"data":""}\n'), "line 4: no entry (key takes 64", 2),
        (_put(3, "\n"), "line 4: no entry", 2),
        (_put(3, "\xff\n"), "line 4: no entry", 2),
        (_swap, "line 4: the entry answers another call", 2),
        (lambda lines: lines.insert(4, lines[2]), "line 5: key", 3),
        (lambda lines: lines.__setitem__(5, lines[5][:-9]), "line 6: it is cut off", 4),
        (lambda lines: lines.__setitem__(3, re.sub('.."}$', 'AA"}', lines[3])), "line 4: ", 2),
        (_header(format="samecall/2"), "line 1: format 'samecall/2' is newer than samecall/1", 0),
        (_header(format="other/1"), "line 1: format 'other/1' is none of an export", 0),
        (_header(made="now"), "line 1: no header of an export (ValidationError)", 0),
        (_header(entries="5"), "line 1: no header of an export (ValidationError)", 0),
        (_header(namespace=""), "line 1: its namespace is none", 0),
        (_header(format="samecall/" + "1" * 5_000), "is none of an export", 0),
        (lambda lines: lines.clear(), "line 1: no header of an export", 0),
        (
            lambda lines: lines.__setitem__(0, '{"x":' + "[" * 100_000),
            "line 1: no header of an export (RecursionError)",
            0,
        ),
        (lambda lines: lines.pop(), "line 6: it is missing: 5 entries were written; what", 4),
    ],
    ids=range(18),
)
async def test_damage_is_named_with_its_line_and_what_stands_before_is_kept(
    tmp_path: Path, damage: Any, message: str, stored: int
) -> None:
    file = tmp_path / "entries.jsonl"
    async with Cache(MemoryStore()) as cache:
        await filled(cache, 5)
        await cache.export(file)
    lines = file.read_text().splitlines(keepends=True)
    damage(lines)
    file.write_text("".join(lines), encoding="latin-1")
    async with Cache(MemoryStore()) as cache:
        with pytest.raises(Undecodable, match=re.escape(message)):
            await cache.import_(file)
        assert await kept(cache, 5) == list(range(stored))


async def test_a_file_is_there_once_it_is_whole_whatever_was_killed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container all processes have one number, and the part of a killed one is still there."""
    file = tmp_path / "entries.jsonl"
    async with Cache() as cache:
        await cache.get_or_call("k", says("answer"))
        walk = MemoryStore.walk

        async def breaks(store: MemoryStore, namespace: str) -> AsyncIterator[Any]:
            async for each in walk(store, namespace):
                yield each
                raise StoreError("gone")

        monkeypatch.setattr(MemoryStore, "walk", breaks)
        with pytest.raises(StoreError):
            await cache.export(file)
        assert names_in(tmp_path) == []
        monkeypatch.undo()
        for left in (f"entries.jsonl.{os.getpid()}.part", ".entries.jsonl.part"):
            (tmp_path / left).write_text("half of it")
        assert await cache.export(file) == 1
        assert len(names_in(tmp_path)) == 3


async def test_bad_input(tmp_path: Path) -> None:
    async with Cache() as cache:
        for wrong in (3, "", None):
            with pytest.raises(ConfigurationError, match="path takes the path of a file"):
                await cache.export(wrong)
            with pytest.raises(ConfigurationError, match="path takes the path of a file"):
                await cache.import_(wrong)
        with pytest.raises(FileNotFoundError):
            await cache.import_(tmp_path / "none")
        with pytest.raises(FileNotFoundError):
            await cache.export(tmp_path / "none" / "file")
        with pytest.raises(ConfigurationError, match="namespace takes"):
            await cache.export(tmp_path / "file", namespace="")
        for wrong, message in (
            ({"concurrency": 0}, "concurrency takes"),
            ({"progress": 3}, "progress takes"),
            ({"calls": 3}, "calls takes async functions"),
            ({"calls": [3]}, "calls takes async functions without arguments; got a int"),
        ):
            with pytest.raises(ConfigurationError, match=message):
                await cache.warm(wrong.pop("calls", []), **wrong)
        with pytest.raises(ConfigurationError, match="client takes what"):
            await warm(instructor.AsyncInstructor, [])


# --- warming ------------------------------------------------------------------------------------


async def test_warm_bounds_tells_and_goes_on() -> None:
    inside = most = taken = 0
    told: list[tuple[int, int]] = []

    async def call(number: int) -> int:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        if number % 10 == 3:
            raise KeyError(number)
        return number

    def calls(cache: Cache) -> Any:
        nonlocal taken
        for number in range(200):
            taken += 1
            assert taken <= len(told) + 8
            yield partial(cache.get_or_call, f"q{number % 100}", partial(call, number))

    async with Cache() as cache:
        done = await cache.warm(
            calls(cache), concurrency=7, progress=lambda now: told.append((now.calls, now.failed))
        )
        assert await cache.peek("q5") == 5
    assert (done.calls, done.failed, len(done.errors)) == (200, 20, 10)
    assert told[-1] == (200, 20)
    assert most <= 7


async def test_warm_makes_no_more_tasks_than_there_are_calls() -> None:
    """A bound that means none costs nothing; three calls, and one look for a fourth."""
    made = 0

    def counted(loop: Any, work: Any, **more: Any) -> Any:
        nonlocal made
        made += 1
        return asyncio.Task(work, loop=loop, **more)

    async with Cache() as cache:
        asyncio.get_running_loop().set_task_factory(counted)
        try:
            done = await cache.warm([partial(asyncio.sleep, 0)] * 3, concurrency=10**5)
        finally:
            asyncio.get_running_loop().set_task_factory(None)
    assert (done.calls, made) == (3, 4)


async def test_warm_takes_a_stream_to_its_end() -> None:
    """What breaks off in its midst has failed."""
    async with Cache() as cache:

        @cache.memoize
        async def count(to: int) -> AsyncIterator[int]:
            for number in range(to):
                if number == 5:
                    raise KeyError(number)
                yield number

        done = await cache.warm(partial(count, to) for to in (3, 4, 9))
        assert (done.calls, done.failed) == (3, 1)
        assert [item async for item in count(4)] == [0, 1, 2, 3]
        assert cache.statistics().provider_calls == 3


class Person(BaseModel):
    name: str


@pytest.mark.parametrize("kind", [openai.AsyncOpenAI, openai.OpenAI])
async def test_warm_a_client(kind: Any) -> None:
    asked = [
        {"response_model": Person, "messages": [{"role": "user", "content": f"q{number}"}]}
        for number in (1, 2, 3, 1)
    ]
    async with StubProvider() as provider:
        sdk = kind(api_key="no-key", base_url=provider.openai_url)
        client = cached(instructor.from_openai(sdk, model="stub-1"), Cache())
        done = await warm(client, asked, concurrency=2)
        assert done == Warmed(calls=4)
        assert provider.calls == 3
        assert (await warm(client, asked)).failed == 0
        assert provider.calls == 3
        done = await warm(client, [{**each, "response_model": Iterable[Person]} for each in asked])
        assert done == Warmed(calls=4)
        assert provider.calls == 6
        with pytest.raises(ConfigurationError, match="asked takes dicts"):
            await warm(client, ["q1"])
        done_with = sdk.close()
        if done_with is not None:
            await done_with
