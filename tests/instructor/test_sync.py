"""A synchronous client is served by the same cache."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from instructor.core.exceptions import InstructorRetryException
from pydantic import BaseModel, field_validator

import instructor
from samecall import Cache, CacheMiss
from samecall.instructor import cached, key_of
from samecall.testing import StubProvider
from samecall.testing.provider import Malformed, Status


class User(BaseModel):
    name: str
    age: int


def question(text: str = "who", **more: Any) -> dict[str, Any]:
    return {"response_model": User, "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture
def provider() -> Iterator[StubProvider]:
    with StubProvider.in_thread() as provider:
        yield provider


@pytest.fixture
def bare(provider: StubProvider) -> Iterator[instructor.Instructor]:
    with openai.OpenAI(api_key="k", base_url=provider.openai_url, max_retries=0) as sdk:
        yield instructor.from_openai(sdk, model="m")


@pytest.fixture
def cache() -> Cache:
    return Cache()


def test_a_hit_is_the_miss_again(
    bare: instructor.Instructor, cache: Cache, provider: StubProvider
) -> None:
    client = cached(bare, cache)
    assert isinstance(client, instructor.Instructor)
    assert not isinstance(client, instructor.AsyncInstructor)
    user, raw = client.create_with_completion(**question())
    again, raw_again = client.chat.completions.create_with_completion(**question())
    assert (again, raw_again) == (user, raw)
    assert type(again) is type(user)
    assert again is not user
    assert client.create(**question()) == user
    assert provider.calls == 1
    assert key_of(client, **question()).namespace == "default"


@pytest.mark.parametrize("helper", ["create", "create_partial"])
def test_a_hook_that_ends_the_program_ends_no_other_call(
    bare: instructor.Instructor, cache: Cache, helper: str
) -> None:
    """It runs in its caller's name, and the event loop is everybody's."""

    def leave(**_: Any) -> None:
        raise SystemExit(3)

    client = cached(bare, cache)
    client.on("completion:kwargs", leave)
    for _ in range(2):
        with pytest.raises(SystemExit):
            list(getattr(client, helper)(**question()))
    client.clear()
    assert list(getattr(client, helper)(**question("again")))
    assert client.create(**question())


def test_threads_that_ask_at_once_ask_once(
    bare: instructor.Instructor, cache: Cache, provider: StubProvider
) -> None:
    """Also more of them than a worker pool has threads, and from two clients."""
    clients = [cached(bare, cache), cached(bare, cache)]
    provider.hold()
    with ThreadPoolExecutor(60) as pool:
        tasks = [pool.submit(clients[n % 2].create, **question()) for n in range(60)]
        while cache.statistics().callers_waiting < 60:
            pass
        provider.release()
        users = [task.result() for task in tasks]
    assert provider.calls == 1
    assert all(user == users[0] for user in users)
    assert len({id(user) for user in users}) == 60


def test_sixty_different_calls_are_in_the_air_at_once(
    bare: instructor.Instructor, cache: Cache, provider: StubProvider
) -> None:
    client = cached(bare, cache)
    provider.hold()
    with ThreadPoolExecutor(60) as pool:
        tasks = [pool.submit(client.create, **question(f"who {n}")) for n in range(60)]
        while provider.waiting < 60:
            pass
        provider.release()
        for task in tasks:
            task.result()
    assert provider.most_in_flight == 60


def test_the_rest_of_the_client(
    bare: instructor.Instructor, cache: Cache, provider: StubProvider
) -> None:
    client = cached(bare, cache)
    heard: list[Any] = []
    client.on("completion:response", heard.append)
    with pytest.raises(CacheMiss):
        client.create(**question(cache_mode="only"))
    for _ in range(2):
        client.create(**question())
    assert len(heard) == 1
    assert list(client.create_partial(**question("a")))[-1].name
    assert all(isinstance(user, User) for user in client.create_iterable(**question("b")))
    assert cache.statistics().streams == 2
    assert cache.statistics().calls == 5
    client.create(**question(cache=None))
    assert provider.calls == 4


def test_errors(bare: instructor.Instructor, cache: Cache, provider: StubProvider) -> None:
    client = cached(bare, cache)
    provider.script("who", Status(500))
    with pytest.raises(InstructorRetryException) as caught:
        client.create(**question())
    assert isinstance(caught.value.__cause__, openai.InternalServerError)
    provider.script("what", Malformed())
    provider.hold()
    with ThreadPoolExecutor(5) as pool:
        tasks = [pool.submit(client.create, **question("what", max_retries=0)) for _ in range(5)]
        while cache.statistics().callers_waiting < 5:
            pass
        provider.release()
        errors = [task.exception() for task in tasks]
    assert provider.calls_by_prompt["what"] == 1
    assert {type(error) for error in errors} == {InstructorRetryException}


def test_a_validator_may_ask_through_the_same_client(
    bare: instructor.Instructor, cache: Cache, provider: StubProvider
) -> None:
    """On a hit too, which is parsed in the thread of its caller."""
    client = cached(bare, cache)
    threads: set[int] = set()

    class Checked(BaseModel):
        name: str

        @field_validator("name")
        @classmethod
        def ask_back(cls, value: str) -> str:
            threads.add(threading.get_ident())
            return client.create(**question("inner")).name

    first = client.create(**question(response_model=Checked))
    threads.clear()
    assert client.create(**question(response_model=Checked)) == first
    assert threads == {threading.get_ident()}
    assert provider.calls == 2


def test_what_cannot_be_read_is_a_miss(
    bare: instructor.Instructor, cache: Cache, provider: StubProvider
) -> None:
    client = cached(bare, cache)

    def model(least: int) -> type[BaseModel]:
        class Person(BaseModel):
            age: int

            @field_validator("age")
            @classmethod
            def old_enough(cls, value: int) -> int:
                if value < least:
                    raise ValueError("too young")
                return value

        return Person

    provider.answer("who", {"age": 5})
    client.create(**question(response_model=model(1)))
    provider.answer("who", {"age": 50})
    with pytest.raises(CacheMiss, match=r"cannot be read \(ValidationError\)") as miss:
        client.create(**question(response_model=model(18), cache_mode="only"))
    assert "too young" not in "".join(traceback.format_exception(miss.value))
    assert client.create(**question(response_model=model(18))).age == 50
    assert provider.calls == 2


SCRIPT = """
import asyncio, sys, threading
import instructor, openai
from pydantic import BaseModel
from samecall import Cache
from samecall._memory import MemoryStore
from samecall.instructor import cached

class User(BaseModel):
    name: str
    age: int

answered = threading.Event()

class Slow(MemoryStore):
    async def commit(self, *args):
        while not answered.is_set():
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.1)  # the process is about to end meanwhile
        print("stored")
        return await super().commit(*args)

client = cached(
    instructor.from_openai(openai.OpenAI(api_key="k", base_url=sys.argv[1]), model="m"),
    Cache(Slow()),
)
client.create(response_model=User, messages=[{"role": "user", "content": "who"}])
print("answered")
answered.set()
"""


def test_a_process_ends_by_itself_and_stores_its_answer_first(provider: StubProvider) -> None:
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT, provider.openai_url],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert told.stdout.split() == ["answered", "stored"]


_INTERRUPTED = """
import signal, sys, urllib.request
import instructor, openai
from pydantic import BaseModel
from samecall import Cache
from samecall.instructor import cached

signal.signal(signal.SIGINT, signal.default_int_handler)

class User(BaseModel):
    age: int

url, cache = sys.argv[2], Cache()
client = cached(instructor.from_openai(openai.OpenAI(api_key="k", base_url=url), model="m"), cache)
asked = dict(response_model=User, messages=[{"role": "user", "content": "who"}])

@cache.memoize
def read() -> str:
    return urllib.request.urlopen(url).read().decode()

match sys.argv[1]:
    case "create":
        client.create(**asked)
    case "stream":
        list(client.create_partial(**asked))
    case "memoize":
        read()
"""


@pytest.mark.parametrize("what", ["create", "stream", "memoize"])
def test_ctrl_c_ends_the_process_and_calls_nobody_again(what: str) -> None:
    """Who is interrupted leaves; its wait would else become a call when the cache closes."""
    with socket.create_server(("127.0.0.1", 0)) as provider:  # which never answers
        url = f"http://127.0.0.1:{provider.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-c", _INTERRUPTED, what, url], stderr=subprocess.PIPE, text=True
        )
        calls = [provider.accept()[0]]
        calls[0].recv(1)
        process.send_signal(signal.SIGINT)
        try:
            _, told = process.communicate(timeout=30)
        finally:
            process.kill()
        provider.setblocking(False)
        with pytest.raises(BlockingIOError):
            calls.append(provider.accept()[0])
        for call in calls:
            call.close()
    assert told.splitlines()[-1] == "KeyboardInterrupt"


_SPOILT = """
from samecall import Cache
from samecall._portal import portal_for

class Spoilt(Cache):
    async def aclose(self):
        print("tried", flush=True)
        raise ValueError("spoilt")

class Sound(Cache):
    async def aclose(self):
        print("closed", flush=True)

caches = [Sound(), Spoilt(), Spoilt(), Sound()]  # in what order they are closed is not known
for cache in caches:
    portal_for(cache)
"""


def test_a_process_ends_although_a_cache_cannot_be_closed() -> None:
    """The others are, and the fault is told."""
    told = subprocess.run(
        [sys.executable, "-c", _SPOILT], check=True, timeout=60, capture_output=True, text=True
    )
    assert sorted(told.stdout.split()) == ["closed", "closed", "tried", "tried"]
    assert "spoilt" in told.stderr


def test_a_fork_after_a_call(
    bare: instructor.Instructor, cache: Cache, provider: StubProvider
) -> None:
    """The child is not held up by the parent's portal, and asks through one of its own."""
    client = cached(bare, cache)
    user = client.create(**question())
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, b"y" if client.create(**question()) == user else b"n")
        finally:
            os._exit(0)
    os.close(writing)
    ready, _, _ = select.select([reading], [], [], 20)
    told = os.read(reading, 1) if ready else b"it hangs"
    os.close(reading)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert told == b"y"
    assert provider.calls == 1
