"""What of a call differs from the recorded one that is most like it: the paths, never the text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

from samecall._errors import Unkeyable
from samecall._key import digest_of, path_of

__all__ = ["as_json", "differing"]

_MOST = 3
_DEPTH = 100
_Path = tuple[str | int, ...]


def as_json(value: Any, depth: int = 0) -> Any:
    """`value` as plain JSON data; what is none (images, bytes, objects) as its digest."""
    kind = cast("type[object]", type(value))
    if value is None or kind in (str, bool, int, float):
        return value
    if kind is dict and depth < _DEPTH:
        pairs = cast("dict[object, object]", value).items()
        return {str(name): as_json(item, depth + 1) for name, item in pairs}
    if kind in (list, tuple) and depth < _DEPTH:
        return [as_json(item, depth + 1) for item in cast("list[object]", value)]
    try:
        return {"digest": digest_of(value).hex()[:32]}
    except Unkeyable:
        return {"digest": kind.__name__}


def differing(request: Any, recorded: Iterable[Any]) -> list[str]:
    """The paths (a few) in which `request` differs from the one most like it; [] if none is."""
    asked = dict(_leaves(request, ()))
    best: list[_Path] = []
    for other in recorded:
        if other is None:
            continue
        known = dict(_leaves(other, ()))
        paths = [path for path in asked if path not in known or known[path] != asked[path]]
        paths += [path for path in known if path not in asked]
        if paths and (not best or len(paths) < len(best)):
            best = paths
    return list(dict.fromkeys(map(path_of, best)))[:_MOST]


def _leaves(value: Any, path: _Path) -> Iterator[tuple[_Path, Any]]:
    kind = cast("type[object]", type(value))
    if kind is dict and value:
        for name, item in cast("dict[str, Any]", value).items():
            yield from _leaves(item, (*path, name))
    elif kind is list and value:
        for index, item in enumerate(cast("list[object]", value)):
            yield from _leaves(item, (*path, index))
    else:
        # 1, 1.0 and True are three questions
        yield path, (kind.__name__, value)
