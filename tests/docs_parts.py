"""What is fenced in README and docs: blocks by kind, and the command lines of consoles."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

__all__ = ["BLOCKS", "PAGES", "ROOT", "Block", "Command", "commands", "parsed", "parts", "words"]

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])


class Block(NamedTuple):
    """A fenced block: where it stands, of which kind it is, and its text."""

    at: str
    kind: str
    text: str


class Command(NamedTuple):
    """A line of a console, its continuations joined, and what is shown below it."""

    line: str
    shown: list[str]


def parsed(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").parse(page.read_text())


def blocks() -> Iterator[Block]:
    for page in PAGES:
        for token in parsed(page):
            if token.type == "fence" and token.map is not None:
                at = f"{page.relative_to(ROOT).as_posix()}:{token.map[0] + 1}"
                yield Block(at, token.info.strip(), token.content)


BLOCKS = list(blocks())


def commands(text: str) -> list[Command]:
    """Of one console: with `$ ` where it shows output as well, else line by line."""
    joined = text.replace("\\\n", " ").splitlines()
    lines = [line for line in joined if not re.match(r"\s*(#|$)", line)]
    prompted = any(line.startswith("$ ") for line in lines)
    found: list[Command] = []
    for line in lines:
        if not prompted:
            found.append(Command(line, []))
        elif line.startswith("$ "):
            found.append(Command(line[2:], []))
        else:
            found[-1].shown.append(line)
    return found


def parts(line: str) -> list[str]:
    """What stands between the `&&` of a line, but for those within quotes."""
    return re.split(r" && (?=(?:[^']*'[^']*')*[^']*$)", line)


def words(line: str) -> Iterator[list[str]]:
    """The programs that a line calls, each with its arguments."""
    called: list[str] = []
    split = shlex.shlex(re.sub(r"(^|\s)#.*", "", line), posix=True, punctuation_chars="|&")
    split.whitespace_split = True
    for word in [*split, "&&"]:
        if word in ("|", "&&"):
            yield from _programs(called)
            called = []
        else:
            called.append(word)


def _programs(called: list[str]) -> Iterator[list[str]]:
    while called and re.fullmatch(r"[A-Z_]+=.*", called[0]):  # SAMECALL_URL=... samecall top
        called = called[1:]
    if not called:
        return
    if called[0] == "xargs":
        yield from _programs(called[1:])
        return
    yield called
    if "sh" in called and "-c" in called:
        yield from words(called[called.index("-c") + 1])
