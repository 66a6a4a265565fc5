"""Entries out of one store and into another; and many calls ahead of time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from place_support import Place, says, stored

from samecall import Imported, Policy, Seal, Undecodable, Warmed
from samecall._key import key_from
from samecall._memory import MemoryStore

SEALS = [None, Seal({"k": b"k" * 32}, "k")]


async def filled(place: Place, seal: Seal | None, count: int = 20) -> Any:
    cache = place.cache(seal=seal)
    for number in range(count):
        call = says({"n": number, "text": "word " * number})
        await cache.get_or_call(f"q{number}", call, tags=(f"t{number % 2}",))
    await stored(cache, count)
    return cache


async def kept(cache: Any, count: int = 20) -> list[int]:
    found = [await cache.peek(f"q{number}") for number in range(count)]
    return [each["n"] for each in found if each is not None]


@pytest.mark.parametrize("seal", SEALS, ids=["open", "sealed"])
async def test_out_of_each_store_and_into_each(
    place: Place, tmp_path: Path, seal: Seal | None
) -> None:
    """Into another namespace of the same store, and through memory back into its own."""
    file, back = tmp_path / "entries.jsonl", tmp_path / "back.jsonl"
    source = await filled(place, seal)
    assert await source.export(file) == 20
    beside = place.cache(seal=seal, namespace=f"{place.namespace}-2")
    assert await beside.import_(file, namespace=beside.namespace) == Imported(20, 0)
    assert await kept(beside) == list(range(20))
    through = Place(MemoryStore())
    memory = through.cache(seal=seal, namespace=place.namespace)
    await memory.import_(file)
    assert await memory.export(back) == 20
    await source.clear(reclaim=True)
    assert await kept(source) == []
    assert await source.import_(back) == Imported(20, 0)
    assert await kept(source) == list(range(20))
    await source.forget_tag("t1")  # tags have moved along
    assert await kept(source) == list(range(0, 20, 2))
    await through.close()


async def test_what_is_moved_lasts_as_long_as_it_says(place: Place, tmp_path: Path) -> None:
    """Its generations too; and no longer than it was ever to be kept, whatever the file says."""
    file, source = tmp_path / "entries.jsonl", place.cache(Policy(ttl=5_000))
    await source.get_or_call("k", says("answer"), tags=("t",))
    await stored(source)
    await source.export(file)
    await source.clear(reclaim=True)
    header, line = file.read_text().splitlines()
    file.write_text(f"{header}\n{json.dumps({**json.loads(line), 'left': 1e9})}\n")
    cache = place.cache(Policy(ttl=10, deadline=20))
    assert await cache.import_(file) == Imported(1, 0)
    found = await place.held(cache)
    assert found is not None
    assert 4_900 < found.left <= 5_000
    for tag in ("", "t"):
        assert await place.generation_lasts(cache, tag) > found.left


@pytest.mark.parametrize("seal", SEALS, ids=["open", "sealed"])
@pytest.mark.parametrize("way", ["tag", "namespace"])
async def test_what_was_forgotten_does_not_move(
    place: Place, tmp_path: Path, seal: Seal | None, way: str
) -> None:
    """Its bytes lie there until their time is over; an import would let it live again."""
    file, source = tmp_path / "entries.jsonl", await filled(place, seal, 6)
    await (source.forget_tag("t1") if way == "tag" else source.clear())
    left = [0, 2, 4] if way == "tag" else []
    assert len(await place.values(source)) == 6
    assert await source.export(file) == len(left)
    other = place.cache(seal=seal, namespace=f"{place.namespace}-2")
    assert await other.import_(file, namespace=other.namespace) == Imported(len(left), 0)
    assert await kept(other, 6) == left


async def test_what_is_damaged_does_not_move(place: Place, tmp_path: Path) -> None:
    """It is a miss, and would end the import at its line."""
    file, source = tmp_path / "entries.jsonl", await filled(place, None, 3)
    found = await place.held(source, "q1")
    assert found is not None
    key = key_from("q1", place.namespace)
    await place.store(source).set(key, found.data[:-1] + b"?", 600.0)
    assert await source.export(file) == 2
    assert await source.import_(file) == Imported(2, 0)


async def test_damage_in_the_middle_is_named_and_what_stands_before_it_is_stored(
    place: Place, tmp_path: Path
) -> None:
    """And the file can be imported again when it is mended."""
    file = tmp_path / "entries.jsonl"
    source = await filled(place, None)
    await source.export(file)
    await source.clear(reclaim=True)
    lines = file.read_text().splitlines()
    whole = lines[10]
    lines[10] = json.dumps({**json.loads(whole), "data": "AAAA"})
    file.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(Undecodable, match=r"^line 11: .*what stands before it is stored"):
        await source.import_(file)
    assert len(await kept(source)) == 9
    lines[10] = whole
    file.write_text("".join(f"{line}\n" for line in lines))
    assert await source.import_(file) == Imported(20, 0)
    assert await kept(source) == list(range(20))


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        ("twice", r"^line 4: key .* stands here a second time; what stands before it is stored"),
        ("cut", r"^line 4: it is cut off"),
        ("missing", r"^line 4: it is missing"),
        ("newer", r"^line 1: format 'samecall/2' is newer"),
        ("another key", r"^line 2: sealed with a key that is not here"),
        ("no key", r"^line 2: it is sealed, and there is no key here"),
    ],
)
async def test_a_file_that_is_not_as_it_was_written(
    place: Place, tmp_path: Path, spoilt: str, told: str
) -> None:
    """The line is named, what stands before it is stored, and nothing of it or after it."""
    file, seal = tmp_path / "entries.jsonl", SEALS[1]
    source = await filled(place, seal, 3)
    await source.export(file)
    await source.clear(reclaim=True)
    head, *lines = file.read_text().splitlines(keepends=True)
    match spoilt:
        case "twice":
            lines[2] = lines[0]
        case "cut":
            lines[2] = lines[2][:-9]
        case "missing":
            del lines[2]
        case "newer":
            head = head.replace("samecall/1", "samecall/2")
        case "another key":
            seal = Seal({"other": b"o" * 32}, "other")
        case _:
            seal = None
    file.write_text(head + "".join(lines))
    reader = place.cache(seal=seal)
    with pytest.raises(Undecodable, match=told):
        await reader.import_(file)
    assert len(await place.values(reader)) == (2 if "line 4" in told else 0)
    assert len(await kept(source, 3)) == len(await place.values(reader))


async def test_keys_of_another_secret_are_told(place: Place, tmp_path: Path) -> None:
    """Or all would be stored where nobody finds it. Who has no secret, or wrote without, may."""
    file, bare = tmp_path / "entries.jsonl", tmp_path / "bare.jsonl"
    source = place.cache(secret=b"one " * 20)
    await source.get_or_call("k", says("answer"))
    await stored(source)
    await source.export(file)
    await place.cache().export(bare)  # as the command line does, which asks for no secret
    await source.clear(reclaim=True)
    with pytest.raises(Undecodable, match=r"^line 1: its keys were made with another secret="):
        await place.cache(secret=b"one " * 20 + b"more").import_(file)
    assert await place.values(source) == {}
    for cache, written in ((source, file), (place.cache(), file), (source, bare)):
        await source.clear(reclaim=True)
        assert await cache.import_(written) == Imported(1, 0)
        assert await source.peek("k") == "answer"


async def test_calls_ahead_of_time(place: Place) -> None:
    """Interrupted by an error of one, begun again: what is there is not called for."""
    one, other = (place.cache(Policy(error_ttl=0)) for _ in range(2))
    called: list[str] = []

    def ask(cache: Any, name: str) -> Any:
        async def call() -> str:
            called.append(name)
            if name == "c" and len(called) < 5:
                raise ValueError(name)
            return name

        return lambda: cache.get_or_call(name, call)

    done = await one.warm((ask(one, name) for name in "abcd"), concurrency=2)
    assert (done.calls, done.failed, [str(each) for each in done.errors]) == (4, 1, ["c"])
    assert one.statistics().stored == 3  # at once: who exports now exports all
    assert await other.warm(ask(other, name) for name in "abcd") == Warmed(calls=4)
    assert sorted(called) == ["a", "b", "c", "c", "d"]
