"""What a call asks is what its caller said when it began: the same classes, in the same order."""

from __future__ import annotations

import asyncio
import copy
from collections import OrderedDict
from typing import Any

import openai
import pytest

import instructor
from samecall import Cache
from samecall._key import plain_form_and_kind
from samecall.instructor import cached
from samecall.instructor._question import Frozen, frozen

PLAIN: dict[str, Any] = {
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Zürich"}]}],
    "hooks": object(),
    "temperature": 0.5,
    "seed": -(2**63),
    "stop": ["a", None, True, b"\x00"],
    "context": {"by": {"reference"}},
    "tools": [{"zebra": 1, "ape": {}}],
}
ODD: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": ("a", "b")}]},
    {"messages": [], "extra_headers": OrderedDict(x="1")},
    {"messages": [], "extra_body": OrderedDict()},
    {"messages": [{"role": "user", "content": "x" * 10_000}]},
]


def kinds(value: Any) -> Any:
    """The classes of all that is in it, in order."""
    if isinstance(value, dict):
        return type(value), [(name, kinds(item)) for name, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [kinds(item) for item in value]
    return type(value)


def test_plain_arguments_come_back_as_they_were() -> None:
    """Whatever has become of the caller's since; what is told by reference stays that."""
    asked = {**copy.deepcopy(PLAIN), "hooks": PLAIN["hooks"], "context": PLAIN["context"]}
    kept = frozen(asked, 200, lists=True)
    assert isinstance(kept, Frozen)
    asked["messages"][0]["content"][0]["text"] = "changed"
    asked["messages"].append("more")
    asked["tools"][0]["more"] = 1
    thawed = kept.thawed()
    assert thawed == PLAIN
    assert kinds(thawed) == kinds(PLAIN)
    assert thawed["hooks"] is PLAIN["hooks"]
    assert thawed["context"] is PLAIN["context"]
    assert thawed["messages"] is not asked["messages"]


def test_a_tuple_is_told_from_a_list() -> None:
    """Their forms are one."""
    (form, lists), (other, no) = plain_form_and_kind([["a"]]), plain_form_and_kind([("a",)])
    assert form == other is not None
    assert (lists, no) == (True, False)


@pytest.mark.parametrize("more", [PLAIN, *ODD])
async def test_a_call_is_made_with_what_was_asked(more: dict[str, Any]) -> None:
    """Over all the way that the arguments of a call take."""
    sdk = openai.AsyncOpenAI(api_key="k", base_url="http://127.0.0.1:9/v1")
    asked: list[dict[str, Any]] = []

    async def create(**told: Any) -> dict[str, Any]:
        asked.append(told)
        return {"answer": 1}

    async with Cache() as cache:
        calls = cached(instructor.from_openai(sdk, model="m"), cache)._samecall_calls  # type: ignore[attr-defined]
        calls.create = create
        own = copy.copy(more)
        own.pop("hooks", None)
        asking = asyncio.ensure_future(calls.answer({**own, "model": "m"}))
        await asking
        [told] = asked
        assert told.pop("response_model") is None
        assert told == {**own, "model": "m"}
        assert kinds(told) == kinds({**own, "model": "m"})
        assert told["messages"] is not own["messages"]
    await sdk.close()
