"""`samecall forget`: entries that must not answer any more."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from samecall.cli._options import Json, Namespace, Url, cache_at, namespace_of, note, run, store_at
from samecall.cli._trouble import ExitCode, Trouble, say, to_json

__all__ = ["command"]


def command(
    url: Url,
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY]...", help="Keys as ls prints them, or their first digits."),
    ] = None,
    namespace: Namespace = "default",
    tag: Annotated[
        str | None, typer.Option("--tag", "-t", help="Every entry with this tag.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every entry of the namespace.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask back about --all.")] = False,
    json: Json = False,
) -> None:
    """Forget entries: nothing begun before comes back after, in any process of the fleet.

    Copies in the memory of other processes are trusted for a second more. Exit code 1 if a key's
    first digits fit none or several; 3 if the store is not there.
    """
    if bool(keys) + everything + (tag is not None) != 1:
        raise Trouble("give KEYs or --all or --tag: one of them", ExitCode.USAGE)
    space = namespace_of(namespace)
    if everything:
        if not yes:
            _ask(f"Forget every entry of {space!r}?")
        run(_clear(url, space))
        say(to_json({"namespace": space}) if json else f"forgot every entry of {space!r}")
        return
    if tag is not None:
        run(_forget_tag(url, space, tag))
        told = {"namespace": space, "tag": tag}
        say(to_json(told) if json else f"forgot every entry of {space!r} with the tag {tag!r}")
        return
    gone = run(_forget(url, space, keys or []))
    say(to_json({"namespace": space, "keys": gone}) if json else "\n".join(gone))


def _ask(question: str) -> None:
    """Raises `Trouble` for every answer but yes, and where nobody answers."""
    print(f"{question} [y/N]: ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer:
        note("")
        raise Trouble("nothing was forgotten: nobody answers here, give --yes", ExitCode.FAILED)
    if answer.strip().lower() not in {"y", "yes"}:
        raise Trouble("nothing was forgotten", ExitCode.FAILED)


async def _clear(url: str, namespace: str) -> None:
    async with cache_at(url, namespace) as cache:
        await cache.clear(reclaim=True)


async def _forget_tag(url: str, namespace: str, tag: str) -> None:
    async with cache_at(url, namespace) as cache:
        await cache.forget_tag(tag)


async def _forget(url: str, namespace: str, texts: list[str]) -> list[str]:
    from samecall.cli._entries import find, key_in

    for text in texts:
        key_in(text, namespace)
    async with store_at(url) as store:
        found = [await find(store, text, namespace) for text in texts]
    async with cache_at(url, namespace) as cache:
        for key in found:
            await cache.forget(key)
    return [key.hex for key in found]
