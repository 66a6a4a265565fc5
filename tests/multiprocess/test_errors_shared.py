"""One provider call per error window, and the same typed error for everybody who waited.

Four spawned processes with 250 callers each, one real server, one provider;
`bench/shared_errors.py` is the same for longer.
"""

from __future__ import annotations

from collections import Counter

import pytest

from samecall.testing.provider import Answer, Status
from shared_errors import CALLERS, PROCESSES, fleet

SECRET = "sk-proj-Zm9vYmFyYmF6cXV4Zm9v"


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
        four.at_the_gate()
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
