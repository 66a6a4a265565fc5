"""One provider call per error window, and the same typed error for everybody who waited.

Four spawned processes with 250 callers each, one real server, one provider.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from instructor.core.exceptions import InstructorRetryException
from pydantic import BaseModel, field_validator

import instructor
from redis import Redis
from samecall import Cache, Policy
from samecall.instructor import cached
from samecall.testing.crew import Crew, Line
from samecall.testing.provider import Answer, Status, StubProvider
from samecall.testing.servers import LocalServer

PROCESSES, CALLERS = 4, 250
SECRET = "sk-proj-Zm9vYmFyYmF6cXV4Zm9v"
LIMITS = {"strict": 0}  # of this process


class Adult(BaseModel):
    """One schema, and a validator that is stricter in one process than in another."""

    age: int

    @field_validator("age")
    @classmethod
    def old_enough(cls, age: int) -> int:
        if age < LIMITS["strict"]:
            raise ValueError("too young")
        return age


def told(outcome: Any) -> str:
    """An outcome in words that two processes share."""
    if isinstance(outcome, Adult):
        return f"age {outcome.age}"
    names = [type(outcome).__name__]
    cause = outcome.__cause__ if isinstance(outcome, InstructorRetryException) else None
    if isinstance(cause, openai.APIStatusError):
        names += [f"{type(cause).__module__}.{type(cause).__name__}", str(cause.status_code)]
        names += [cause.response.headers.get("retry-after", "-"), str(cause.code)]
    return " ".join(names)


async def ask(line: Line, setup: dict[str, Any]) -> None:
    """Ask from many callers at once, whenever told to."""
    LIMITS["strict"] = setup["strict"]
    policy = Policy(error_ttl=60, op_timeout=10, share_errors=setup["share_errors"])
    async with (
        openai.AsyncOpenAI(api_key="k", base_url=setup["provider"], max_retries=0) as sdk,
        Cache(setup["redis"], policy=policy) as cache,
    ):
        client = cached(instructor.from_openai(sdk, model="m"), cache)
        line.tell(["ready", None])
        while True:
            await line.hear()
            asked: dict[str, Any] = {"messages": [{"role": "user", "content": "how old?"}]}
            calls = [
                asyncio.ensure_future(client.create(response_model=Adult, max_retries=0, **asked))
                for _ in range(setup["callers"])
            ]
            while cache.statistics().callers_waiting < len(calls) and not calls[0].done():
                await asyncio.sleep(0)
            line.tell(["waiting", None])
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            own = len({id(outcome) for outcome in outcomes}) == len(calls)
            line.tell(["outcomes", [Counter(map(told, outcomes)), own]])


class Fleet:
    """Processes, a provider with a gate, a server."""

    def __init__(self, crew: Crew, provider: Any, server: LocalServer) -> None:
        self.crew, self.provider, self.server = crew, provider, server

    def ask(self, index: int | None = None) -> None:
        self.crew.tell("ask", index)

    def all_wait(self) -> None:
        """All callers wait, and the leader's call is at the gate."""
        self.crew.gather("waiting", 60)
        end = time.monotonic() + 30
        while not self.provider.counts().waiting:
            assert time.monotonic() < end

    def outcomes(self) -> Counter[str]:
        """How many callers got what; each one an object of its own."""
        total: Counter[str] = Counter()
        for counted, own in self.crew.gather("outcomes", 60):
            assert own
            total.update(counted)
        return total

    def stored(self) -> dict[bytes, Any]:
        """Every string in Redis."""
        with Redis.from_url(self.server.url) as raw:
            return {key: raw.get(key) for key in raw.keys("*")}  # type: ignore[union-attr]


@contextmanager
def fleet(
    *, callers: int = CALLERS, share_errors: bool = True, strict: tuple[int, ...] = (0, 0, 0, 0)
) -> Iterator[Fleet]:
    with LocalServer() as server, StubProvider.in_process() as provider:
        common = {
            "redis": server.url,
            "provider": provider.openai_url,
            "callers": callers,
            "share_errors": share_errors,
        }
        with Crew(ask, [{**common, "strict": limit} for limit in strict]) as crew:
            crew.gather("ready", 60)
            yield Fleet(crew, provider, server)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (
            Status(429, retry_after=7, message=f"slow down, {SECRET}"),
            "InstructorRetryException openai.RateLimitError 429 7",
        ),
        (Status(500), "InstructorRetryException openai.InternalServerError 500 -"),
    ],
    ids=["429", "500"],
)
def test_a_thousand_waiters_have_one_error_of_one_call(status: Status, expected: str) -> None:
    """The provider's own exception, as the bare client wraps it; also for who asks later."""
    with fleet() as four:
        four.provider.script(None, status)
        four.provider.hold()
        four.ask()
        four.all_wait()
        four.provider.release()
        (got,) = four.outcomes().items()
        assert got[0].startswith(expected)
        assert got[1] == PROCESSES * CALLERS
        four.ask()
        assert four.outcomes() == Counter({got[0]: PROCESSES * CALLERS})
        assert four.provider.calls == 1
        held = four.stored()
        assert any(b":e:" in key for key in held)
        assert not any(SECRET.encode() in value for value in held.values())


def test_a_refused_completion_is_read_by_a_thousand_and_paid_once() -> None:
    """The leader's process refuses it, three others take it; nobody leads in turn."""
    with fleet(strict=(30, 0, 0, 0)) as four:
        four.provider.script(None, Answer({"age": 20}))
        four.provider.hold()
        four.ask(0)
        while not four.provider.counts().waiting:
            pass
        for index in (1, 2, 3):
            four.ask(index)
        four.all_wait()
        four.provider.release()
        expected = {"InstructorRetryException": CALLERS, "age 20": 3 * CALLERS}
        assert four.outcomes() == expected
        four.ask()
        assert four.outcomes() == expected
        assert four.provider.calls == 1


def test_a_refused_login_stays_in_its_process() -> None:
    """Each process meets its own 401 once, and nothing of it is in Redis."""
    with fleet() as four:
        four.provider.script(None, *[Status(401, message=f"wrong key {SECRET}")] * PROCESSES)
        four.provider.hold()
        four.ask()
        four.all_wait()
        four.provider.release()
        (got,) = four.outcomes().items()
        assert got[0].startswith("InstructorRetryException openai.AuthenticationError 401")
        assert got[1] == PROCESSES * CALLERS
        assert four.provider.calls == PROCESSES
        assert not any(b":e:" in key for key in four.stored())


def test_errors_that_are_not_shared() -> None:
    """With `share_errors=False` every caller meets its own."""
    with fleet(callers=3, share_errors=False) as four:
        four.provider.script(None, *[Status(500)] * (3 * PROCESSES))
        four.ask()
        (got,) = four.outcomes().items()
        assert got[1] == four.provider.calls == 3 * PROCESSES
        assert not any(b":e:" in key for key in four.stored())
