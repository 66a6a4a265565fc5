r"""Frames: what is recorded at once, as bytes on their way to and from the store.

    offset  length  what
    0       3       magic b"\xa5r\x01"
    3       8       checksum: BLAKE2b-64 over the key's digest, the token and the body
    11      -       body: MessagePack array, see `Frame`

The checksum binds a frame to its key and its generation: no frame is read as another's. Where
entries are sealed, frames are: bound to key, namespace and generation, their number within.
"""

from __future__ import annotations

import math
import time
from hashlib import blake2b

import msgspec

from samecall._entry import Key
from samecall._errors import Undecodable
from samecall._seal import Seal
from samecall._stream.tape import End

__all__ = ["Frame", "Frames"]

_MAGIC = b"\xa5r\x01"
_HEADER = len(_MAGIC) + 8


class Frame(msgspec.Struct, array_like=True, frozen=True):
    """Some chunks of a stream in a row; `first` is the index of the first one.

    times: milliseconds since the call began. tags, generations: in the first one, those of the
    call, as an entry bears them. made: when it was sealed, in seconds since 1970.
    """

    number: int
    first: int
    chunks: list[bytes]
    times: list[int]
    end: str = ""
    error: bytes = b""
    tags: tuple[str, ...] = ()
    generations: tuple[bytes, ...] = ()
    made: float = 0.0

    @property
    def ending(self) -> End | None:
        """Why nothing comes after this frame."""
        return End(self.end) if self.end else None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Frame)


class Frames:
    """The frames of one generation; the one place where chunks become bytes of the store.

    oldest: seconds after which a sealed one is refused.
    """

    __slots__ = ("_bound", "_oldest", "_place", "_seals")

    def __init__(
        self, key: Key, token: bytes, seals: Seal | None = None, oldest: float = math.inf
    ) -> None:
        self._oldest = oldest
        self._bound = blake2b(key.digest + token, digest_size=8)
        self._seals = seals
        space = key.namespace.encode("utf-8", "surrogatepass")
        self._place = _MAGIC + key.digest + len(token).to_bytes(2, "big") + token + space

    def pack(self, frame: Frame) -> bytes:
        """The bytes of a frame."""
        if self._seals is None:
            body = _encoder.encode(frame)
        else:
            dated = msgspec.structs.replace(frame, made=time.time())
            body = self._seals.close(_encoder.encode(dated), self._place)
        return _MAGIC + self._checksum(body) + body

    def read(self, data: bytes) -> Frame:
        """The frame in these bytes; raises `Undecodable` for anything but an intact one of ours."""
        if len(data) < _HEADER or not data.startswith(_MAGIC):
            raise Undecodable("no frame of this version")
        body = data[_HEADER:]
        if self._checksum(body) != data[len(_MAGIC) : _HEADER]:
            raise Undecodable("the frame is damaged, or of another stream")
        if self._seals is not None:
            body = self._seals.open(body, self._place)
        try:
            frame = _decoder.decode(body)
            _ = frame.ending
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Undecodable(f"the frame is of another schema: {type(error).__name__}") from None
        if self._seals is not None and time.time() - frame.made > self._oldest:
            raise Undecodable("the frame is of a stream that has long ended")
        if len(frame.times) != len(frame.chunks):
            raise Undecodable("a frame has one time for each chunk")
        return frame

    def _checksum(self, body: bytes) -> bytes:
        digest = self._bound.copy()
        digest.update(body)
        return digest.digest()
