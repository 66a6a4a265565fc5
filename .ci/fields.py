"""For the docs site: the arguments and fields that a docstring names become a list.

The source says them in as few marks as it can, `name: what it is. other: what that is.`
"""

import re
from typing import Any

import griffe

_NAMED = re.compile(r"(?:^|(?<=\. )|(?<=\.\) ))([a-z_]\w*(?:, [a-z_]\w*)*): ", re.ASCII)


class Fields(griffe.Extension):
    """Rewrites docstrings as they are loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """An object has been loaded."""
        if obj.docstring is not None:
            obj.docstring.value = listed(obj.docstring.value, _names_of(obj))


def _names_of(obj: griffe.Object) -> set[str]:
    if isinstance(obj, griffe.Function):
        return {each.name for each in obj.parameters}
    if isinstance(obj, griffe.Class):
        made = obj.members.get("__init__")
        given = _names_of(made) if isinstance(made, griffe.Function) else set[str]()
        return given | set(obj.members)
    return set()


def listed(text: str, names: set[str]) -> str:
    """`text` with an item of a list for each of `names` that is explained there."""
    return "\n\n".join(_paragraph(each, names) for each in text.split("\n\n"))


def _paragraph(text: str, names: set[str]) -> str:
    joined = " ".join(text.split())
    starts = [match for match in _NAMED.finditer(joined) if names.issuperset(match[1].split(", "))]
    if not starts:
        return text
    ends = [match.start() for match in starts[1:]] + [len(joined)]
    items = [
        f"- **`{match[1]}`**: {joined[match.end() : end].strip()}"
        for match, end in zip(starts, ends, strict=True)
    ]
    before = joined[: starts[0].start()].strip()
    return "\n".join([*([before, ""] if before else []), *items])
