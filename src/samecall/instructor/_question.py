"""The arguments of one call become its key."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from hashlib import blake2b
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypedDict, cast

import msgspec
from instructor.v2.core.multimodal import PDF, Audio, Image

from samecall._errors import Unkeyable

__all__ = ["SLOW", "Frozen", "Rest", "Snapshot", "frozen", "parts_of", "plain_parts"]

# what cannot change the answer
_SILENT = frozenset({"hooks", "max_retries", "timeout", "token_budget", "stream", "stream_options"})
_AS_THEY_ARE = _SILENT | {"context"}
_LOGIN = frozenset({"api_key", "organization", "azure_ad_token", "azure_ad_token_provider"})
_BY_NAME = _AS_THEY_ARE | _LOGIN
_EXTRAS = frozenset({"context", "extra_body", "extra_headers", "extra_query"})
_SENT = _EXTRAS - {"context"}  # these may be of classes of their own
_ATOMS = frozenset({int, float, bool, type(None)})
_OMITTED = frozenset({"NotGiven", "Omit"})
SLOW = 256 * 1024
"""Characters or bytes from which a key is built off the event loop."""
_PATH = 1_024
_SMALL = 2_048
_DEPTH = 200


class Rest(TypedDict):
    """What counts in a key beside the arguments.

    of: the digest of what many calls share (client, schema, namespace).
    """

    of: bytes
    default_model: str | None
    account_named: bool
    vary: Any


class Snapshot:
    """The arguments as they are now: lists and dicts copied, so nobody changes them in the air.

    `slow`: the key has to be built off the event loop (files to read, or a very long prompt).
    """

    __slots__ = ("_odd", "_texts", "asked", "files", "weight")

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self.weight = 0
        self.files = bool(asked.get("autodetect_images"))
        self._odd = self.files
        self.asked: dict[str, Any] = {
            name: value if name in _AS_THEY_ARE else self._copy(value, name, 0)
            for name, value in asked.items()
        }

    @property
    def slow(self) -> bool:
        """Whether building the key would hold up the event loop."""
        return self.files or self.weight > SLOW

    @property
    def odd(self) -> bool:
        """Whether it holds anything but plain data."""
        return self._odd

    def _copy(self, value: Any, path: str, depth: int) -> Any:
        kind = cast("type[object]", type(value))
        if kind is str or kind is bytes:
            self.weight += len(value)
        elif kind in _ATOMS:
            pass
        elif depth > _DEPTH:
            raise Unkeyable(path, "nested too deeply")
        elif kind is dict:
            return {name: self._copy(item, path, depth + 1) for name, item in value.items()}
        elif kind is list:
            return [self._copy(item, path, depth + 1) for item in value]
        elif kind is tuple:
            return tuple(self._copy(item, path, depth + 1) for item in value)
        elif _is_a(value, dict, list, tuple):
            return self._copy_odd(value, path, depth + 1)
        else:
            self._odd = True
            if isinstance(value, (Image, Audio, PDF)):
                self.weight += len(value.data or "")
                self.files = self.files or value.data is None
            elif isinstance(cast("object", value), PathLike):
                self.files = True
        return value

    def _copy_odd(self, value: Any, path: str, depth: int) -> Any:
        # an OrderedDict, say: a copy of its class, which the SDK may want to see
        self._odd = True
        items: Any = value.items() if _is_a(value, dict) else enumerate(value)
        pairs: list[tuple[Any, Any]] = list(items)
        copies = [(at, self._copy(item, path, depth)) for at, item in pairs]
        if _is_a(value, tuple):
            return value  # of named fields, say: only looked through
        try:
            made = copy(value)
            for at, item in copies:
                made[at] = item
        except Exception:  # noqa: BLE001 - of its author's class, which does not want it
            return value
        return made


class Frozen:
    """Arguments of plain data as they are now, in one string of bytes; a hit never reads it.

    Lists and dicts that were copied are as many more objects for the garbage collector.
    """

    __slots__ = ("_asked", "_form")

    def __init__(self, asked: dict[str, Any]) -> None:
        """`asked`: the caller's no more."""
        self._asked = asked
        self._form = msgspec.msgpack.encode([v for n, v in asked.items() if n not in _BY_NAME])

    def thawed(self) -> dict[str, Any]:
        """The arguments, with lists and dicts of their own."""
        copies = iter(msgspec.msgpack.decode(self._form))
        return {n: v if n in _BY_NAME else next(copies) for n, v in self._asked.items()}


def frozen(asked: dict[str, Any], length: int, *, lists: bool) -> Frozen | dict[str, Any]:
    """The arguments of a call that has a plain form of so many bytes; lists: and no tuples."""
    # of many that wait with a long prompt each would have its bytes, where copies share them
    if lists and length <= _SMALL and not any(asked.get(name) is not None for name in _SENT):
        return Frozen(asked)
    return Snapshot(asked).asked


def plain_parts(
    asked: Mapping[str, Any],
    *,
    of: bytes,
    default_model: str | None,
    account_named: bool,
    vary: Any,
) -> dict[str, Any] | None:
    """What `parts_of` makes of arguments without files and media; None where there may be any."""
    if asked.get("autodetect_images"):
        return None
    rest: dict[str, Any] = {}
    for name, value in asked.items():
        if name in _SILENT or (account_named and name in _LOGIN):
            continue
        settled = _extra(name, value) if name in _EXTRAS and value is not None else value
        if settled is not _ABSENT and (value is not None or name not in _EXTRAS):
            rest[name] = settled
    if default_model is not None:
        rest.setdefault("model", default_model)
    return {"of": of, "vary": vary, "asked": rest}


def parts_of(
    snapshot: Snapshot,
    *,
    of: bytes,
    default_model: str | None,
    account_named: bool,
    vary: Any,
) -> dict[str, Any]:
    """Everything that can change the answer, as plain data; raises `Unkeyable`."""
    asked = snapshot.asked
    rest: dict[str, Any] = {}
    detect = bool(asked.get("autodetect_images"))
    for name, value in asked.items():
        if name in _SILENT or (account_named and name in _LOGIN):
            continue
        if name in _EXTRAS:
            settled = _extra(name, value)
        elif snapshot.odd and type(value) not in _ATOMS:
            settled = _settled(value, name, detect and name != "model")
        else:
            settled = value
        if settled is not _ABSENT:
            rest[name] = settled
    if default_model is not None:
        rest.setdefault("model", default_model)
    return {"of": of, "vary": vary, "asked": rest}


_ABSENT = object()


def _is_a(value: Any, *kinds: type) -> bool:
    # without telling type checkers, who then know less of what is in it
    return isinstance(value, kinds)


def _extra(name: str, value: Any) -> Any:
    # an empty one is the same as none; the user agent changes nobody's answer
    if name == "extra_headers" and isinstance(value, Mapping):
        headers = cast("Mapping[object, object]", value).items()
        pairs = ((str(header).lower(), item) for header, item in headers)
        value = {header: item for header, item in pairs if header != "user-agent"}
    elif type(value).__name__ in _OMITTED:
        return _ABSENT
    return _ABSENT if value is None or (value == {} and name != "context") else value


def _settled(value: Any, path: str, detect: bool) -> Any:
    # media by content, omitted values away; whatever else is odd is for the digest to judge
    kind = cast("type[object]", type(value))
    if _is_a(value, dict):
        pairs = ((name, _settled(item, f"{path}.{name}", detect)) for name, item in value.items())
        return {name: item for name, item in pairs if item is not _ABSENT}
    if _is_a(value, list, tuple):
        return [_settled(item, f"{path}[{i}]", detect) for i, item in enumerate(value)]
    if kind is str:
        return _file(Path(value), path) if detect and _is_file(value) else value
    if kind.__name__ in _OMITTED:
        return _ABSENT
    if isinstance(value, (Image, Audio, PDF)):
        return _media(value, path)
    if isinstance(value, PathLike):
        return _file(Path(fspath(cast("PathLike[str]", value))), path)
    return value


def _media(value: Image | Audio | PDF, path: str) -> dict[str, Any]:
    control = getattr(value, "cache_control", None)
    told: dict[str, Any] = {"media": value.media_type, "kind": type(value).__name__}
    if control is not None:
        told["cache_control"] = dict(control)
    source = value.source
    if value.data is not None:
        told["data"] = value.data
    elif isinstance(source, bytes):
        told["data"] = source
    elif isinstance(source, Path) or _is_file(source):
        told["data"] = _file(Path(source), path)
    else:
        told["url"] = source
    return told


def _is_file(text: str) -> bool:
    if len(text) > _PATH or "\n" in text or "\0" in text:
        return False
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _file(place: Path, path: str) -> dict[str, bytes]:
    digest = blake2b(digest_size=32)
    try:
        with place.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise Unkeyable(path, f"the file cannot be read ({type(error).__name__})") from None
    return {"file": digest.digest()}
