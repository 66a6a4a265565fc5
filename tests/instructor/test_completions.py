"""A completion comes back as its provider's own object, or is not kept as one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import Message
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from samecall import Undecodable, Unstorable
from samecall.instructor._completions import Stored, pack, unpack

CHAT: dict[str, Any] = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}
    ],
}


def assert_same(copy: Any, value: Any) -> None:
    assert copy == value
    assert copy is not value
    assert type(copy) is type(value)
    assert copy.to_dict() == value.to_dict()


def test_what_a_provider_adds_is_kept() -> None:
    value = ChatCompletion.construct(**CHAT, added={"deep": [1, 2.5, None]})
    value._request_id = "req_1"
    copy = unpack(pack(value))
    assert_same(copy, value)
    assert copy.added == {"deep": [1, 2.5, None]}
    assert copy._request_id == "req_1"


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_what_no_type_of_the_sdk_foresees_is_kept() -> None:
    """Where validation refuses, it is made as the SDK makes it from a reply."""
    content = [{"type": "of_next_year", "x": 1}, {"type": "text", "text": "hi"}]
    value = Message.construct(
        id="m",
        type="message",
        role="assistant",
        model="m",
        content=content,
        stop_reason="a_new_reason",
        usage={"input_tokens": 1, "output_tokens": 2},
    )
    assert_same(unpack(pack(value)), value)


def test_a_dict_is_kept_if_json_can() -> None:
    assert unpack(pack({"output": {"message": ["ä", 1]}})) == {"output": {"message": ["ä", 1]}}
    for bad in ({1: 2}, {"a": (1,)}, {"a": float("nan")}, {"a": object()}):
        with pytest.raises(Unstorable):
            pack(bad)


@pytest.mark.parametrize("value", [object(), "text", None, ChatCompletion])
def test_other_classes_are_not_on_the_list(value: Any) -> None:
    with pytest.raises(Unstorable):
        pack(value)


def test_a_subclass_is_not_its_base() -> None:
    class ChatCompletion2(ChatCompletion):
        pass

    ChatCompletion2.__module__, ChatCompletion2.__qualname__ = (
        ChatCompletion.__module__,
        ChatCompletion.__qualname__,
    )
    with pytest.raises(Unstorable):
        pack(ChatCompletion2.construct(**CHAT))


def test_no_name_from_an_entry_is_imported() -> None:
    for tag in ("os.system", "openai.types.chat.chat_completion.ChatCompletion", ""):
        with pytest.raises(Undecodable, match="not on the list"):
            unpack(Stored(tag, "v", b"{}"))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*CHAT, "usage"]), inner),
)
TAGS = ["openai.chat", "json", "google.genai", "litellm.chat"]


@given(st.sampled_from(TAGS), st.binary() | ANYTHING.map(lambda it: json.dumps(it).encode()))
def test_any_bytes_are_an_answer_or_undecodable(tag: str, data: bytes) -> None:
    for way in "vcs?":
        try:
            unpack(Stored(tag, way, data))
        except Undecodable:
            continue


def test_what_litellm_drops_as_it_makes_an_object_is_put_back() -> None:
    """Its newest versions give a choice `logprobs` and a message `refusal` afterwards, of None."""
    types = pytest.importorskip("litellm.types.utils")
    value = types.ModelResponse(**CHAT)
    value.choices[0].logprobs = None
    value.choices[0].message.audio = None
    copy = unpack(pack(value))
    assert copy == value
    assert copy.model_dump(exclude_unset=True) == value.model_dump(exclude_unset=True)
    assert "audio" in copy.choices[0].message.__dict__
