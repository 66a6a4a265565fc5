"""What every provider's request asks, and what is answered, free of any wire shape."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

__all__ = [
    "Ask",
    "Json",
    "Reply",
    "Shape",
    "Tool",
    "ToolCall",
    "json_only_schema",
    "mapping",
    "pieces",
    "question",
    "records",
    "sse",
    "text_of",
    "tokens",
]

Json = dict[str, Any]

# What instructor itself adds as, or to, a user message: no part of the caller's question.
_ADDED = (
    "Return the correct JSON response within a ```json codeblock",
    "Return your answer as JSON in a markdown code block",
    "Correct your JSON",
    "Correct the following JSON response",
    "Recall the function",
    "Validation Error",
)
_SCHEMA = re.compile(r"json_schema:\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the request offers: its name and the JSON schema of its arguments."""

    name: str
    schema: Json


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: `prompt` is the last user message; `schema` is of the text that is wanted."""

    shape: str
    model: str
    prompt: str
    tools: tuple[Tool, ...] = ()
    parallel: bool = False
    schema: Json | None = None
    fenced: bool = False
    stream: bool = False
    stream_usage: bool = True
    input_tokens: int = 1
    body: Json = field(default_factory=dict[str, Any], repr=False)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool; `arguments` is JSON text, or meant to be."""

    name: str
    arguments: str

    def object(self) -> Json:
        """The arguments for the wires that carry an object, and so cannot carry broken JSON."""
        try:
            value: object = json.loads(self.arguments)
        except ValueError:
            return {"malformed": self.arguments}
        return mapping(value)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says: text, or calls of tools."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()

    @property
    def output_tokens(self) -> int:
        return tokens(self.text + "".join(c.name + c.arguments for c in self.calls))


class Shape(Protocol):
    """One provider's wire: its requests read, its answers and errors written."""

    name: str

    def read(self, path: str, body: Json) -> Ask:
        """The ask in a request."""
        ...

    def whole(self, ask: Ask, reply: Reply) -> Json:
        """The answer as one JSON body."""
        ...

    def events(self, ask: Ask, reply: Reply, size: int) -> Iterator[bytes]:
        """The answer as server-sent events, its text in pieces of `size` characters."""
        ...

    def error(self, status: int, message: str) -> Json:
        """The body of an error."""
        ...


def mapping(value: object) -> Json:
    """`value` if it is a JSON object, else an empty one."""
    return cast("Json", value) if isinstance(value, dict) else {}


def records(value: object) -> list[Json]:
    """The JSON objects in a JSON array; none if it is no array."""
    if not isinstance(value, list):
        return []
    return [cast("Json", item) for item in cast("list[object]", value) if isinstance(item, dict)]


def text_of(content: object) -> str:
    """The text of a message's content, which is a string or a list of parts with a `text`."""
    if isinstance(content, str):
        return content
    texts = (part.get("text") for part in records(content))
    return "\n".join(text for text in texts if isinstance(text, str))


def question(user_texts: Iterable[str]) -> str:
    """The last user text that a caller wrote, without what instructor adds to it."""
    found = ""
    for text in user_texts:
        ends = [at for at in map(text.find, _ADDED) if at >= 0]
        found = text[: min(ends, default=len(text))].strip() or found
    return found


def json_only_schema(text: str) -> Json | None:
    """The schema that instructor's JSON modes write into a system message, or None."""
    for match in _SCHEMA.finditer(text):
        try:
            found: object = json.JSONDecoder().raw_decode(text, match.end())[0]
        except ValueError:
            continue
        if mapping(found):
            return mapping(found)
    return None


def tokens(text: str) -> int:
    """About how many tokens a text is."""
    return len(text) // 4 + 1


def pieces(text: str, size: int) -> list[str]:
    """A text cut into pieces of `size` characters."""
    return [text[at : at + size] for at in range(0, len(text), size)]


def sse(data: Json | str, event: str | None = None) -> bytes:
    """One server-sent event."""
    body = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    return f"{f'event: {event}{chr(10)}' if event else ''}data: {body}\n\n".encode()
