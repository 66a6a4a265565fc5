"""`samecall show`: one entry, readable."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated, Any

import typer

from samecall._seal import Seal
from samecall.cli._options import Json, Namespace, Seals, Url, namespace_of, run, seal_of, store_at
from samecall.cli._trouble import ExitCode, Trouble, printable, say

__all__ = ["command"]


def command(
    key: Annotated[str, typer.Argument(help="Its 64 digits, as ls prints them, or the first few.")],
    url: Url,
    namespace: Namespace = "default",
    seal: Seals = None,
    json: Json = False,
) -> None:
    """Print an entry: what is known of it, and its answer; a sealed one needs its key.

    Exit code 1 if there is none, or several begin so; 3 if the store is not there.
    """
    told = run(_show(url, key, namespace_of(namespace), seal_of(seal)))
    if json:
        say(printable(jsonlib.dumps(told, ensure_ascii=False)))
        return
    answer = told.pop("answer", None)
    for name, value in told.items():
        say(f"{name:14} {printable(str(value))}")
    if answer is not None:
        told_as = jsonlib.dumps(answer, indent=2, ensure_ascii=False)
        say("\n" + "\n".join(map(printable, told_as.split("\n"))))


async def _show(url: str, text: str, namespace: str, seal: Seal | None) -> dict[str, Any]:
    import msgspec

    from samecall._envelopes import Envelopes
    from samecall.cli._entries import find, key_in, line_of, readable

    key_in(text, namespace)
    async with store_at(url, able=False) as store:
        key = await find(store, text, namespace)
        found = await store.get(key)
    if found is None:
        raise Trouble(f"no entry {key.hex[:16]}... in {namespace!r}", ExitCode.FAILED)
    line, entry = line_of(key, found.data, found.left, Envelopes(seal))
    told: dict[str, Any] = msgspec.to_builtins(line)
    if entry is not None:
        told["answer"] = readable(entry.payload.data)
    return told
