"""A JSON schema and a seed become one valid instance, the same one every time."""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections.abc import Callable
from typing import Any, cast

from samecall.testing.provider._ask import Json, mapping

__all__ = ["instance"]

_DEEP = 6
"""Nesting beyond which a recursive schema is answered as shortly as it allows."""

_TRIED = ("7", "12.5", "a", "A", "abc", "ABC", "a1", "A1", "2024-05-01", "12345", "a@b.co")


def instance(schema: Json, seed: str) -> Any:
    """A value that `schema` admits. Every part depends on `seed` and its own path only.

    Understands what Pydantic writes: $ref, anyOf, oneOf, allOf, const, enum, types, formats,
    bounds of numbers and lengths, tuples and dictionaries. A `pattern` is met where a short plain
    text or digits meet it. Gemini's upper-case types and `nullable` are read too.
    """
    return _Grower(schema, seed).value(schema, "", 0)


class _Grower:
    def __init__(self, root: Json, seed: str) -> None:
        self._root = root
        self._seed = seed

    def _rng(self, path: str) -> random.Random:
        seed = f"{self._seed}\0{path}".encode("utf-8", "surrogatepass")
        return random.Random(seed)

    def value(self, schema: object, path: str, depth: int) -> Any:
        node = self._resolved(mapping(schema))
        if "const" in node:
            return node["const"]
        if node.get("enum"):
            return self._rng(path).choice(cast("list[Any]", node["enum"]))
        options = cast("list[object]", node.get("anyOf") or node.get("oneOf") or [])
        if options:
            return self.value(self._option(options, path, depth), path, depth + 1)
        kind = _kind(node)
        if kind == "object":
            return self._object(node, path, depth)
        if kind == "array":
            return self._array(node, path, depth)
        if kind in ("integer", "number"):
            return _number(node, self._rng(path), whole=kind == "integer")
        if kind == "boolean":
            return self._rng(path).random() < 0.5
        return None if kind == "null" else self._string(node, path, depth)

    def _resolved(self, node: Json) -> Json:
        seen = 0
        while ("$ref" in node or "allOf" in node) and seen < 50:
            seen += 1
            merged: Json = {}
            if "$ref" in node:
                merged |= self._target(str(node["$ref"]))
            for part in cast("list[object]", node.get("allOf") or []):
                merged |= self._resolved(mapping(part))
            node = merged | {k: v for k, v in node.items() if k not in ("$ref", "allOf")}
        return node

    def _target(self, ref: str) -> Json:
        found: object = self._root
        for step in ref.removeprefix("#").strip("/").split("/"):
            if step:
                found = mapping(found).get(step.replace("~1", "/").replace("~0", "~"))
        return mapping(found)

    def _option(self, options: list[object], path: str, depth: int) -> object:
        solid = [o for o in options if _kind(self._resolved(mapping(o))) != "null"]
        if depth > _DEEP:
            flat = [o for o in options if _kind(self._resolved(mapping(o))) not in _NESTED]
            return (flat or options)[0]
        # Pydantic writes a Decimal as "number or any string": only the number is surely right.
        numbers = [o for o in solid if _kind(mapping(o)) == "number"]
        return numbers[0] if numbers else self._rng(path + "|").choice(solid or options)

    def _object(self, node: Json, path: str, depth: int) -> Json:
        required = set(cast("list[str]", node.get("required") or []))
        made: Json = {}
        for name, sub in mapping(node.get("properties")).items():
            if name in required or depth <= _DEEP:
                made[name] = self.value(sub, f"{path}/{name}", depth + 1)
        more = node.get("additionalProperties")
        if isinstance(more, dict) and not node.get("properties"):
            wanted = max(1 if depth <= _DEEP else 0, int(node.get("minProperties") or 0))
            for at in range(wanted):
                name = str(self.value(node.get("propertyNames") or {}, f"{path}/key{at}", depth))
                made[name] = self.value(cast("object", more), f"{path}/{name}", depth + 1)
        return made

    def _array(self, node: Json, path: str, depth: int) -> list[Any]:
        first = cast("list[object]", node.get("prefixItems") or [])
        made = [self.value(s, f"{path}/{at}", depth + 1) for at, s in enumerate(first)]
        if first and not isinstance(node.get("items"), dict):
            return made
        low = int(node.get("minItems") or 0)
        high = int(node.get("maxItems") or max(low, 3))
        wanted = low if depth > _DEEP else max(low, min(high, self._rng(path + "#").randint(1, 3)))
        for at in range(len(made), len(made) + 20 * wanted):
            if len(made) >= wanted:
                break
            item = self.value(node.get("items") or {}, f"{path}/{at}", depth + 1)
            if not (node.get("uniqueItems") and item in made):
                made.append(item)
        return made

    def _string(self, node: Json, path: str, depth: int) -> str:
        if "contentSchema" in node:
            return json.dumps(self.value(node["contentSchema"], path + "!", depth + 1))
        rng, name = self._rng(path), path.rsplit("/", 1)[-1] or "text"
        digest = hashlib.sha256(f"{self._seed}\0{path}".encode("utf-8", "surrogatepass"))
        text = _formatted(str(node.get("format", "")), rng) or f"{name}-{digest.hexdigest()[:8]}"
        low, high = int(node.get("minLength") or 0), node.get("maxLength")
        if not node.get("format"):
            while len(text) < low:
                text += digest.hexdigest()
            text = text if high is None else text[-max(low, int(high)) :] if int(high) else ""
        pattern = node.get("pattern")
        if isinstance(pattern, str) and not re.search(pattern, text):
            fits = [t for t in _numerals(rng) + _TRIED if re.search(pattern, t) and len(t) >= low]
            return fits[0] if fits else text
        return text


_NESTED = ("object", "array")


def _kind(node: Json) -> str:
    kind: object = node.get("type")
    if isinstance(kind, list):
        kinds = [k for k in cast("list[str]", kind) if k != "null"]
        kind = kinds[0] if kinds else "null"
    if isinstance(kind, str):
        return kind.lower()
    return "object" if "properties" in node else "array" if "items" in node else "string"


def _number(node: Json, rng: random.Random, *, whole: bool) -> int | float:
    step = float(node.get("multipleOf") or (1 if whole else 0.25))
    low, high = _bound(node, "minimum", max), _bound(node, "maximum", min)
    if low is None:
        low = 0.0 if high is None or high > 0 else high - 1000 * step
    if high is None:
        high = low + 10_000 * max(step, 0.25)
    first, last = math.ceil(low / step), math.floor(high / step)
    first += first * step == low and "exclusiveMinimum" in node
    last -= last * step == high and "exclusiveMaximum" in node
    value = rng.randint(first, last) * step if first <= last else (low + high) / 2
    return round(value) if whole else value


def _bound(node: Json, which: str, tighter: Callable[[list[float]], float]) -> float | None:
    given = (node.get(which), node.get(f"exclusive{which.capitalize()}"))
    found = [float(value) for value in given if isinstance(value, int | float)]
    return tighter(found) if found else None


def _numerals(rng: random.Random) -> tuple[str, ...]:
    return (f"{rng.randint(1, 99)}.{rng.randint(1, 9)}", str(rng.randint(1, 9)))


def _formatted(name: str, rng: random.Random) -> str:
    month, day, word = rng.randint(1, 12), rng.randint(1, 28), f"{rng.getrandbits(32):08x}"
    date = f"20{rng.randint(10, 39)}-{month:02}-{day:02}"
    hour = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}"
    high, low = rng.getrandbits(48), rng.getrandbits(60)
    return {
        "date": date,
        "date-time": f"{date}T{hour}Z",
        "time": f"{hour}Z",
        "duration": f"PT{rng.randint(1, 5000)}S",
        "email": f"user-{word}@example.com",
        "uri": f"https://example.com/{word}",
        "url": f"https://example.com/{word}",
        "hostname": f"{word}.example.com",
        "ipv4": f"192.0.2.{rng.randint(1, 254)}",
        "ipv6": f"2001:db8::{rng.randint(1, 9999):x}",
        "uuid": f"{high >> 16:08x}-{high & 0xFFFF:04x}-4{low >> 48:03x}-8{low >> 36 & 0xFFF:03x}-"
        f"{low & 0xFFFFFFFFF:012x}",
        "binary": word,
        "base64": "c2FtZWNhbGw=",
        "base64url": "c2FtZWNhbGw=",
        "path": f"/srv/{word}",
        "password": word,
    }.get(name, "")
