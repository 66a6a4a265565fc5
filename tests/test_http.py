"""What an exception tells of the provider's reply: Retry-After in every form, codes of gRPC."""

from __future__ import annotations

import enum
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest

from samecall._http import retry_after_of, status_of

YEAR = 366 * 86_400.0


def refused(**headers: str) -> Any:
    error: Any = ValueError("no")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    error.response = SimpleNamespace(status_code=429, headers=named)
    return error


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7.5 ", 7.5),
        ("0", 0.0),
        ("-3", 0.0),
        ("9" * 400, YEAR),
        ("inf", YEAR),
        ("nan", None),
        ("", None),
        ("5s", None),
        ("soon", None),
        ("x" * 100_000, None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", YEAR),
        ("Fri, 99 Dec 9999 23:59:59 GMT", None),
        ("Wed, 21 Oct 2099 07:28:00", None),
    ],
)
def test_every_form_of_retry_after(value: str, seconds: float | None) -> None:
    """Seconds, a date, or nothing that could be meant; never more than a year."""
    assert retry_after_of(refused(retry_after=value)) == seconds


def test_a_date() -> None:
    """As many seconds as are left until then."""
    when = datetime.now(UTC) + timedelta(hours=1)
    left = retry_after_of(refused(retry_after=format_datetime(when, usegmt=True)))
    assert left is not None
    assert 3_000 < left <= 3_600


class Code(enum.Enum):
    RESOURCE_EXHAUSTED = 8
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


@pytest.mark.parametrize(
    ("code", "status"),
    [(Code.RESOURCE_EXHAUSTED, 429), (Code.UNAUTHENTICATED, 401), (Code.UNAVAILABLE, None)],
)
def test_codes_of_grpc(code: Code, status: int | None) -> None:
    """Those that a server gives; one that also says "no connection" is no status."""
    kind = type("AioRpcError", (Exception,), {"code": lambda _: code, "__module__": "grpc.aio"})
    assert status_of(kind("no")) == status


def test_what_is_nothing_of_the_kind() -> None:
    """Attributes of these names may hold anything."""
    error: Any = ValueError("no")
    error.response = SimpleNamespace(headers=3, status_code="429")
    error.code, error.headers, error.details = True, ["retry-after"], {"error": {"details": 7}}
    assert (status_of(error), retry_after_of(error)) == (None, None)
