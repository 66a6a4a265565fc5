"""Object to bytes and back, for callers who bring no codec of their own."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Any, Generic, TypeVar, cast

import msgspec

from samecall._entry import Payload
from samecall._errors import RemoteCallError, Undecodable, Unstorable
from samecall._http import retry_after_of, status_of
from samecall._ports import ErrorRecord, Failure, Reach

__all__ = [
    "ITEMS",
    "UNREADABLE",
    "BaseCodec",
    "PlainCodec",
    "error_record",
    "pack_items",
    "unpack_items",
    "without_secrets",
]

T = TypeVar("T")

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What msgspec and json raise for bytes of others: also for text that is no UTF-8, and at depth."""
ITEMS = "items"
"""The tag of a stream of plain data."""

_MOST = 256 * 2**20  # bytes that a stored stream may unfold to
_packed = msgspec.msgpack.Decoder(tuple[list[msgspec.Raw], list[int]])
_MESSAGE = 2_000
_PRIVATE = frozenset({401, 403})
# keys as providers make them, logins in headers, URLs and assignments, and whatever is long and
# has no blank in it
_SECRET = re.compile(
    r"""(?i)\b(?:gsk|hf|key|org|pk|pplx|proj|r8|rk|sk|xai)[-_][\w*./+-]{4,}
    |\bAIza[\w-]{8,}
    |\b(?:Bearer|Basic)[ ]+[^\s"',;]{4,}
    |(?<=//)[^\s/@]{1,200}@
    |\b(?:api[-_ ]?key|password|secret|token)(?:[ ]provided)?["']?[ ]?[:=][ ]?["']?[^\s"',;&]{4,}
    |[A-Za-z0-9_*+/=-]{32,}""",
    re.VERBOSE,
)


def without_secrets(text: str) -> str:
    """`text` without what looks like a key, a login or a token."""
    return _SECRET.sub("[…]", text)


def error_record(error: BaseException) -> ErrorRecord:
    """What other processes may know of an error: class name, message, status, Retry-After."""
    # what UTF-8 cannot say (a lone surrogate) would cost everybody who waits the whole record
    message = without_secrets(_words(error)[:_MESSAGE]).encode("utf-8", "replace").decode()
    return ErrorRecord(type(error).__name__, message, status_of(error), retry_after_of(error))


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - its class says something, too
        return ""


class BaseCodec(Generic[T]):
    """The half of a codec that deals with errors; subclasses add `encode` and `decode`."""

    def encode(self, value: T) -> Payload:
        """The stored form of an answer; here: none."""
        raise Unstorable(f"{type(self).__name__} stores nothing")

    def decode(self, payload: Payload) -> T:
        """The answer in a payload; here: none."""
        raise Undecodable(f"{type(self).__name__} reads nothing")

    def shown(self, value: T) -> object:
        """The answer as its caller sees it."""
        return value

    def refused(self, payload: Payload) -> T:
        """A completion that the leader refused is read like any other."""
        return self.decode(payload)

    def explain(self, error: BaseException) -> Failure:
        """Timeouts stay with the leader; logins and lost connections stay in the process."""
        record = error_record(error)
        if isinstance(error, TimeoutError):
            return Failure(Reach.OWN, record)
        if isinstance(error, OSError) or record.status in _PRIVATE:
            return Failure(Reach.PROCESS, record)
        return Failure(Reach.FLEET, record)

    def rebuild(self, record: ErrorRecord) -> BaseException:
        """An error of another process, told by name."""
        return RemoteCallError(
            record.message,
            class_name=record.class_name,
            status=record.status,
            retry_after=record.retry_after,
        )


_SCALARS = (str, int, float, bool, bytes, type(None))


def _is_plain(value: Any, depth: int = 200) -> bool:
    # exact types only: an Enum or a tuple would come back as something else
    kind = cast("type[object]", type(value))
    if kind in _SCALARS:
        return True
    if depth == 0:
        return False
    if kind is list:
        return all(_is_plain(item, depth - 1) for item in value)
    if kind is dict:
        return all(type(name) is str and _is_plain(item, depth - 1) for name, item in value.items())
    return False


class PlainCodec(BaseCodec[Any]):
    """None, bool, int, float, str, bytes, and lists and string-keyed dicts of them."""

    def encode(self, value: Any) -> Payload:
        """MessagePack; raises `Unstorable` for what would come back as another type."""
        if not _is_plain(value):
            raise Unstorable(
                f"an answer of type {type(value).__name__} is not plain JSON data; pass codec="
            )
        try:
            return Payload("plain", msgspec.msgpack.encode(value))
        except (OverflowError, UnicodeEncodeError, ValueError) as error:
            raise Unstorable(f"the answer has no MessagePack form: {error}") from None

    def decode(self, payload: Payload) -> Any:
        """A new object, of a stored stream a list of its items; raises `Undecodable`."""
        if payload.tag == ITEMS:
            return [msgspec.msgpack.decode(item) for item in unpack_items(payload)[0]]
        if payload.tag != "plain":
            raise Undecodable(f"tag {payload.tag!r} is not plain data")
        try:
            return msgspec.msgpack.decode(payload.data)
        except UNREADABLE as error:
            raise Undecodable(str(error)) from None


def pack_items(items: Sequence[bytes], pauses: Sequence[int]) -> Payload:
    """Items that are MessagePack already, and the milliseconds before each: compressed."""
    raw = [msgspec.Raw(item) for item in items]
    return Payload(ITEMS, zlib.compress(msgspec.msgpack.encode((raw, pauses)), 1))


def unpack_items(payload: Payload) -> tuple[list[bytes], list[int]]:
    """What `pack_items` packed; raises `Undecodable`."""
    unfolding = zlib.decompressobj()
    try:
        unfolded = unfolding.decompress(payload.data, _MOST)
        items, pauses = _packed.decode(unfolded)
    except (*UNREADABLE, zlib.error) as error:
        raise Undecodable(str(error)) from None
    if not unfolding.eof or len(items) != len(pauses):
        raise Undecodable("a stored stream is cut off, or larger than any that was stored")
    return [bytes(item) for item in items], pauses
