"""A provider's error made again in another process: an exception of the SDK's own class.

Only the classes on the list below are ever made; a record names one by its tag, never by a path.
401 and 403 are not among them: they never leave the process that they hit.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any, cast

import msgspec
from instructor.v2.core.errors import FailedAttempt, InstructorRetryException

from samecall._errors import SamecallError, Unstorable
from samecall._ports import ErrorRecord
from samecall.instructor._completions import Stored, pack, unpack

__all__ = ["described", "remade"]

_MODULES = {
    "openai": "openai._exceptions",
    "anthropic": "anthropic._exceptions",
    "cerebras": "cerebras.cloud.sdk._exceptions",
    "groq": "groq._exceptions",
    "writerai": "writerai._exceptions",
    "google": "google.genai.errors",
    "httpx": "httpx",
    "httpx2": "httpx2",
}
_TRANSPORT = frozenset({"ReadError", "RemoteProtocolError"})
"""How a connection breaks in mid-stream."""
_IN_MIDSTREAM = _TRANSPORT | {"APIError"}
"""Errors that come without a status."""
_STATUS_ERRORS = (
    "APIStatusError",
    "BadRequestError",
    "ConflictError",
    "InternalServerError",
    "NotFoundError",
    "RateLimitError",
    "UnprocessableEntityError",
)
_NAMES = {
    **dict.fromkeys(
        ("cerebras", "groq", "openai", "writerai"), frozenset({"APIError", *_STATUS_ERRORS})
    ),
    "anthropic": frozenset(
        {
            *_STATUS_ERRORS,
            "DeadlineExceededError",
            "OverloadedError",
            "RequestTooLargeError",
            "ServiceUnavailableError",
        }
    ),
    "google": frozenset({"APIError", "ClientError", "ServerError"}),
    "httpx": _TRANSPORT,
    "httpx2": _TRANSPORT,
}
# `rate_limit_exceeded`, `RESOURCE_EXHAUSTED`: a word of the provider's, not of the prompt
_WORD = re.compile(r"[A-Za-z][A-Za-z_.-]{0,47}")
_OURS = frozenset({"context", "hooks", "max_retries", "strict", "token_budget"})


class _Described(msgspec.Struct, array_like=True, frozen=True):
    sdk: str
    attempts: int = 0
    """Of instructor; 0: it had not wrapped the error."""
    code: str | None = None
    type: str | None = None
    usage: Stored | None = None


def described(error: BaseException, cause: BaseException) -> bytes:
    """What an error record says beside its words, so that it can be made again; b"": it cannot."""
    sdk = type(cause).__module__.partition(".")[0]
    if sdk not in _NAMES or _class(sdk, type(cause).__name__) is not type(cause):
        return b""
    wrapped = error if isinstance(error, InstructorRetryException) else None
    return msgspec.msgpack.encode(
        _Described(
            sdk,
            0 if wrapped is None else wrapped.n_attempts,
            _word(_said(cause, "code")),
            _word(_said(cause, "status" if sdk == "google" else "type")),
            None if wrapped is None else _packed(wrapped.total_usage),
        )
    )


def remade(record: ErrorRecord, asked: Mapping[str, Any]) -> BaseException | None:
    """The exception that the bare client would have raised; None: nobody can say which."""
    if not record.body:
        return None
    try:
        told = msgspec.msgpack.decode(record.body, type=_Described)
        cls = _class(told.sdk, record.class_name)
        if cls is None or (record.status is None and record.class_name not in _IN_MIDSTREAM):
            return None
        cause = _made(cls, told, record)
        return _wrapped(cause, told, asked) if told.attempts > 0 else cause
    except Exception:  # noqa: BLE001 - an SDK of another version may want anything; by name it is told
        return None


def _made(cls: type[Exception], told: _Described, record: ErrorRecord) -> Exception:
    headers = {} if record.retry_after is None else {"retry-after": _digits(record.retry_after)}
    module = _module(told.sdk)
    http: Any = getattr(module, "httpx", None) or getattr(module, "httpx2", None)
    make: Any = cls
    if record.class_name in _TRANSPORT:
        broken: Exception = make(record.message)
        return broken
    if told.sdk == "google":
        fault = {"code": record.status, "message": record.message, "status": told.type}
        response = http.Response(record.status, headers=headers) if http else None
        error: Exception = make(record.status, {"error": fault}, response)
        return error
    # nothing is sent to it: what was asked of whom is not told
    request = http.Request("POST", "https://another.process.invalid/")
    body: dict[str, Any] = {"message": record.message, "code": told.code, "type": told.type}
    if told.sdk == "anthropic":
        body = {"type": "error", "error": {"type": told.type, "message": record.message}}
    elif told.sdk == "groq":  # whose class takes the body as it came
        body = {"error": body}
    if record.status is None:
        event: Exception = make(record.message, request, body=body)
        return event
    response = http.Response(record.status, headers=headers, request=request)
    made: Exception = make(record.message, response=response, body=body)
    return made


def _wrapped(cause: Exception, told: _Described, asked: Mapping[str, Any]) -> BaseException:
    error = InstructorRetryException(
        str(cause),
        n_attempts=told.attempts,
        total_usage=_unpacked(told.usage),
        messages=asked.get("messages"),
        create_kwargs={name: value for name, value in asked.items() if name not in _OURS},
        failed_attempts=[FailedAttempt(told.attempts, cause, None)],
    )
    error.__cause__ = cause
    return error


def _digits(seconds: float) -> str:
    """Seconds as a header has them: no exponent, and no point where none is needed."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def _said(cause: BaseException, name: str) -> object:
    """A word of the provider's: where the SDK has it, or in the body of its reply."""
    value: object = getattr(cause, name, None)
    body: object = getattr(cause, "body", None)
    if value is not None or not isinstance(body, Mapping):
        return value
    inner: object = cast("Mapping[str, object]", body).get("error", cast("object", body))
    return cast("Mapping[str, object]", inner).get(name) if isinstance(inner, Mapping) else None


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None


def _packed(usage: Any) -> Stored | None:
    try:
        return None if usage is None else pack(usage)
    except Unstorable:
        return None


def _unpacked(usage: Stored | None) -> Any:
    try:
        return None if usage is None else unpack(usage)
    except SamecallError:
        return None


@cache
def _module(sdk: str) -> ModuleType | None:
    try:
        return importlib.import_module(_MODULES[sdk])
    except ImportError:
        return None


def _class(sdk: str, name: str) -> type[Exception] | None:
    if name not in _NAMES.get(sdk, ()):
        return None
    cls = getattr(_module(sdk), name, None)
    return cls if isinstance(cls, type) and issubclass(cls, Exception) else None
