"""Digests: equal questions share one, different questions never do, and what cannot says where."""

from __future__ import annotations

import copy
import dataclasses
import enum
import json
import math
import os
import subprocess
import sys
from collections import OrderedDict, UserDict
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from make_golden_keys import GOLDEN, Data, Model, Shade, Struct, digests, values
from samecall._entry import Key
from samecall._errors import ConfigurationError, Unkeyable
from samecall._key import digest_of, key_from
from samecall._key.canonical import MAX_DEPTH, canonical

TESTS = Path(__file__).parent
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - a rule of its own
text = st.text(st.characters(exclude_categories=[]), max_size=8)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), text, st.binary(max_size=8)
)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(text, st.integers(), st.none()), inner, max_size=4),
        st.frozensets(scalars, max_size=4),
    ),
    max_leaves=12,
)


def tagged(value: Any) -> Any:
    """A model of the rules, written apart from them: equal exactly where the digests shall be."""
    if isinstance(value, float):
        return ("float", "nan" if math.isnan(value) else value)
    if isinstance(value, list):
        return ("list", tuple(tagged(item) for item in value))
    if isinstance(value, dict):
        return ("dict", frozenset((tagged(key), tagged(item)) for key, item in value.items()))
    if isinstance(value, frozenset):
        return ("set", tuple(sorted(repr(tagged(item)) for item in value)))
    return (type(value).__name__, value)


def turned(value: Any) -> Any:
    """The same value, built in another order and of other objects."""
    if isinstance(value, list):
        return tuple(turned(item) for item in value)
    if isinstance(value, dict):
        return OrderedDict((key, turned(item)) for key, item in reversed(value.items()))
    if isinstance(value, frozenset):
        return set(value)
    return copy.copy(value)


# --- equal and different ----------------------------------------------------------------------


@given(trees)
def test_equal_values_share_a_digest(value: Any) -> None:
    """Neither the order of dicts and sets nor the kind of sequence separates."""
    assert digest_of(value) == digest_of(turned(value))


@given(trees, trees)
def test_different_values_never_share(one: Any, two: Any) -> None:
    """Digests agree exactly where the values do."""
    assert (digest_of(one) == digest_of(two)) is (tagged(one) == tagged(two))


@given(st.lists(trees, max_size=4), st.integers(0, 3), trees)
def test_one_change_separates(items: list[Any], place: int, other: Any) -> None:
    """A change anywhere inside changes the whole."""
    changed = [*items[:place], other, *items[place + 1 :]]
    same = tagged(changed) == tagged(items)
    assert (canonical({"a": items}) == canonical({"a": changed})) is same


@given(text, text, text, text)
def test_text_does_not_flow_over_its_bounds(a: str, b: str, c: str, d: str) -> None:
    """What stands in one argument cannot look like two."""
    assert (digest_of([a, b]) == digest_of([c, d])) is ((a, b) == (c, d))
    assert (digest_of({a: b}) == digest_of({c: d})) is ((a, b) == (c, d))


def test_all_golden_values_are_different_but_those_that_are_one() -> None:
    """No two rules meet in one digest."""
    by_digest: dict[bytes, list[str]] = {}
    for name, value in values().items():
        by_digest.setdefault(digest_of(value), []).append(name)
    assert [names for names in by_digest.values() if len(names) > 1] == []


class Pair(NamedTuple):
    a: int
    b: int


class Text(str):
    __slots__ = ()


class Number(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (-0.0, 0.0),
        (math.nan, -math.nan),
        ([1, 2], (1, 2)),
        (Pair(1, 2), [1, 2]),
        ({1, 2}, frozenset({2, 1})),
        (b"a", bytearray(b"a")),
        (b"a", memoryview(b"a")),
        (Text("a"), "a"),
        ({Text("a"): 1}, {"a": 1}),
        (Number(3), 3),
        (OrderedDict(b=1, a=2), {"a": 2, "b": 1}),
        (Data("a"), Data("a")),
        (Model(name="a"), Model(name="a", inner=None)),
    ],
    ids=str,
)
def test_one_question(one: Any, two: Any) -> None:
    """These are the same question."""
    assert digest_of({"x": one}) == digest_of({"x": two})


class Other(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (1, True),
        (0, False),
        (1, 1.0),
        (1, "1"),
        (None, "None"),
        ("a", b"a"),
        ([1, 2], [2, 1]),
        ([1], {1}),
        ([], {}),
        ([[1], 2], [1, [2]]),
        ({1: "a"}, {True: "a"}),
        ({1: "a"}, {"1": "a"}),
        ({"a": None}, {}),
        (Shade.RED, "red"),
        (Shade.RED, Other.RED),
        (Decimal("1.0"), Decimal(1)),
        (Decimal(1), 1),
        (NAIVE, datetime(2026, 1, 1, tzinfo=UTC)),
        (NAIVE, date(2026, 1, 1)),
        (
            datetime(2026, 1, 1, tzinfo=UTC),
            datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        ),
        (UUID(int=1), UUID(int=1).hex),
        (Path("a"), "a"),
        (Data("a"), {"name": "a"}),
        (Data("a"), Struct("a")),
        (Model(name="a"), {"name": "a", "inner": None}),
        (Model(name="a"), Model(name="b")),
        ("ü", "u\u0308"),
        ("\ud83d\ude00", "😀"),
        ("x" * 5_000, "x" * 4_999 + "y"),
        (b"x" * 5_000, "x" * 5_000),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_two_questions(one: Any, two: Any) -> None:
    """These are different questions."""
    assert digest_of({"x": one}) != digest_of({"x": two})


def test_a_form_is_not_the_bytes_of_its_form() -> None:
    """What stands for an odd value cannot be asked for as bytes, nor as an extension of them."""
    for odd in (UUID(int=1), {1}, 1 << 70, "\ud800"):
        form = canonical(odd)
        assert digest_of(odd) != digest_of(form)
        with pytest.raises(Unkeyable):
            digest_of(msgspec.msgpack.decode(form))


# --- the same everywhere ----------------------------------------------------------------------


def test_golden_vectors() -> None:
    """A digest never changes under one scheme: what fleets have stored stays found."""
    assert digests() == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_the_same_in_every_process(seed: str) -> None:
    """Python's own hashes play no part."""
    code = "import json, make_golden_keys as m; print(json.dumps(m.digests()))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=TESTS,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        check=True,
    )
    assert json.loads(run.stdout) == json.loads(GOLDEN.read_text())


# --- what has no form -------------------------------------------------------------------------


class Raises(UserDict[str, int]):
    pass


class BadPath(dict[str, int]):
    def __iter__(self) -> Any:
        raise ZeroDivisionError


@dataclasses.dataclass
class Holder:
    held: object


class HolderModel(BaseModel, arbitrary_types_allowed=True):
    held: object


class HolderStruct(msgspec.Struct):
    held: object


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"messages": [0, 1, 2, {"content": object()}]}, "messages[3].content"),
        ({"messages": [{"content": [{"image": {"f": print}}]}]}, "messages[0].content[0].image.f"),
        ({"a": {7: {"b": object()}}}, "a[7].b"),
        ({"a": {(1, 2): object()}}, "a[<tuple>]"),
        ({"a": {object(): 1}}, "a[<object>]"),
        ({"a": {object()}}, "a"),
        ({"context": Holder([object()])}, "context.held[0]"),
        ({"context": HolderModel(held=object())}, "context.held"),
        ({"context": HolderStruct(object())}, "context.held"),
        ({"tools": [int]}, "tools[0]"),
        ({"tools": [Holder]}, "tools[0]"),
        ({"tools": (x for x in [])}, "tools"),
        ({"context": Raises()}, "context"),
        ({"context": BadPath(a=1)}, "context"),
        ({"odd": 1j}, "odd"),
        (object(), "the value"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_unkeyable_names_the_argument(value: Any, path: str) -> None:
    """The warning that a user reads says where to look."""
    with pytest.raises(Unkeyable) as caught:
        digest_of(value)
    assert caught.value.path == path
    assert caught.value.why


def cycles() -> dict[str, Any]:
    in_list: list[Any] = []
    in_list += [in_list, in_list]
    in_dict: dict[Any, Any] = {}
    in_dict["a"] = [in_dict]
    odd: dict[Any, Any] = {}
    odd[1] = odd
    held = Holder(None)
    held.held = {"again": held}
    model = HolderModel(held=None)
    model.held = model
    struct = HolderStruct(None)
    struct.held = (struct,)
    return {
        "list": in_list,
        "dict": in_dict,
        "odd": odd,
        "dataclass": held,
        "model": model,
        "struct": struct,
    }


@pytest.mark.parametrize("which", sorted(cycles()))
def test_a_cycle_is_unkeyable(which: str) -> None:
    """It is told as what it is, and never as a RecursionError."""
    with pytest.raises(Unkeyable, match="cycle"):
        digest_of({"context": cycles()[which]})


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


def test_depth() -> None:
    """`MAX_DEPTH` containers are keyed, one more is not, and 100,000 are no trouble."""
    assert digest_of(deep(MAX_DEPTH))
    for levels in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(Unkeyable, match="containers"):
            digest_of(deep(levels))


def test_depth_with_little_stack_left() -> None:
    """Who calls from deep within hears `Unkeyable` too."""

    def descend(levels: int) -> None:
        if levels:
            descend(levels - 1)
        else:
            with pytest.raises(Unkeyable, match="stack"):
                digest_of(deep(MAX_DEPTH))

    limit = sys.getrecursionlimit()
    here = len(__import__("inspect").stack(0))
    descend(limit - here - MAX_DEPTH)


@pytest.mark.parametrize("kind", ["list", "odd", "set"])
def test_shared_parts_that_unfold_to_too_much(kind: str) -> None:
    """A few lists within lists stand for more than any memory: refused before it is filled."""
    value: Any = "x"
    for level in range(40):
        if kind == "list":
            value = [value, value]
        elif kind == "odd":
            value = {1: value, 2: value}
        else:
            value = frozenset([("a", value), ("b", value), level])
    with pytest.raises(Unkeyable, match="values"):
        digest_of(value)


def test_large_calls() -> None:
    """10,000 messages, 20 MB and 20,000 bits are keyed."""
    messages = [{"role": "user", "content": f"message {index}"} for index in range(10_000)]
    assert digest_of({"messages": messages}) != digest_of({"messages": messages[:-1]})
    assert len(digest_of({"messages": [{"content": "ü" * 10_000_000}]})) == 32
    assert digest_of(1 << 20_000) != digest_of(1 << 20_001)


# --- secrets and named keys -------------------------------------------------------------------


def test_a_secret_separates() -> None:
    """Without the secret nobody can make the digest; of any length, every byte counts."""
    long = b"s" * 64
    made = {
        digest_of("a"),
        *(digest_of("a", secret=s) for s in (b"s", b"t", long, long + b"s", long + b"t")),
    }
    assert len(made) == 6
    with pytest.raises(ConfigurationError, match="secret"):
        digest_of("a", secret=b"")


def test_named_keys() -> None:
    """Text and bytes are two, the namespace is kept, a secret counts, and a Key passes through."""
    assert key_from("a", "n") == key_from("a", "n")
    assert key_from("a", "n").namespace == "n"
    assert key_from("a", "n").digest == key_from("a", "m").digest
    made = [key_from("a", "n"), key_from(b"a", "n"), key_from("a", "n", b"s"), key_from("b", "n")]
    assert len({key.digest for key in made}) == 4
    assert all(len(key.digest) == 32 for key in made)
    key = Key(b"k" * 32, "other")
    assert key_from(key, "n", b"s") is key
    assert key_from("\ud800", "n") != key_from("", "n")


@pytest.mark.parametrize("value", [1, None, ["a"], bytearray(b"a"), Key(b"short")], ids=repr)
def test_what_is_no_key(value: Any) -> None:
    """The error names the argument and what it takes."""
    with pytest.raises(ConfigurationError, match="key takes"):
        key_from(value, "n")


def test_a_named_key_is_no_call() -> None:
    """No call's digest can be had by naming it."""
    assert key_from("a", "n").digest not in (digest_of("a"), digest_of(["a"]))
