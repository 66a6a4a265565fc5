"""The chunks of one stream in little room: what they have in common is kept once.

Chunks of a token stream differ in few places (the token, a sequence number). A chunk is cut at its
JSON strings and numbers; chunks that are cut alike make a table, of whose columns the constant
ones are kept once and the others as one text with lengths, or as steps between numbers. What
comes out is compressed. It is a matter of bytes: what the chunks mean is not looked at.

What is kept is tried when it is made: it gives the same chunks again, or they are kept as they are.
"""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, groupby, repeat

import msgspec

from samecall._codec import UNREADABLE
from samecall._errors import Undecodable

__all__ = ["Chunks", "folded", "unfolded"]

_LITERAL = re.compile(rb'("(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)')
_NUMBER = re.compile(rb"0|-?[1-9]\d{0,14}")
_TICK = 1_000
"""Times are kept in parts of a second so many."""
_WINDOW = 1 << 15  # of zlib: beyond it, it does not see that a text comes again
_MOST = 1 << 28
_MANY = 1 << 22
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 1 << 20}]

Chunks = tuple[list[bytes], list[float]]
"""Chunks, and when they came: seconds since the call began."""


class _Column(msgspec.Struct, array_like=True, frozen=True):
    """What stands at one varying place, chunk by chunk: texts, or numbers, or anything."""

    text: bytes = b""
    lengths: list[int] = []
    steps: list[int] = []
    literals: list[bytes] = []


class _Shape(msgspec.Struct, array_like=True, frozen=True):
    """Chunks that are cut alike: what stands before, between and after the varying places."""

    fixed: list[bytes]
    columns: list[_Column]


class _Folded(msgspec.Struct, array_like=True, frozen=True):
    shapes: list[_Shape]
    order: list[int]
    ticks: list[int]


class _Plain(msgspec.Struct, array_like=True, frozen=True):
    chunks: list[bytes]
    ticks: list[int]


_encode = msgspec.msgpack.Encoder().encode
_folded = msgspec.msgpack.Decoder(_Folded)
_plain = msgspec.msgpack.Decoder(_Plain)


def folded(chunks: Sequence[bytes], times: Sequence[float]) -> bytes:
    """The compact form of a stream; times come back in whole milliseconds."""
    ticks = _runs(_steps(round(time * _TICK) for time in times))
    data = b"f" + _encode(_fold(chunks, ticks))
    try:
        same = _opened(data)[0] == list(chunks)
    except (LookupError, ValueError):
        same = False
    return _squeezed(data if same else b"p" + _encode(_Plain(list(chunks), ticks)))


def unfolded(data: bytes) -> Chunks:
    """The chunks and times that were folded; raises `Undecodable`."""
    try:
        return _opened(_unsqueezed(data))
    except (*UNREADABLE, LookupError, zlib.error, lzma.LZMAError) as error:
        raise Undecodable(f"no stream: {type(error).__name__}") from None


def _fold(chunks: Sequence[bytes], ticks: list[int]) -> _Folded:
    tables: dict[tuple[bytes, ...], tuple[int, list[list[bytes]]]] = {}
    order: list[int] = []
    for chunk in chunks:
        parts = _LITERAL.split(chunk)
        place, rows = tables.setdefault(_cut(parts), (len(tables), []))
        rows.append(parts)
        order.append(place)
    return _Folded([_shape(rows) for _, rows in tables.values()], _runs(order), ticks)


def _opened(data: bytes) -> Chunks:
    if data[:1] == b"p":
        plain = _plain.decode(data[1:])
        return plain.chunks, _times(plain.ticks)
    body = _folded.decode(data[1:])
    tables = [_rows(shape) for shape in body.shapes]
    chunks: list[bytes] = []
    left = _MOST
    for place in _unrun(body.order):
        chunk = next(tables[place], None)
        if chunk is None or (left := left - len(chunk)) < 0:
            raise ValueError("a table is too short, or the stream too long")
        chunks.append(chunk)
    return chunks, _times(body.ticks)


# --- one table ------------------------------------------------------------------------------------


def _cut(parts: list[bytes]) -> tuple[bytes, ...]:
    # in one table the same names stand at the same places
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return (*parts[::2], *(part for part, after in pairs if after[:1] == b":"))


def _shape(rows: list[list[bytes]]) -> _Shape:
    fixed, columns = [b""], list[_Column]()
    for column in zip(*rows, strict=True):
        if column.count(column[0]) == len(column):
            fixed[-1] += column[0]
        else:
            columns.append(_column(column))
            fixed.append(b"")
    return _Shape(fixed, columns)


def _column(literals: Sequence[bytes]) -> _Column:
    if all(literal[:1] == b'"' for literal in literals):
        texts = [literal[1:-1] for literal in literals]
        return _Column(text=b"".join(texts), lengths=[len(text) for text in texts])
    if all(_NUMBER.fullmatch(literal) for literal in literals):
        return _Column(steps=_runs(_steps(map(int, literals))))
    return _Column(literals=list(literals))


def _rows(shape: _Shape) -> Iterator[bytes]:
    if not shape.columns:
        return repeat(shape.fixed[0])
    columns = map(_literals, shape.columns)
    pairs = zip(map(repeat, shape.fixed[:-1]), columns, strict=True)
    return map(b"".join, zip(*chain.from_iterable(pairs), repeat(shape.fixed[-1])))


def _literals(column: _Column) -> Iterator[bytes]:
    if column.lengths:
        if min(column.lengths) < 0:  # the same text, again and again
            raise ValueError("a text of less than no length")
        ends = list(accumulate(column.lengths))
        text = column.text
        return (
            b'"%b"' % text[end - length : end]
            for end, length in zip(ends, column.lengths, strict=True)
        )
    if column.steps:
        return (b"%d" % number for number in accumulate(_unrun(column.steps)))
    return iter(column.literals)


# --- numbers --------------------------------------------------------------------------------------


def _steps(numbers: Iterable[int]) -> Iterator[int]:
    last = 0
    for number in numbers:
        yield number - last
        last = number


def _times(ticks: list[int]) -> list[float]:
    return [tick / _TICK for tick in accumulate(_unrun(ticks))]


def _runs(values: Iterable[int]) -> list[int]:
    """Pairs of a value and how often it comes in a row."""
    pairs = ((value, sum(1 for _ in same)) for value, same in groupby(values))
    return list(chain.from_iterable(pairs))


def _unrun(pairs: list[int]) -> Iterator[int]:
    counts = pairs[1::2]
    # one that is less than none would make room for another that has no end
    if sum(counts) > _MANY or min(counts, default=0) < 0:
        raise ValueError("too long")
    return chain.from_iterable(map(repeat, pairs[::2], pairs[1::2]))


# --- compression ----------------------------------------------------------------------------------


def _squeezed(data: bytes) -> bytes:
    if len(data) <= _WINDOW:
        return b"z" + zlib.compress(data, 9)
    return b"x" + lzma.compress(data, lzma.FORMAT_RAW, filters=_FILTERS)


def _unsqueezed(data: bytes) -> bytes:
    opener = (
        zlib.decompressobj()
        if data[:1] == b"z"
        else lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
    )
    opened = opener.decompress(data[1:], _MOST)
    if not opener.eof:
        raise ValueError("cut off, or too long")
    return opened
