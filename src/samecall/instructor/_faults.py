"""What a leader's error means to others: how far it may travel, and in which words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from instructor.v2.core.errors import (
    IncompleteOutputException,
    InstructorRetryException,
    TokenBudgetError,
)
from pydantic import ValidationError

from samecall._codec import without_secrets
from samecall._http import retry_after_of, status_of
from samecall._ports import ErrorRecord, Reach
from samecall.instructor._remade import described

__all__ = ["is_timeout", "last_completion", "reach_of", "told"]

_PRIVATE = frozenset({401, 403})
_LONGEST = 300
_WINDOW = 16
_PROMPT = 100_000
_SHORTEST = 3
_BEFORE = r"(?:(?<!\w)|(?<=\\[nrt]))"  # an SDK shows a line's end as two characters
_SAID = frozenset({"content", "contents", "input", "parts", "prompt", "system", "text"})


def reach_of(error: BaseException, *, own_timeout: bool) -> Reach:
    """Own limits stay with the leader, logins and connections in the process, the rest is told.

    `own_timeout`: the leader's caller set a timeout, so that running out of time is its own.
    """
    if isinstance(error, TokenBudgetError):
        return Reach.OWN
    if isinstance(error, IncompleteOutputException):
        return Reach.FLEET
    cause = _cause(error)
    if is_timeout(cause):
        return Reach.OWN if own_timeout else Reach.PROCESS
    status = status_of(cause)
    if status is not None:
        return Reach.PROCESS if status in _PRIVATE else Reach.FLEET
    if isinstance(error, InstructorRetryException):
        return Reach.FLEET if last_completion(error) is not None else Reach.PROCESS
    if isinstance(cause, OSError) or "Connect" in type(cause).__name__:
        return Reach.PROCESS
    # nothing has been asked of the provider: a wrong argument is the business of its caller
    return Reach.OWN


def last_completion(error: BaseException) -> Any | None:
    """What the provider answered, where only its validation failed."""
    if isinstance(error, IncompleteOutputException):
        return error.last_completion
    if not isinstance(error, InstructorRetryException) or isinstance(error, TokenBudgetError):
        return None
    attempts = error.failed_attempts or []
    # a reask that died on the way (429, connection) leaves earlier attempts behind
    failed_in_validation = bool(attempts) and len(attempts) == error.n_attempts
    return error.last_completion if failed_in_validation else None


def told(error: BaseException, asked: Mapping[str, Any]) -> ErrorRecord:
    """The error in words that may leave the process: no secret, nothing of the prompt."""
    cause = _cause(error)
    if isinstance(cause, ValidationError):
        message = f"{cause.error_count()} validation errors for {cause.title}"
    elif isinstance(error, InstructorRetryException) and last_completion(error) is not None:
        message = "the completion did not pass validation"
    else:
        message = _scrubbed(_words(cause), asked)
    return ErrorRecord(
        type(cause).__name__,
        message,
        status_of(cause),
        retry_after_of(cause),
        described(error, cause),
    )


def _words(cause: BaseException) -> str:
    said: object = getattr(cause, "message", None)
    body: object = getattr(cause, "body", None)
    if not said and isinstance(body, Mapping):  # Cohere's `str` shows every header of the reply
        said = cast("Mapping[str, object]", body).get("message")
    return str(said or cause)


def _cause(error: BaseException) -> BaseException:
    if isinstance(error, InstructorRetryException) and error.__cause__ is not None:
        return error.__cause__
    return error


def is_timeout(error: BaseException) -> bool:
    """Whether somebody's patience ended."""
    return isinstance(error, TimeoutError) or "Timeout" in type(error).__name__


def _scrubbed(message: str, asked: Mapping[str, Any]) -> str:
    message = without_secrets(message[:_LONGEST])
    prompt = "\n".join(_texts(asked))[:_PROMPT]
    parts: list[str] = []
    place = 0
    while place < len(message):
        window = message[place : place + _WINDOW]
        if len(window) == _WINDOW and window in prompt:
            end = place + _WINDOW
            while end < len(message) and message[place : end + 1] in prompt:
                end += 1
            parts.append("[…]")
            place = end
        else:
            parts.append(message[place])
            place += 1
    return _without_lines("".join(parts), asked)


def _without_lines(message: str, asked: Mapping[str, Any]) -> str:
    """A short prompt, or a short line of one, has no window: it goes where it stands whole."""
    lines = {line.strip() for line in _lines(asked)}
    for line in sorted(lines, key=len, reverse=True):
        if len(line) >= _SHORTEST and line in message:
            message = re.sub(rf"{_BEFORE}{re.escape(line)}(?!\w)", "[…]", message)
    return message


def _lines(value: Any, depth: int = 8, *, said: bool = False) -> Iterator[str]:
    """The lines of what is said in a call: not of roles, names and settings."""
    if isinstance(value, str):
        yield from value[:_PROMPT].splitlines() if said else ()
    elif depth and isinstance(value, Mapping):
        for name, item in cast("Mapping[str, Any]", value).items():
            yield from _lines(item, depth - 1, said=name in _SAID)
    elif depth and isinstance(value, (list, tuple)):
        for item in cast("Sequence[Any]", value):
            yield from _lines(item, depth - 1, said=said)


def _texts(value: Any, depth: int = 8) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, (Mapping, list, tuple)):
        holder = cast("Mapping[str, Any] | Sequence[Any]", value)
        items = holder.values() if isinstance(holder, Mapping) else holder
        for item in items:
            yield from _texts(item, depth - 1)
