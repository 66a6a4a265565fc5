"""What a debugger, a log or a traceback with locals shows of an answer is not the answer."""

from __future__ import annotations

import pytest
from rich.pretty import pretty_repr

from samecall import Policy
from samecall._entry import Entry, Kind, Payload, new_stamp
from samecall._key import key_from
from samecall._outcome import Crashed, Found, Request, Unstored, ended
from samecall._replies import Failed, Hit
from samecall.testing import GatedProvider

SECRET = "planted-answer-9d2"
DATA = SECRET.encode()
ENTRY = Entry(Kind.VALUE, Payload("json", DATA), new_stamp(), 60.0, 120.0)
REQUEST = Request(
    key_from("k", "n"), GatedProvider(), Policy(), None, asked={"messages": [SECRET]}, entry=ENTRY
)  # type: ignore[arg-type]
CRASHED = Crashed(ValueError(), ValueError(), ended(ValueError()).failure, REQUEST)


@pytest.mark.parametrize("how", [repr, str, pretty_repr])
@pytest.mark.parametrize(
    "one",
    [
        Hit(DATA, 1.0),
        Failed(DATA, 1.0),
        ENTRY,
        REQUEST,
        Found(ENTRY, "l1", REQUEST, SECRET),
        Unstored(SECRET, REQUEST),
        CRASHED,
    ],
    ids=lambda one: type(one).__name__,
)
def test_no_answer_is_shown(one: object, how: object) -> None:
    assert callable(how)
    assert type(one).__name__ in how(one)
    assert SECRET not in how(one)
