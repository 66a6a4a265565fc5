"""Parts of a canonical form: its pieces, the forms of text, and the trouble of a value without."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

__all__ = ["LONG_TEXT", "Out", "Unfit", "digest_form", "long_form", "name_form", "shape_of"]

LONG_TEXT = 4_096
"""Characters or bytes from which a value is written as its digest."""


class Out(list[str]):
    """The pieces of a form; `spent[0]` counts the values of the whole call so far."""

    __slots__ = ("spent",)

    def __init__(self, spent: list[int]) -> None:
        self.spent = spent


class Unfit(Exception):
    """A value without a form; the containers around it add their steps, innermost first."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.steps: list[object] = []

    def path(self) -> str:
        """The argument's path, such as `messages[3].content`."""
        text = ""
        for step in reversed(self.steps):
            if isinstance(step, str):
                text += f".{step}" if text else step
            else:
                text += f"[{step}]" if isinstance(step, int) else f"[<{type(step).__name__}>]"
        return text or "the value"


def long_form(text: str) -> str:
    """The form of a text of `LONG_TEXT` or more."""
    return f"L{len(text)}:{digest_form(text.encode('utf-8', 'surrogatepass'))}"


def digest_form(raw: bytes | bytearray | memoryview) -> str:
    """What stands for bytes that are not to be copied."""
    return blake2b(raw, digest_size=32).hexdigest()


def name_form(name: str) -> str:
    """The form of a dict's key or a field's name."""
    return f"s{len(name)}:{name}" if len(name) < LONG_TEXT else long_form(name)


@lru_cache(maxsize=1_024)
def shape_of(keys: tuple[str, ...]) -> tuple[str, list[tuple[str, str]]]:
    """What the keys of a dict (exactly str) come to: the same few sets of names again and again."""
    return f"d{len(keys)}:", [(key, name_form(key)) for key in sorted(keys)]
