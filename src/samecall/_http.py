"""What the exception of a client tells of the reply that it stands for: HTTP status, Retry-After.

There is no common form: SDKs keep the reply, or only its headers, under several names, botocore in
a dict, gRPC has codes of its own, and Fireworks has nothing but its classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

__all__ = ["retry_after_of", "status_of"]

_LONGEST = 366 * 86_400.0
_HEADERS = ("headers", "litellm_response_headers")
# what a server says by itself; the others also stand for a line that broke
_GRPC = {
    "FAILED_PRECONDITION": 400,
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "UNAUTHENTICATED": 401,
}
_FIREWORKS = {
    "AuthenticationError": 401,
    "BadGatewayError": 502,
    "InternalServerError": 500,
    "InvalidRequestError": 400,
    "PermissionError": 403,
    "RateLimitError": 429,
    "ServiceUnavailableError": 503,
}


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an SDK's exception carries, if it carries one."""
    response = _attribute(error, "response")
    for source in (error, response):
        for name in ("status_code", "status", "code"):
            if (status := _status(_attribute(source, name))) is not None:
                return status
    if (status := _status(_metadata(response).get("HTTPStatusCode"))) is not None:
        return status
    if type(error).__module__.startswith("fireworks."):
        return _FIREWORKS.get(type(error).__name__)
    return _GRPC.get(_grpc_code(error))


def _attribute(source: object, name: str) -> Any:
    try:
        return getattr(source, name, None)
    except Exception:  # noqa: BLE001 - somebody's property or __getattr__: it tells nothing
        return None


def _status(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 100 <= value < 600:
        return int(value)
    return None


def _grpc_code(error: BaseException) -> str:
    code: Callable[[], Any] | None = _attribute(error, "code")
    if not callable(code) or "grpc" not in type(error).__module__:
        return ""
    return str(_attribute(code(), "name"))


def retry_after_of(error: BaseException) -> float | None:
    """Seconds of a Retry-After header (RFC 9110 section 10.2.3: seconds or a date), if any.

    Or what stands for one: `retry-after-ms` of OpenAI and Azure, `RetryInfo` in a reply of Google.
    """
    for headers in _all_headers(error):
        milliseconds = _number(_get(headers, "retry-after-ms"))
        if milliseconds is not None:
            return milliseconds / 1000
        value = _get(headers, "retry-after")
        told = _number(value)
        if told is None:
            told = _until(value)
        if told is not None:
            return told
    return _google_delay(_attribute(error, "details"))


def _all_headers(error: BaseException) -> Iterator[Any]:
    response = _attribute(error, "response")
    yield _attribute(response, "headers")
    yield _metadata(response).get("HTTPHeaders")
    for name in _HEADERS:
        yield _attribute(error, name)


def _metadata(response: object) -> Mapping[str, Any]:
    """What botocore tells of a reply."""
    return _mapping(_mapping(response).get("ResponseMetadata"))


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _get(headers: Any, name: str) -> object:
    if not hasattr(headers, "get"):
        return None
    value = headers.get(name)
    # a plain dict knows no case
    return headers.get(name.title()) if value is None else value


def _number(value: object) -> float | None:
    """Seconds of 0 or more, and no more than a year."""
    try:
        number = float(value) if isinstance(value, (str, int, float)) else math.nan
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else min(max(0.0, number), _LONGEST)


def _until(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return _number((when - datetime.now(UTC)).total_seconds()) if when.tzinfo else None


def _google_delay(details: object) -> float | None:
    """Of a `google.rpc.RetryInfo`, which Gemini sends instead of a header."""
    told = _mapping(_mapping(details).get("error")).get("details")
    for one in cast("list[object]", told) if isinstance(told, list) else ():
        delay = _mapping(one).get("retryDelay")
        if isinstance(delay, str) and delay.endswith("s"):
            return _number(delay[:-1])
    return None
