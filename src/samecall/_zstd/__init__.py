"""Payloads made smaller: Zstandard, with a dictionary of what completions have in common.

Two libraries do the work, the same bytes either way: `zstandard` (the extra `zstd`), which keeps
what it needs from one payload to the next and reads a small one in 2 µs; or what Python has from
3.14 on, which builds it anew each time (20 µs).
"""

from __future__ import annotations

import functools
import sys
import threading
from importlib.resources import files
from typing import Any, Protocol

from samecall._errors import Undecodable

__all__ = ["MOST", "expand", "has_library", "squeeze"]

MOST = 64 * 2**20
"""Bytes that a payload may have, expanded."""
_LEVEL = 3
_DICTIONARY = "completions-1.zdict"
_MARK = {True: b"1", False: b"0"}
"""Whether the dictionary is needed; a new dictionary is a new mark."""
_MARKED = {mark[0]: wanted for wanted, mark in _MARK.items()}
_WORTH = 2_000_000
"""Bytes from which a dictionary changes nothing."""


class _Press(Protocol):
    """A library's two ways, with or without the dictionary."""

    def squeeze(self, data: bytes, wanted: bool) -> bytes: ...

    def expand(self, data: bytes, wanted: bool) -> bytes:
        """Raises `Undecodable`."""
        ...


def has_library() -> bool:
    """Whether payloads can be compressed and expanded here."""
    return _library() is not None


def squeeze(data: bytes) -> bytes | None:
    """`data` compressed; None where that is not possible or gains nothing."""
    press = _library()
    if press is None or len(data) > MOST:
        return None
    wanted = len(data) < _WORTH
    squeezed = _MARK[wanted] + press.squeeze(data, wanted)
    return squeezed if len(squeezed) < len(data) else None


def expand(data: bytes) -> bytes:
    """What was squeezed; raises `Undecodable`, also for what would be larger than `MOST`."""
    press = _library()
    if press is None:
        raise Undecodable("compressed, and no zstd to expand it: pip install 'samecall[zstd]'")
    wanted = _MARKED.get(data[0]) if data else None
    if wanted is None:
        raise Undecodable("compressed with a dictionary that is not known here")
    return press.expand(data[1:], wanted)


class _Standard:
    """`zstandard`; what it keeps belongs to one thread."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._kept = threading.local()

    def squeeze(self, data: bytes, wanted: bool) -> bytes:
        name = f"squeezes{wanted}"
        tool = getattr(self._kept, name, None)
        if tool is None:
            tool = self._library.ZstdCompressor(level=_LEVEL, dict_data=self._dictionary(wanted))
            setattr(self._kept, name, tool)
        squeezed: bytes = tool.compress(data)
        return squeezed

    def expand(self, data: bytes, wanted: bool) -> bytes:
        name = "dictionary" if wanted else "plain"
        tool = getattr(self._kept, name, None)
        if tool is None:
            tool = self._library.ZstdDecompressor(dict_data=self._dictionary(wanted))
            setattr(self._kept, name, tool)
        try:
            # it makes room for as much as the frame says, before it reads the rest
            if self._library.frame_content_size(data) > MOST:
                raise Undecodable("compressed data that are more than may be")
            expanded: bytes = tool.decompress(data, MOST, allow_extra_data=False)
        except self._library.ZstdError as error:
            raise Undecodable("compressed data that are damaged") from error
        return expanded

    def _dictionary(self, wanted: bool) -> Any:
        return self._library.ZstdCompressionDict(_trained()) if wanted else None


class _Builtin:
    """The standard library's, or its backport."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._dictionary = library.ZstdDict(_trained())

    def squeeze(self, data: bytes, wanted: bool) -> bytes:
        # prepared once for all: the library's default is to prepare it for each compression
        prepared = self._dictionary.as_digested_dict if wanted else None
        squeezed: bytes = self._library.compress(data, _LEVEL, zstd_dict=prepared)
        return squeezed

    def expand(self, data: bytes, wanted: bool) -> bytes:
        prepared = self._dictionary if wanted else None
        expander = self._library.ZstdDecompressor(zstd_dict=prepared)
        try:
            expanded: bytes = expander.decompress(data, MOST)
        except self._library.ZstdError as error:
            raise Undecodable("compressed data that are damaged") from error
        if not expander.eof or expander.unused_data:
            raise Undecodable("compressed data that are cut off, or more than may be")
        return expanded


def _trained() -> bytes:
    return (files("samecall._zstd") / _DICTIONARY).read_bytes()


@functools.cache
def _library() -> _Press | None:
    try:
        import zstandard
    except ImportError:
        pass
    else:
        return _Standard(zstandard)
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        return None
    return _Builtin(zstd)
