"""A live recording that many can follow from the start."""

from samecall._stream.codec import PlainStreamCodec, Track, TrackCodec, ends_of
from samecall._stream.recorder import MOST_BYTES, MOST_CHUNKS
from samecall._stream.studio import Studio
from samecall._stream.tape import End, Tape

__all__ = [
    "MOST_BYTES",
    "MOST_CHUNKS",
    "End",
    "PlainStreamCodec",
    "Studio",
    "Tape",
    "Track",
    "TrackCodec",
    "ends_of",
]
