"""`samecall ls`: the entries of a namespace."""

from __future__ import annotations

from typing import Annotated, Any, cast

import typer

from samecall._envelopes import Envelopes
from samecall._lineage import Floors, Lineage
from samecall.cli._options import Namespace, Seals, Url, namespace_of, note, run, seal_of, store_at
from samecall.cli._trouble import ExitCode, printable, say, to_json

__all__ = ["command"]

_ASKED_FOR = 60.0  # seconds: to look is no reason to keep a generation for long
_TOLD = 10_000
_HEAD = f"{'key':64}  {'age':>8}  {'left':>8}  {'bytes':>9}  {'tokens':>13}  model"


def command(
    url: Url,
    namespace: Namespace = "default",
    limit: Annotated[
        int | None, typer.Option("--limit", "-l", min=1, help="Entries at most. [default: all]")
    ] = None,
    keys: Annotated[
        bool, typer.Option("--keys", "-k", help="Print keys and nothing else.")
    ] = False,
    seal: Seals = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object an entry, one a line.")
    ] = False,
) -> None:
    """List entries as they are found: key, age, rest of life, size, tokens and model.

    What was forgotten by a tag or with its namespace lies there until its time is over, and is
    marked. The whole database is walked over in small steps, in no order; memory stays bounded. Of
    sealed entries, only those with a key here show age, tokens and model. Exit code 1 if there is
    none; 3 if the store is not there.
    """
    envelopes = Envelopes(seal_of(seal))
    space = namespace_of(namespace)
    if keys and not json:
        shown = run(_keys(url, space, limit))
    else:
        shown = run(_list(url, space, limit, envelopes, json=json))
    if not shown:
        note(f"samecall ls: no entries in namespace {namespace!r}")
        raise typer.Exit(ExitCode.FAILED)


async def _keys(url: str, namespace: str, limit: int | None) -> int:
    from samecall.cli._entries import keys

    shown = 0
    async with store_at(url, able=False) as store:
        async for key in keys(store, namespace):
            say(key.hex)
            shown += 1
            if shown == limit:
                break
    return shown


async def _list(
    url: str, namespace: str, limit: int | None, envelopes: Envelopes, *, json: bool
) -> int:
    import msgspec

    from samecall.cli._entries import line_of

    shown = 0
    told: dict[tuple[str, ...], tuple[bytes, ...]] = {}
    async with store_at(url, able=False) as store:
        async for key, found in store.walk(namespace):
            line, entry = line_of(key, found.data, found.left, envelopes)
            if entry is not None:
                names = ("", *entry.tags)
                if names not in told:
                    if len(told) >= _TOLD:  # a tag for each user is one for each entry
                        told.clear()
                    told[names] = await _told(store, namespace, names, envelopes)
                line = msgspec.structs.replace(line, forgotten=told[names] != entry.generations)
            if json:
                say(to_json(line))
            else:
                if not shown:
                    say(_HEAD)
                say(_text(line))
            shown += 1
            if shown == limit:
                break
    return shown


async def _told(
    store: Any, namespace: str, names: tuple[str, ...], envelopes: Envelopes
) -> tuple[bytes, ...]:
    """The generations of now; what cannot be believed is none."""
    if envelopes.seals is None:
        return cast("tuple[bytes, ...]", await store.generations(namespace, names, _ASKED_FOR))
    lineage = Lineage(envelopes.seals)
    offers = lineage.offers(namespace, names, Floors())
    held = await store.generations(namespace, names, _ASKED_FOR, offers)
    return lineage.read(namespace, names, held) or ()


def _text(line: Any) -> str:
    if line.unreadable:
        return f"{line.key}  {'-':>8}  {_age(line.left):>8}  {line.bytes:>9,}  {line.unreadable}"
    tokens = f"{line.input_tokens:,}+{line.output_tokens:,}" if line.model else "-"
    who = printable(f"{line.provider}/{line.model}" if line.model else line.form)
    return (
        f"{line.key}  {_age(line.age):>8}  {_age(line.left):>8}  {line.bytes:>9,}  "
        f"{tokens:>13}  {who}{'  (forgotten)' if line.forgotten else ''}"
    )


def _age(seconds: float) -> str:
    for most, unit, size in ((120, "s", 1), (7_200, "min", 60), (172_800, "h", 3_600)):
        if seconds < most:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
