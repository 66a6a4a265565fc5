"""The file of a cassette: JSON Lines, in the order of the keys: to be reviewed and merged.

    {"samecall": "cassette", "format": 1}
    {"key": "<64 hex>", "namespace": "default", "request": {...}, "answer": {"tag": "...", ...}}

How an answer is shown is told in `forms`.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samecall._cassette.forms import UNREADABLE, hidden, shown
from samecall._entry import Key, Payload
from samecall._errors import ConfigurationError

__all__ = ["FORMAT", "Recorded", "add_to_tape", "read_tape", "replace_tape", "state_of"]

FORMAT = 1
_DIGEST = 32


@dataclass(frozen=True, slots=True)
class Recorded:
    """One call of a cassette: what was asked, where that is known, and what was answered."""

    request: Any
    answer: Payload


Tape = Mapping[Key, Recorded]


def read_tape(path: Path) -> dict[Key, Recorded]:
    """All calls of a file. Raises `ConfigurationError` that names the line that is no good."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ConfigurationError(f"cassette {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"cassette {path} is no text: {error.reason}") from None
    lines = text.splitlines()
    _check_head(path, lines[0] if lines else "")
    tape: dict[Key, Recorded] = {}
    for number, line in enumerate(lines[1:], 2):
        try:
            key, recorded = _read(json.loads(line))
        except UNREADABLE as error:
            last = number == len(lines) and not text.endswith("\n")
            why = "it is cut off" if last else f"{type(error).__name__}"
            raise ConfigurationError(
                f"cassette {path}, line {number}: no recorded call ({why}); take the line out, or "
                'record anew with mode="rewrite"'
            ) from None
        if key in tape:
            raise ConfigurationError(f"cassette {path}, line {number}: this call is there already")
        tape[key] = recorded
    return tape


def _check_head(path: Path, line: str) -> None:
    try:
        head = json.loads(line)
        version = head["format"] if head["samecall"] == "cassette" else None
    except UNREADABLE:
        version = None
    if type(version) is not int or version < 1:
        raise ConfigurationError(f"cassette {path}, line 1: this is no cassette of samecall")
    if version > FORMAT:
        raise ConfigurationError(
            f"cassette {path} was made by a newer samecall (format {version}, this one reads "
            f"{FORMAT}); upgrade samecall"
        )


def _read(line: Any) -> tuple[Key, Recorded]:
    key = Key(bytes.fromhex(line["key"]), line["namespace"])
    answer = line["answer"]
    tag = answer["tag"]
    if len(key.digest) != _DIGEST or not isinstance(tag, str) or not isinstance(key.namespace, str):
        raise ValueError
    return key, Recorded(line.get("request"), Payload(tag, hidden(answer)))


def state_of(path: Path) -> tuple[int, int] | None:
    """Tells one state of a file from the next, which is another file; None: there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def _write_tape(path: Path, tape: Tape) -> None:
    """Put `tape` in the place of the file, all of it or nothing."""
    lines = [json.dumps({"samecall": "cassette", "format": FORMAT})]
    lines += [_line(key, tape[key]) for key in sorted(tape)]
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        part = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write("".join(f"{line}\n" for line in lines).encode())
        part.chmod(0o644)  # it is made to be shared
        part.replace(path)
    except BaseException as error:
        if part is not None:
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):  # which tells of the part, or does not tell where
            raise OSError(
                error.errno, f"cassette not written: {error.strerror}", str(path)
            ) from None
        raise


def add_to_tape(path: Path, tape: Tape) -> None:
    """Put `tape` into the file, beside what others (a test run has many workers) put there."""
    with _alone(path):
        _write_tape(path, {**(read_tape(path) if path.exists() else {}), **tape})


def replace_tape(path: Path, tape: Tape, known: tuple[int, int] | None) -> tuple[int, int] | None:
    """Put `tape` in the place of the file as it was `known`; what others made since then stays.

    Gives the state that it has now.
    """
    with _alone(path):
        now = state_of(path)
        others = read_tape(path) if now not in (known, None) else {}
        _write_tape(path, {**others, **tape})
        return state_of(path)


def _line(key: Key, recorded: Recorded) -> str:
    line = {
        "key": key.hex,
        "namespace": key.namespace,
        "request": recorded.request,
        "answer": {"tag": recorded.answer.tag, **shown(recorded.answer.data)},
    }
    text = json.dumps(line, ensure_ascii=False)
    # a lone surrogate is no UTF-8, and other line ends are for `splitlines` alone
    odd = not text.isprintable() or any("\ud800" <= char <= "\udfff" for char in text)
    return json.dumps(line) if odd else text


@contextmanager
def _alone(path: Path) -> Generator[None]:
    """Keep other processes of this machine out; the lock lies where nobody reviews it."""
    try:
        import fcntl
    except ImportError:  # Windows: the last one wins
        yield
        return
    name = hashlib.blake2b(os.fsencode(path), digest_size=8).hexdigest()
    # one for each user: nobody may open another one's for writing
    with Path(tempfile.gettempdir(), f"samecall-{os.getuid()}-{name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
