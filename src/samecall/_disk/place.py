"""Where a file is: `disk://` URLs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from samecall._errors import ConfigurationError

__all__ = ["LEAST_BYTES", "Place", "place_of"]

LEAST_BYTES = 2**20
_MOST_BYTES = 2**30
_TAKES = (
    "disk:///absolute/path, disk://relative/path or disk://~/path, "
    "and ?max_bytes= with a whole number"
)


@dataclass(frozen=True, slots=True)
class Place:
    """A file and the bytes that it may grow to."""

    path: Path
    max_bytes: int = _MOST_BYTES


def place_of(url: str) -> Place:
    """The place that a `disk://` URL names; no I/O. Raises `ConfigurationError`.

    A relative path counts from the working directory of now. Percent escapes are read; `?` and
    `#` in a name are written %3F and %23.
    """
    rest, _, query = url.partition("://")[2].partition("?")
    path = unquote(rest.partition("#")[0])
    if os.name == "nt" and path[2:3] == ":":  # disk:///C:/cache.db
        path = path[1:]
    if not path or path.endswith("/") or "\0" in path:
        raise ConfigurationError(f"url_or_store takes {_TAKES}; got {url!r:.80}")
    try:
        place = Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f"url_or_store: {error}") from None
    return Place(Path(os.path.abspath(place)), _max_bytes(query))  # noqa: PTH100 - no links are followed


def _max_bytes(query: str) -> int:
    most = _MOST_BYTES
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name != "max_bytes":
            raise ConfigurationError(f"url_or_store takes {_TAKES}; got ?{name:.40}=")
        if not value.isascii() or not value.isdecimal() or int(value[:18]) < LEAST_BYTES:
            raise ConfigurationError(
                f"max_bytes takes a whole number of bytes, {LEAST_BYTES} or more; got {value!r:.40}"
            )
        most = int(value[:18])
    return most
