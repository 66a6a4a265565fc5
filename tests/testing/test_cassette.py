"""Recorded calls: offline, everywhere the same, and told apart by path where they differ."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

import instructor
from samecall import CacheMiss, Cassette, ConfigurationError, Policy
from samecall._cassette.tape import add_to_tape
from samecall._ports import Payload
from samecall._stream.codec import PlainStreamCodec
from samecall.instructor import cached
from samecall.testing import StubProvider

TEXT = "Who wrote the first program?"
OFFLINE = "http://127.0.0.1:9/v1"


class Person(BaseModel):
    name: str


COMPLETION = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "hello"},
        }
    ],
}


class Other(BaseModel):
    name: str
    age: int


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "calls.jsonl"


_opened: list[AsyncOpenAI] = []


@pytest.fixture(autouse=True)
async def _closed() -> AsyncIterator[None]:
    """A client that is left open ends in whatever test comes later."""
    yield
    while _opened:
        await _opened.pop().close()


def client(cassette: Cassette, url: str, key: str = "sk-secret-0123456789") -> Any:
    _opened.append(AsyncOpenAI(base_url=url, api_key=key))
    return cached(instructor.from_openai(_opened[-1]), cassette)


async def ask(on: Any, text: str = TEXT, **more: Any) -> Any:
    asked = {"model": "gpt-4o", "response_model": Person, "temperature": 0.0, **more}
    return await on.create(messages=[{"role": "user", "content": text}], **asked)


@pytest.fixture
async def recorded(path: Path) -> Any:
    """One call, recorded; its answer."""
    with StubProvider.in_thread() as stub:
        async with Cassette(path, mode="record") as cassette:
            answer = await ask(client(cassette, stub.openai_url))
        assert stub.calls == 1
    return answer


# --- replay ---------------------------------------------------------------------------------------


async def test_an_application_replays_on_any_machine(path: Path, recorded: Any) -> None:
    """Another endpoint, another key, no network: the same answer, and its completion too."""
    before = path.read_bytes()
    async with Cassette(path) as cassette:
        other = client(cassette, OFFLINE, "dummy")
        assert await ask(other) == recorded
        asked = {"model": "gpt-4o", "response_model": Person, "temperature": 0.0}
        messages = [{"role": "user", "content": TEXT}]
        answer, raw = await other.create_with_completion(messages=messages, **asked)
        assert (answer, type(raw).__name__) == (recorded, "ChatCompletion")
        assert cassette.statistics().provider_calls == 0
    assert path.read_bytes() == before


async def test_nothing_is_drawn_and_nothing_grows_old(path: Path, recorded: Any) -> None:
    """An application's own policy changes nothing: of several answers one is recorded."""
    async with Cassette(path, policy=Policy(variants=5, max_age=0)) as cassette:
        for _ in range(20):
            assert await ask(client(cassette, OFFLINE)) == recorded


async def test_streams_are_recorded_and_replayed(path: Path) -> None:
    """Parts, lists and raw events, offline; and each answers a call that does not stream."""
    asked = {"messages": [{"role": "user", "content": TEXT}], "model": "gpt-4o"}

    async def ask_all(on: Any) -> list[Any]:
        raw = await on.create(response_model=None, stream=True, **asked)
        return [
            [item async for item in on.create_partial(response_model=Person, **asked)],
            [item async for item in on.create_iterable(response_model=Person, **asked)],
            [event async for event in raw],
        ]

    with StubProvider.in_thread() as stub:
        async with Cassette(path, mode="record") as cassette:
            first = await ask_all(client(cassette, stub.openai_url))
        assert stub.calls == 3
    async with Cassette(path) as cassette:
        other = client(cassette, OFFLINE, "dummy")
        assert await ask_all(other) == first
        assert (await other.create(response_model=Person, **asked)).name == first[0][-1].name
        with pytest.raises(CacheMiss, match=r"messages\[0\].content") as missed:
            await ask_all(_Other(other))
        assert "unknown" not in str(missed.value)
        assert cassette.statistics().provider_calls == 0


class _Other:
    """A client that asks something else."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def create(self, **asked: Any) -> Any:
        return self._client.create(
            **{**asked, "messages": [{"role": "user", "content": "unknown"}]}
        )


@pytest.mark.parametrize(
    "logins",
    [
        {"extra_headers": {"Authorization": "Bearer planted"}},
        {"extra_headers": {"Cookie": "session=planted"}},
        {"extra_query": {"key": "planted"}},
        {"extra_body": {"api_key": "planted"}},
        {"api_key": "planted", "api_base": "https://planted", "vertex_credentials": "{planted}"},
    ],
    ids=["header", "cookie", "query", "body", "argument"],
)
async def test_logins_in_a_call_do_not_separate(
    path: Path, recorded: Any, logins: dict[str, Any]
) -> None:
    """Nor do they stand in the file, beside what does separate."""
    async with Cassette(path) as cassette:
        assert await ask(client(cassette, OFFLINE), **logins) == recorded

    async def create(**_: Any) -> Any:
        return ChatCompletion.model_validate(COMPLETION)

    more = {"metadata": "it counts"}
    for name, held in logins.items():
        more |= {name: {**held, "x-other": "too"}} if isinstance(held, dict) else {name: held}
    async with Cassette(path, mode="record") as cassette:
        litellm = cached(instructor.from_litellm(create), cassette)
        messages = [{"role": "user", "content": TEXT}]
        await litellm.create(model="m", response_model=None, messages=messages, **more)
    assert "planted" not in path.read_text()
    assert "it counts" in path.read_text()


@pytest.mark.parametrize("mode", ["use", "refresh", "bypass", "only"])
async def test_nothing_calls_a_provider(path: Path, recorded: Any, mode: str) -> None:
    """Whatever `cache_mode` says."""
    with StubProvider.in_thread() as stub:
        async with Cassette(path) as cassette:
            on = client(cassette, stub.openai_url)
            assert await ask(on, cache_mode=mode) == recorded
            with pytest.raises(CacheMiss):
                await ask(on, "another", cache_mode=mode)
        assert stub.calls == 0


async def test_what_cannot_be_recorded_is_not_called_either(path: Path, recorded: Any) -> None:
    with StubProvider.in_thread() as stub:
        async with Cassette(path) as cassette:
            with pytest.raises(CacheMiss, match="temperature"):
                await ask(client(cassette, stub.openai_url), temperature=object())
        assert stub.calls == 0


# --- what differs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "path_told"),
    [
        ({"temperature": 1.0}, "temperature"),
        ({"temperature": 0}, "temperature"),
        ({"text": "A secret question"}, "messages[0].content"),
        ({"model": "gpt-5"}, "model"),
        ({"response_model": Other}, "response_model"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"cache_vary": "tenant"}, "cache_vary"),
        ({"cache_namespace": "elsewhere"}, "cache_namespace"),
    ],
)
async def test_a_miss_names_the_path_that_differs(
    path: Path, recorded: Any, change: dict[str, Any], path_told: str
) -> None:
    """Of the nearest recorded call, and never a word of either text."""
    async with Cassette(path) as cassette:
        with pytest.raises(CacheMiss) as miss:
            await ask(client(cassette, OFFLINE), **change)
    assert str(miss.value).endswith(f"differs in {path_told}")
    assert "secret" not in str(miss.value)
    assert "program" not in str(miss.value)


async def test_the_key_of_a_dict_is_told_where_it_is_a_name(path: Path) -> None:
    """Others are somebody's words; and two of them are still two."""
    with StubProvider.in_thread() as stub:
        async with Cassette(path, mode="record") as cassette:
            await ask(client(cassette, stub.openai_url), context={"Jane Roe": 1, "tenant": 2})
    async with Cassette(path) as cassette:
        on = client(cassette, OFFLINE)
        for context, told in (
            ({"John Doe": 1, "tenant": 2}, r"context\[<str>\]$"),
            ({"Jane Roe": 1, "tenant": 3}, r"context\.tenant$"),
            ({"Jane Roe": 1, "tenant": 2, "John Doe": object()}, r": context\[<str>\]: a value of"),
        ):
            with pytest.raises(CacheMiss, match=told) as miss:
                await ask(on, context=context)
            assert "Doe" not in str(miss.value)
            assert "Roe" not in str(miss.value)


async def test_a_memoized_function_is_named_too(path: Path) -> None:
    """The argument that differs; of one that is called a login nothing is written down."""

    def memoized(cassette: Cassette) -> Any:
        @cassette.memoize(ignore=["trace"])
        async def find(text: str, options: Any = None, *, api_key: str = "", trace: int = 0) -> str:
            return text

        @cassette.memoize
        async def spell(text: str) -> AsyncIterator[str]:
            for letter in text:
                yield letter

        @cassette.memoize(key=lambda text, trace: [text.lower()])
        async def other(text: str, trace: int) -> str:
            return text

        return find, spell, other

    async with Cassette(path, mode="record") as cassette:
        find, spell, other = memoized(cassette)
        await find("secret", {"most": [1, 2]}, api_key="sk-very-long-1", trace=1)
        assert [letter async for letter in spell("ab")] == ["a", "b"]
        await other("A", 1)
    assert "sk-very-long" not in path.read_text()
    async with Cassette(path) as cassette:
        find, spell, other = memoized(cassette)
        assert await find("secret", {"most": [1, 2]}, api_key="sk-very-long-1", trace=2) == "secret"
        for call, told in (
            (find("another", {"most": [1, 2]}, api_key="sk-very-long-1"), r"in arguments\.text$"),
            (find("secret", {"most": [1, 3]}, api_key="sk-very-long-1"), r"options\.most\[1\]$"),
            (find("secret", {"most": [1, 2]}, api_key="sk-very-long-2"), r"in arguments\.api_key$"),
            (anext(spell("abc")), r"differs in arguments\.text$"),
            (other("B", 1), r"differs in key\[0\]$"),
        ):
            with pytest.raises(CacheMiss, match=told):
                await call


async def test_the_nearest_of_several(path: Path) -> None:
    with StubProvider.in_thread() as stub:
        async with Cassette(path, mode="record") as cassette:
            on = client(cassette, stub.openai_url)
            await ask(on, "one", temperature=0.5, max_tokens=10)
            await ask(on, "two")
    async with Cassette(path) as cassette:
        with pytest.raises(CacheMiss, match=r"differs in messages\[0\]\.content$"):
            await ask(client(cassette, OFFLINE), "one")
        with pytest.raises(CacheMiss, match=r"differs in max_tokens$"):
            await ask(client(cassette, OFFLINE), "one", temperature=0.5, max_tokens=11)


async def test_a_bare_key_is_named_too(path: Path) -> None:
    async def pay() -> str:
        return "paid"

    async with Cassette(path, mode="record") as cassette:
        await cassette.get_or_call("k", pay)
    async with Cassette(path) as cassette:
        assert await cassette.get_or_call("k", pay) == "paid"
        with pytest.raises(CacheMiss, match="differs in key"):
            await cassette.get_or_call("other", pay)


# --- recording ------------------------------------------------------------------------------------


async def test_record_adds_what_is_missing(path: Path, recorded: Any) -> None:
    """What is there is answered from there; the file is the same whoever was first."""
    with StubProvider.in_thread() as stub:
        async with Cassette(path, mode="record") as cassette:
            on = client(cassette, stub.openai_url)
            assert await ask(on) == recorded
            assert stub.calls == 0
            await ask(on, "another")
            assert stub.calls == 1
    lines = path.read_text().splitlines()
    assert len(lines) == 3
    assert lines[1:] == sorted(lines[1:])


async def test_rewrite_replaces(path: Path, recorded: Any) -> None:
    """Everything is called anew, once; what is asked no more is gone."""
    with StubProvider.in_thread() as stub:
        async with Cassette(path, mode="rewrite") as cassette:
            on = client(cassette, stub.openai_url)
            for _ in range(3):
                await ask(on, "another")
        assert stub.calls == 1
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("mode", ["record", "rewrite"])
async def test_what_an_application_forgets_is_recorded_all_the_same(path: Path, mode: Any) -> None:
    """The tape stands for the provider: recorded once, it answers after each forgetting."""
    made = 0

    async def pay() -> str:
        nonlocal made
        made += 1
        return f"answer {made}"

    async def application(cassette: Cassette) -> list[Any]:
        async def ask_it(**more: Any) -> str:
            return await cassette.get_or_call("k", pay, tags=("invoice",), **more)

        seen: list[Any] = [await ask_it()]
        for way in (cassette.forget("k"), cassette.forget_tag("invoice"), cassette.clear()):
            await way
            seen += [await cassette.peek("k"), await ask_it(), await cassette.peek("k")]
        return [*seen, await ask_it(mode="refresh"), await ask_it(mode="bypass")]

    runs = []
    for how in (mode, "record", "replay"):
        async with Cassette(path, mode=how) as cassette:
            runs.append(await application(cassette))
    assert made == 1
    gone = [None, "answer 1", "answer 1"]
    assert runs == [["answer 1", *gone, *gone, *gone, "answer 1", "answer 1"]] * 3


@pytest.mark.parametrize("mode", ["use", "refresh", "bypass"])
async def test_what_an_application_would_not_keep_is_recorded(path: Path, mode: Any) -> None:
    """Whatever its policy: what is not on the tape cannot be replayed."""

    async def refuse() -> str:
        return "I cannot help"

    policy = Policy(
        should_store=lambda _, __: False, lifetime=lambda _: 0, max_entry=1, ttl=0.001, variants=3
    )
    for how in ("record", "replay"):
        async with Cassette(path, mode=how, policy=policy) as cassette:
            for _ in range(2):
                assert await cassette.get_or_call("k", refuse, mode=mode) == "I cannot help"
            assert cassette.statistics().provider_calls == (how == "record")


class _Held(PlainStreamCodec):
    """Packs, in its thread, when it is let."""

    def __init__(self) -> None:
        self.let = threading.Event()

    def pack(self, chunks: Sequence[bytes], times: Sequence[float]) -> Payload:
        self.let.wait(20)
        return super().pack(chunks, times)

    def let_after(self, turns: int) -> None:
        """Let it, in so many turns of the running loop: if it is ended by then, it was not let."""
        if turns:
            asyncio.get_running_loop().call_soon(self.let_after, turns - 1)
        else:
            self.let.set()


def test_what_was_answered_is_recorded_though_the_loop_ends_at_once(path: Path) -> None:
    """As in a test whose loop is its own, and whose fixture saves when that is over."""
    codec = _Held()

    async def items() -> AsyncIterator[int]:
        for number in range(2_000):  # so many that they are packed in a thread
            yield number
        codec.let_after(100)

    async def pay() -> str:
        return "paid"

    async def stream() -> AsyncIterator[int]:
        return items()

    async def test(cassette: Cassette) -> None:
        assert await cassette.get_or_call("a", pay) == "paid"
        assert len([item async for item in cassette.stream("b", stream, codec=codec)]) == 2_000

    for mode in ("record", "replay"):
        cassette = Cassette(path, mode=mode)  # type: ignore[arg-type]
        try:
            asyncio.run(test(cassette))
        finally:
            codec.let.set()
        cassette.save()
        assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize("on_abandon", ["finish", "abandon"])
def test_a_stream_that_its_consumer_leaves_is_recorded_to_its_end(
    path: Path, on_abandon: Any
) -> None:
    """Or its test would find nothing to replay, whose loop ends right after."""
    began = 0

    async def items() -> AsyncIterator[int]:
        nonlocal began
        began += 1
        for number in range(5):
            yield number
            await asyncio.sleep(0)

    async def stream() -> AsyncIterator[int]:
        return items()

    async def test(cassette: Cassette) -> None:
        taken = cassette.stream("a", stream)
        assert await anext(taken) == 0
        await taken.aclose()

    for mode in ("record", "replay"):
        cassette = Cassette(path, mode=mode, policy=Policy(on_abandon=on_abandon))  # type: ignore[arg-type]
        asyncio.run(test(cassette))
        cassette.save()
        assert len(path.read_text().splitlines()) == 2
    assert began == 1


def test_a_client_whose_stream_is_left_is_recorded_to_its_end(path: Path) -> None:
    async def test(cassette: Cassette, url: str) -> None:
        async with AsyncOpenAI(base_url=url, api_key="key") as sdk:
            on = cached(instructor.from_openai(sdk, model="m"), cassette)
            messages: Any = [{"role": "user", "content": TEXT}]
            parts = on.create_partial(response_model=Person, messages=messages)
            await anext(parts)
            await parts.aclose()

    with StubProvider.in_thread() as stub:
        for mode in ("record", "replay"):
            cassette = Cassette(path, mode=mode)  # type: ignore[arg-type]
            asyncio.run(test(cassette, stub.openai_url))
            cassette.save()
        assert stub.calls == 1


_BLOCKING = """
import sys
from samecall import Cassette

cassette = Cassette(sys.argv[1], mode=sys.argv[2])

@cassette.memoize
def double(number: int) -> int:
    return 2 * number

assert double(21) == double(21) == 42
print(cassette.statistics().provider_calls)
"""


def test_a_synchronous_program_ends_by_itself(path: Path) -> None:
    """Nobody closes its cassette; where no thread can be had any more, it is written even so."""
    for mode, calls in (("record", "1"), ("replay", "0")):
        command = [sys.executable, "-c", _BLOCKING, str(path), mode]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert (done.stdout.strip(), done.stderr) == (calls, "")
    assert len(path.read_text().splitlines()) == 2


async def test_two_processes_record_into_one_file(path: Path) -> None:
    """Each adds to what the other has written."""

    async def pay() -> str:
        return "paid"

    one, two = Cassette(path, mode="record"), Cassette(path, mode="record")
    await one.get_or_call("1", pay)
    await two.get_or_call("2", pay)
    await one.aclose()
    await two.aclose()
    async with Cassette(path) as cassette:
        assert [await cassette.get_or_call(key, pay) for key in "12"] == ["paid"] * 2


async def test_two_that_rewrite_at_once_keep_what_both_have_paid_for(path: Path) -> None:
    """And nothing of what was there before, which neither has asked for."""

    def pay(answer: str) -> Any:
        async def call() -> str:
            return answer

        return call

    async with Cassette(path, mode="record") as old:
        await old.get_or_call("old", pay("old"))
    one, other = Cassette(path, mode="rewrite"), Cassette(path, mode="rewrite")
    for cassette, key in ((one, "a"), (other, "b"), (one, "c")):
        await cassette.get_or_call(key, pay(key))
        cassette.save()
    await one.aclose()
    await other.aclose()
    async with Cassette(path) as cassette:
        assert [await cassette.get_or_call(key, pay("paid")) for key in "abc"] == ["a", "b", "c"]
        with pytest.raises(CacheMiss):
            await cassette.get_or_call("old", pay("paid"))


def test_another_users_lock_is_not_in_the_way(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one who has recorded into the same file; who has paid for a call could not write it."""
    opened: list[Path] = []
    whole = Path.open

    def opens(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self.suffix == ".lock":
            opened.append(self)
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", opens)
    for user in (1, 2):
        monkeypatch.setattr(os, "getuid", lambda user=user: user)
        add_to_tape(path, {})
    assert len(set(opened)) == 2


async def test_the_file_can_be_reviewed(path: Path, recorded: Any) -> None:
    """The request and the answer stand there as JSON; neither key nor endpoint does."""
    head, line = path.read_text().splitlines()
    assert json.loads(head) == {"samecall": "cassette", "format": 1}
    call = json.loads(line)
    assert call["request"]["messages"] == [{"role": "user", "content": TEXT}]
    assert call["answer"]["msgpack"]
    assert '"finish_reason": "tool_calls"' in line
    assert "sk-secret" not in line
    assert "127.0.0.1" not in line


@pytest.mark.parametrize(
    "answer",
    [
        "text",
        {"a": [1, 2.5, None, True]},
        b"\xff\x00",
        "\ud800",
        "\u2028",
        2**60,
        {"$json": 1},
        {"a": b"\xff", "b": b"{}"},
        "x" * 100_000,
    ],
)
async def test_any_answer_comes_back(path: Path, answer: Any) -> None:
    async def pay() -> Any:
        return answer

    async with Cassette(path, mode="record") as cassette:
        await cassette.get_or_call("k", pay)
        stored = cassette.statistics().uncached == 0
    if not stored:
        return
    async with Cassette(path) as cassette:
        assert await cassette.get_or_call("k", pay) == answer


# --- files that are no good -----------------------------------------------------------------------


def spoil(lines: list[str], how: str) -> str:
    head, first, *rest = lines
    match how:
        case "cut":
            return "\n".join([head, first, *rest])[:-40]
        case "garbled":
            return "\n".join([head, "{]" + first, *rest, ""])
        case "no key":
            return "\n".join([head, json.dumps({"answer": {}}), ""])
        case "short key":
            return "\n".join([head, first.replace(first[9:69], ""), ""])
        case "twice":
            return "\n".join([head, first, first, ""])
        case "newer":
            return "\n".join([head.replace('"format": 1', '"format": 2'), first, ""])
        case "no head":
            return "\n".join([first, ""])
        case _:
            return ""


@pytest.mark.parametrize("mode", ["replay", "record"])
@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("cut", r"calls\.jsonl, line 2: no recorded call \(it is cut off\)"),
        ("garbled", r"line 2: no recorded call"),
        ("no key", r"line 2: no recorded call"),
        ("short key", r"line 2: no recorded call"),
        ("twice", r"line 3: this call is there already"),
        ("newer", r"newer samecall \(format 2, this one reads 1\)"),
        ("no head", r"line 1: this is no cassette of samecall"),
        ("empty", r"line 1: this is no cassette of samecall"),
    ],
)
async def test_a_spoilt_file_is_told_and_left_alone(
    path: Path, recorded: Any, mode: Any, how: str, says: str
) -> None:
    path.write_text(spoil(path.read_text().splitlines(), how))
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=says):
        Cassette(path, mode=mode)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "answer",
    ['{"tag": "plain", "text": 1}', '{"tag": "plain", "msgpack": {"a": %s}}' % ("9" * 30), "null"],
    ids=["no text", "too large", "none"],
)
def test_an_answer_that_is_none(path: Path, answer: str) -> None:
    path.parent.mkdir()
    line = f'{{"key": "{"ab" * 32}", "namespace": "default", "answer": {answer}}}'
    path.write_text(f'{{"samecall": "cassette", "format": 1}}\n{line}\n')
    with pytest.raises(ConfigurationError, match="line 2: no recorded call"):
        Cassette(path)


@pytest.mark.parametrize("version", ["true", "0", "1.0", "null"])
def test_a_format_that_is_none(path: Path, version: str) -> None:
    path.parent.mkdir()
    path.write_text(f'{{"samecall": "cassette", "format": {version}}}\n')
    with pytest.raises(ConfigurationError, match="line 1: this is no cassette"):
        Cassette(path)


async def test_a_file_spoilt_while_recording_keeps_nothing_half_written(path: Path) -> None:
    """What others made of it meanwhile is not overwritten; what was paid is written after it."""

    async def pay() -> str:
        return "paid"

    cassette = Cassette(path, mode="record")
    await cassette.get_or_call("k", pay)
    path.parent.mkdir()
    path.write_text("no cassette")
    with pytest.raises(ConfigurationError, match="line 1"):
        await cassette.aclose()
    assert path.read_text() == "no cassette"
    path.unlink()
    cassette.save()
    assert len(path.read_text().splitlines()) == 2
    await cassette.aclose()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
async def test_a_full_disk_takes_no_recording_and_spoils_no_file(
    path: Path, recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says which file; what was recorded can be saved once there is room."""

    async def pay() -> str:
        return "paid"

    before = path.read_bytes()
    cassette = Cassette(path, mode="record")
    await cassette.get_or_call("another", pay)

    def no_room(**_: Any) -> tuple[int, str]:
        left = path.parent / "left"
        left.touch()
        return os.open("/dev/full", os.O_WRONLY), str(left)

    monkeypatch.setattr("tempfile.mkstemp", no_room)
    with pytest.raises(OSError, match="cassette not written") as raised:
        await cassette.aclose()
    assert raised.value.filename == str(path)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before
    monkeypatch.undo()
    cassette.save()
    assert len(path.read_bytes().splitlines()) == len(before.splitlines()) + 1
    await cassette.aclose()


async def test_a_place_where_none_can_be_made_is_told(path: Path) -> None:
    """By the name that was given, and once there is a place it can be saved."""

    async def pay() -> str:
        return "paid"

    path.parent.touch()
    cassette = Cassette(path, mode="record")
    await cassette.get_or_call("k", pay)
    with pytest.raises(OSError, match="cassette not written") as raised:
        await cassette.aclose()
    assert raised.value.filename == str(path)
    path.parent.unlink()
    await cassette.aclose()
    assert len(path.read_text().splitlines()) == 2


def test_no_file_no_replay(path: Path) -> None:
    with pytest.raises(ConfigurationError, match='record it with mode="record"'):
        Cassette(path)


def test_a_mode_that_is_none(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="mode takes one of 'replay', 'record', 'rewrite'"):
        Cassette(path, mode="new_episodes")  # type: ignore[arg-type]


def test_a_url_names_a_file_too(path: Path) -> None:
    assert Cassette(f"disk://{path}", mode="rewrite").path == path


@pytest.mark.parametrize("path", ["", 3, None])
def test_a_path_that_is_none(path: Any) -> None:
    with pytest.raises(ConfigurationError, match="path takes the path of a file"):
        Cassette(path, mode="record")
