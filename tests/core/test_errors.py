"""Errors of the call: who gets them, in what form, and for how long."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

import pytest
from core_support import FleetCodec, World, outcomes, spawn, virtual

from samecall import DeadlineExceeded, Payload, Policy, RemoteCallError
from samecall._clone import clone_error
from samecall._codec import PlainCodec, error_record
from samecall._entry import Entry, Kind, encode_entry, new_stamp
from samecall._key import key_from
from samecall._ports import ErrorRecord, Failure, Reach


class KeywordError(Exception):
    """Like an SDK's: its constructor cannot be called again with its args."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status_code = status


class Severe(BaseException):
    """No Exception, and no cancellation."""


async def raises(error: BaseException) -> Any:
    raise error from LookupError("why")


@virtual
async def test_all_who_waited_get_the_error(w: World) -> None:
    """Each its own object and traceback, of the same type, with the cause."""
    cache, provider = w.cache(), w.provider()
    error = KeywordError("no", status=500)
    error.__cause__ = LookupError("why")
    tasks = spawn(50, lambda: cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    provider.fail(error)
    got = await outcomes(*tasks)
    assert got[0] is error
    assert {type(one) for one in got} == {KeywordError}
    assert len({id(one) for one in got}) == 50
    assert len({id(one.__traceback__) for one in got}) == 50
    assert all(one.__cause__ is error.__cause__ and one.status_code == 500 for one in got)
    assert provider.calls == 1


@virtual
async def test_a_followers_traceback_shows_the_call_and_no_other_caller(w: World) -> None:
    """The frames of the owner are the owner's."""
    cache = w.cache()

    async def owner() -> Any:
        return await cache.get_or_call("k", lambda: raises(KeywordError("no", status=500)))

    async def follower() -> Any:
        return await cache.get_or_call("k", lambda: raises(ZeroDivisionError()))

    got = await outcomes(owner(), *(follower() for _ in range(5)))
    await w.turns()
    late = await outcomes(follower())
    for error in (got[5], late[0]):
        assert isinstance(error, KeywordError)
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert "raises" in frames
        assert "follower" in frames
        assert "owner" not in frames


@pytest.mark.parametrize(
    "error",
    [
        KeywordError("no", status=500),
        OSError(2, "none", "file"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        ImportError("none", name="module"),
        KeyError("key"),
        ExceptionGroup("several", [ValueError(1)]),
        AttributeError("none", name="attribute"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_clone_says_what_the_original_says(error: BaseException) -> None:
    """Also where the words live outside of args and __dict__."""
    error.add_note("note")
    clone = clone_error(error)
    assert clone is not error
    assert (type(clone), str(clone), repr(clone)) == (type(error), str(error), repr(error))
    assert getattr(clone, "name", None) == getattr(error, "name", None)
    assert clone.__notes__ == ["note"]
    clone.add_note("mine")
    assert error.__notes__ == ["note"]


@virtual
async def test_the_error_window(w: World) -> None:
    """Within error_ttl nobody calls, here or elsewhere; after it somebody does."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    provider.fail(KeywordError("no", status=500))
    for _ in range(3):
        with pytest.raises(KeywordError):
            await one.get_or_call("k", provider)
        await w.turns()
        await asyncio.sleep(0.5)
    with pytest.raises(RemoteCallError, match=r"KeywordError \(HTTP 500\): no"):
        await two.get_or_call("k", provider)
    assert provider.calls == 1
    await asyncio.sleep(0.6)
    with pytest.raises(KeywordError):
        await one.get_or_call("k", provider)
    assert provider.calls == 2


@virtual
async def test_a_known_error_is_forgotten_in_time(w: World) -> None:
    """The frames that an error holds do not stay for ever."""
    cache, provider = w.cache(), w.provider()
    provider.fail(KeywordError("no", status=500))
    await outcomes(cache.get_or_call("k", provider))
    (room,) = cache._rooms
    assert len(room.keeper.errors) == 1
    await asyncio.sleep(5)
    assert not room.keeper.errors


@pytest.mark.parametrize(("retry_after", "window"), [(30.0, 30.0), (500.0, 60.0), (0.1, 2.0)])
@virtual
async def test_retry_after_wins_up_to_its_cap(w: World, retry_after: float, window: float) -> None:
    """A longer Retry-After is the error window."""
    cache, provider, codec = w.cache(), w.provider(), FleetCodec(retry_after=retry_after)
    provider.fail(KeywordError("slow down", status=429))
    for after, calls in ((0.0, 1), (window - 0.1, 1), (0.2, 2)):
        await asyncio.sleep(after)
        await outcomes(cache.get_or_call("k", provider, codec=codec))
        await w.turns()
        assert provider.calls == calls


@pytest.mark.parametrize("share_errors", [True, False])
@virtual
async def test_reach_own_is_its_callers_affair(w: World, share_errors: bool) -> None:
    """The next one leads: each caller meets its own error."""
    policy, reach = Policy(share_errors=share_errors), Reach.OWN if share_errors else Reach.FLEET
    caches, codec = [w.cache(policy), w.cache(policy)], FleetCodec(reach)
    made: list[BaseException] = []

    async def call() -> Any:
        made.append(KeywordError(str(len(made)), status=500))
        await asyncio.sleep(1)
        raise made[-1]

    tasks = [spawn(4, lambda c=c: c.get_or_call("k", call, codec=codec)) for c in caches]
    got = await outcomes(*tasks[0], *tasks[1])
    assert sorted(map(str, got)) == [str(number) for number in range(8)]
    assert set(map(id, got)) == set(map(id, made))


@virtual
async def test_the_next_leads_while_the_last_one_still_releases(w: World) -> None:
    """A landed flight that is busy with its release is nobody's to join."""
    cache, provider, codec = w.cache(), w.provider(), FleetCodec(Reach.OWN)
    w.store.hold("release", times=1)
    tasks = spawn(3, lambda: cache.get_or_call("k", provider, codec=codec))
    await provider.until_waiting(1)
    provider.fail_one(KeywordError("no", status=500))
    await w.store.until_held("release")
    asked = w.store.calls["acquire"]
    await w.turns()
    assert w.store.calls["acquire"] > asked  # the next one's flight has begun
    w.store.heal()
    await provider.until_waiting(1)
    provider.answer("yes")
    assert (await outcomes(*tasks))[1:] == ["yes", "yes"]
    assert provider.calls == 2


@virtual
async def test_reach_process_stays_here(w: World) -> None:
    """All who wait here get it; the other process calls for itself."""
    one, two, provider, codec = w.cache(), w.cache(), w.provider(), FleetCodec(Reach.PROCESS)
    here = spawn(3, lambda: one.get_or_call("k", provider, codec=codec))
    await provider.until_waiting(1)
    there = asyncio.ensure_future(two.get_or_call("k", provider, codec=codec))
    await w.turns()
    provider.fail_one(KeywordError("no", status=401))
    assert [type(error) for error in await outcomes(*here)] == [KeywordError] * 3
    await provider.until_waiting(1)
    provider.answer("yes")
    assert await there == "yes"
    assert provider.calls == 2


@pytest.mark.parametrize("kind", [asyncio.CancelledError, Severe, GeneratorExit])
@virtual
async def test_what_is_no_exception_is_its_callers_alone(w: World, kind: Any) -> None:
    """It reaches its caller once; followers lead for themselves, and nothing turns in circles."""
    cache, calls = w.cache(), 0

    async def call() -> Any:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        if calls == 1:
            raise kind
        return "yes"

    got = await outcomes(*(cache.get_or_call("k", call) for _ in range(3)))
    assert isinstance(got[0], kind)
    assert got[1:] == ["yes", "yes"]
    assert calls == 2


@virtual
async def test_a_deadline_frees_the_key(w: World) -> None:
    """A hung call that ignores its cancellation holds up nobody."""
    one, two = w.cache(Policy(deadline=5)), w.cache()
    let_go = asyncio.Event()

    async def hung() -> Any:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    async def well() -> str:
        return "yes"

    here = spawn(3, lambda: one.get_or_call("k", hung))
    try:
        await w.turns()
        there = asyncio.ensure_future(two.get_or_call("k", well))
        assert [type(error) for error in await outcomes(*here)] == [DeadlineExceeded] * 3
        assert await there == "yes"
    finally:
        let_go.set()


class Picky(PlainCodec):
    """Its leader refuses what the provider said; a follower may take it."""

    def __init__(self, *, takes: bool) -> None:
        self.takes = takes

    def explain(self, error: BaseException) -> Failure:
        record = ErrorRecord(type(error).__name__, str(error))
        return Failure(Reach.FLEET, record, Payload("plain", b"\xa3raw"))

    def refused(self, payload: Payload) -> Any:
        if self.takes:
            return self.decode(payload)
        raise ValueError("refused by me")


@virtual
async def test_a_refused_completion_is_parsed_by_each(w: World) -> None:
    """Who takes it has it, who does not gets the error; nobody calls again in the window."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    error = KeywordError("invalid", status=200)

    def ask(cache: Any, *, takes: bool) -> Any:
        return cache.get_or_call("k", provider, codec=Picky(takes=takes))

    tasks = [
        asyncio.ensure_future(ask(cache, takes=takes))
        for cache, takes in ((one, False), (one, False), (one, True), (two, False), (two, True))
    ]
    await provider.until_waiting(1)
    await w.turns()
    provider.fail(error)
    got = await outcomes(*tasks)
    assert got[0] is error
    assert isinstance(got[1], KeywordError)
    assert got[2] == got[4] == "raw"
    assert str(got[3]) == "refused by me"
    late = await outcomes(ask(one, takes=False), ask(two, takes=True))
    assert isinstance(late[0], KeywordError)
    assert late[1] == "raw"
    assert provider.calls == 1


class Broken(PlainCodec):
    """A codec with a fault in every method."""

    def __init__(self, fault: type[BaseException]) -> None:
        self.fault = fault

    def encode(self, value: Any) -> Payload:
        raise self.fault("encode")

    def explain(self, error: BaseException) -> Failure:
        raise self.fault("explain")


class Watcher:
    """An observer that fails whatever it hears."""

    def on_event(self, event: object) -> None:
        raise asyncio.CancelledError


@pytest.mark.filterwarnings("always::samecall.SamecallWarning")
@pytest.mark.parametrize("fault", [TypeError, asyncio.CancelledError])
@virtual
async def test_a_codecs_fault_costs_no_answer(w: World, fault: type[BaseException]) -> None:
    """A paid answer is given; the provider's error is the one that is told."""
    cache, provider, broken = w.cache(), w.provider(), Broken(fault)
    tasks = spawn(2, lambda: cache.get_or_call("k", provider, codec=broken))
    await provider.until_waiting(1)
    provider.answer(["yes"])
    with pytest.warns(match=rf"{fault.__name__} \(test_errors.py, line \d+\)|encode raised"):
        got = await asyncio.gather(*tasks)
    assert got == [["yes"], ["yes"]]
    assert got[0] is not got[1]
    provider.fail(KeywordError("no", status=500))
    with pytest.warns(match="explain"), pytest.raises(KeywordError):
        await cache.get_or_call("k", provider, codec=broken)
    assert provider.calls == 2


@pytest.mark.filterwarnings("ignore::samecall.SamecallWarning")
@virtual
async def test_what_an_observer_raises_is_nobodys(w: World) -> None:
    """Not even a cancellation: it would be taken for one of the call, and the call begun anew."""
    cache, provider = w.cache(observers=[Watcher()]), w.provider()
    provider.answer("yes")
    assert await cache.get_or_call("k", provider) == "yes"
    assert provider.calls == 1


@virtual
async def test_flights_that_end_in_the_air_are_not_begun_for_ever(
    w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few, each of which may have been paid for; then the caller makes a call of its own."""
    cache, provider = w.cache(), w.provider()
    provider.answer("yes")
    begun = 0

    async def ends(*_: object) -> None:
        nonlocal begun
        begun += 1
        if begun > 99:
            raise AssertionError("for ever")
        raise asyncio.CancelledError

    monkeypatch.setattr("samecall._leading.Leader.lead", ends)
    async with asyncio.timeout(60):
        assert await cache.get_or_call("k", provider) == "yes"
    assert (begun, provider.calls) == (8, 1)


@virtual
async def test_an_error_that_cannot_be_told_is_raised_all_the_same(w: World) -> None:
    """A lone surrogate in a message."""
    cache, provider = w.cache(), w.provider()
    provider.fail(KeywordError("\ud800", status=500))
    for _ in range(2):
        with pytest.raises(KeywordError):
            await cache.get_or_call("k", provider)
        await w.turns()
    assert provider.calls == 1


class Speechless(Exception):
    """Whose attributes and words all raise."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __str__(self) -> str:
        raise RuntimeError("str")


@virtual
async def test_an_error_that_raises_when_it_is_looked_at(w: World) -> None:
    """It is what its callers get, and paid for once in the fleet."""
    here, there = w.cache(), w.cache()
    provider = w.provider()
    provider.fail(Speechless())
    got = await outcomes(*(here.get_or_call("k", provider) for _ in range(5)))
    await w.turns()
    assert {type(error) for error in got} == {Speechless}
    (told,) = await outcomes(there.get_or_call("k", provider))
    assert type(told) is RemoteCallError
    assert told.class_name == "Speechless"
    assert provider.calls == 1


@pytest.mark.filterwarnings("ignore::samecall.SamecallWarning")
@virtual
async def test_an_unstorable_answer_reaches_its_followers(w: World) -> None:
    """As copies; who cannot have one calls for itself, at once and not in turn."""
    cache = w.cache()
    gates: list[asyncio.Future[Any]] = []

    async def call() -> Any:
        gates.append(asyncio.get_running_loop().create_future())
        return await gates[-1]

    tasks = spawn(3, lambda: cache.get_or_call("k", call))
    await w.turns()
    gates[0].set_result({1, 2})
    got = await asyncio.gather(*tasks)
    assert got == [{1, 2}] * 3
    assert len({id(one) for one in got}) == 3
    tasks = spawn(4, lambda: cache.get_or_call("k", call))
    await w.turns()
    gates[1].set_result(number for number in ())
    await w.turns()
    assert len(gates) == 2 + 3
    for gate in gates[2:]:
        gate.set_result("own")
    assert (await asyncio.gather(*tasks))[1:] == ["own"] * 3
    assert cache.statistics().stored == 0


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijkl",
        "sk-ant-api03-xyz_123",
        "sk-abc*********wxyz",
        "AIzaSyD-1234567890abc",
        "gsk_1a2b3c4d5e6f",
        "Bearer eyJhbGciOi.x.y",
        "Basic dXNlcjpwYXNz",
        "user:Pa55@",
        "0123456789abcdef0123456789abcdef",
        "api_key=Pa55word",
    ],
)
def test_no_secret_is_in_a_record(secret: str) -> None:
    """Whatever an SDK writes into its message."""
    message = error_record(ValueError(f"at https://{secret}host/v1: no")).message
    assert secret not in message
    assert message.startswith("at ")
    assert error_record(ValueError(f"with {secret} no")).message.startswith("with ")


def test_words_are_no_secrets() -> None:
    """What is wrong must still be understood."""
    words = "the skeleton of this organization's project is basically a key problem"
    assert error_record(ValueError(words)).message == words


@pytest.mark.parametrize("kind", [Kind.ERROR, Kind.REFUSED])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x92\xa2\xff\xffx\xa1m",
        b"\x96\xa1a\xa1b\xc0\xc0\xc4\x00" + b"\x91" * 100_000 + b"\xc0",
    ],
    ids=["empty", "none", "no-utf8", "deep"],
)
@virtual
async def test_an_error_record_of_any_bytes_is_a_miss(w: World, kind: Kind, data: bytes) -> None:
    """Counted, and the next leader's answer stands in its place."""
    cache, provider, key = w.cache(), w.provider(), key_from("k", "default")
    provider.answer("yes")
    entry = Entry(kind, Payload("error", data), new_stamp(), 60.0, 60.0)
    await w.memory.acquire(key, b"d" * 16, b"", 60)
    await w.memory.fail(key, b"d" * 16, encode_entry(key, await w.of_now(entry)), 60)
    assert await cache.get_or_call("k", provider) == "yes"
    assert cache.statistics().undecodable == 1
    await w.turns()
    assert await w.cache().get_or_call("k", provider) == "yes"
    assert provider.calls == 1
