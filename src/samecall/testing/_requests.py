"""How many Redis commands went by: requests are counted, and nothing of them is kept."""

from __future__ import annotations

__all__ = ["RequestCounter"]

_LONGEST_LINE = 64 * 1024


class RequestCounter:
    """Reads the requests of one connection in pieces of any size (arrays, or inline commands)."""

    def __init__(self) -> None:
        self.commands = 0
        self._line = bytearray()
        self._skip = 0  # bytes of an argument, and its end of line, that are still to come
        self._arguments = 0  # of the command that is being read

    def feed(self, data: bytes) -> None:
        """The next bytes that a client has sent."""
        at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                self._end_of_argument()
                continue
            end = data.find(b"\n", at)
            stop = len(data) if end < 0 else end + 1
            self._line += data[at:stop]
            at = stop
            if end >= 0 or len(self._line) > _LONGEST_LINE:
                line = bytes(self._line).strip()
                self._line.clear()
                self._read(line)

    def _read(self, line: bytes) -> None:
        size = line[1:]
        if line[:1] == b"*" and size.isdigit():
            self._arguments = int(size)
        elif line[:1] == b"$" and size.isdigit() and self._arguments:
            self._skip = int(size) + 2
        elif line:
            self.commands += 1  # an inline command

    def _end_of_argument(self) -> None:
        if self._skip == 0:
            self._arguments -= 1
            self.commands += self._arguments == 0
