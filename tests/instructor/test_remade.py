"""A provider's error in another process: the SDK's own class, or told by name."""

from __future__ import annotations

from typing import Any

import anthropic
import cerebras.cloud.sdk as cerebras
import groq
import httpx
import msgspec
import openai
import pytest
import writerai
from google.genai import errors as google
from instructor.core.exceptions import InstructorRetryException

from samecall._ports import ErrorRecord
from samecall.instructor._faults import told
from samecall.instructor._remade import remade

ASKED = {"messages": [{"role": "user", "content": "who"}], "model": "m", "max_retries": 2}


def response(status: int, retry_after: str = "7") -> httpx.Response:
    request = httpx.Request("POST", "https://provider.invalid", headers={"authorization": "sk-a"})
    return httpx.Response(status, headers={"retry-after": retry_after}, request=request)


def errors() -> list[Any]:
    many: list[Any] = [
        getattr(sdk, name)("no", response=response(status), body=body)
        for sdk, body in (
            (openai, {"message": "no", "code": "c", "type": "t"}),
            (cerebras, {"message": "no", "code": "c", "type": "t"}),
            (groq, {"error": {"message": "no", "code": "c", "type": "t"}}),
            (writerai, {"message": "no", "code": None, "type": "t"}),
            (anthropic, {"type": "error", "error": {"type": "api_error", "message": "no"}}),
        )
        for name, status in (
            ("BadRequestError", 400),
            ("NotFoundError", 404),
            ("ConflictError", 409),
            ("UnprocessableEntityError", 422),
            ("RateLimitError", 429),
            ("InternalServerError", 500),
        )
    ]
    many += [
        google.ClientError(429, {"error": {"message": "no", "status": "FULL"}}, response(429)),
        google.ServerError(503, {"error": {"message": "no", "status": "DOWN"}}, response(503)),
    ]
    return many


@pytest.mark.parametrize(
    "error", errors(), ids=lambda e: f"{type(e).__module__}.{type(e).__name__}"
)
def test_the_providers_own_exception(error: Any) -> None:
    """Class, status, message, Retry-After and the provider's word; nothing of the request."""
    copy: Any = remade(told(error, ASKED), ASKED)
    assert type(copy) is type(error)
    assert copy is not error
    for name in ("status_code", "code", "status", "type"):
        assert getattr(copy, name, None) == getattr(error, name, None)
    assert copy.message == "no"
    assert getattr(copy, "body", None) == getattr(error, "body", None)
    assert copy.response.headers["retry-after"] == "7"
    if hasattr(copy.response, "_request") and copy.response._request is not None:
        assert "authorization" not in copy.response.request.headers


def test_wrapped_as_the_leaders_was() -> None:
    """With its attempts, and the caller's own question."""
    cause = openai.RateLimitError("no", response=response(429), body=None)
    error = InstructorRetryException(
        "no", n_attempts=3, total_usage=None, messages=[], create_kwargs={}
    )
    error.__cause__ = cause
    copy = remade(told(error, ASKED), ASKED)
    assert isinstance(copy, InstructorRetryException)
    assert isinstance(copy.__cause__, openai.RateLimitError)
    assert (copy.n_attempts, copy.messages) == (3, ASKED["messages"])
    assert copy.create_kwargs == {"messages": ASKED["messages"], "model": "m"}
    assert "no" in str(copy)


@pytest.mark.parametrize(
    ("sdk", "name"),
    [
        ("openai", "AuthenticationError"),
        ("openai", "OpenAIError"),
        ("openai", "cast"),
        ("anthropic", "PermissionDeniedError"),
        ("google", "UnknownApiResponseError"),
        ("os", "system"),
        ("", ""),
    ],
)
def test_what_is_not_on_the_list_is_told_by_name(sdk: str, name: str) -> None:
    """No name that stands in a record is looked up, whatever it says."""
    body = msgspec.msgpack.encode([sdk, 1])
    assert remade(ErrorRecord(name, "no", 429, None, body), ASKED) is None


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x91\xa6openai", b"\x92\xa6openai\xa1x"])
@pytest.mark.parametrize("status", [None, -5, 429])
def test_any_record_is_an_error_or_told_by_name(body: bytes, status: int | None) -> None:
    copy = remade(ErrorRecord("RateLimitError", "no", status, None, body), ASKED)
    assert copy is None or isinstance(copy, openai.RateLimitError)


def test_a_long_retry_after_has_the_form_of_a_header() -> None:
    """Digits, which `int` takes."""
    error = openai.RateLimitError("no", response=response(429, "2000000.5"), body=None)
    copy: Any = remade(told(error, ASKED), ASKED)
    assert copy.response.headers["retry-after"] == "2000000.5"


def test_a_refused_login_is_never_described() -> None:
    """401 and 403 stay where they are, and cannot be made."""
    for cls, status in ((openai.AuthenticationError, 401), (openai.PermissionDeniedError, 403)):
        error = cls("wrong key sk-abcdefgh", response=response(status), body=None)
        record = told(error, ASKED)
        assert record.body == b""
        assert "sk-abcdefgh" not in record.message
        assert remade(record, ASKED) is None
