"""What `cached` gives back is instructor's client in every respect but the bill."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import openai
import pytest
from instructor.core.exceptions import InstructorRetryException
from pydantic import BaseModel, Field, field_validator

import instructor
from samecall import Cache, CacheMiss, ConfigurationError, Key, Policy, SamecallWarning
from samecall.instructor import cached, key_of
from samecall.testing import StubProvider
from samecall.testing.provider import Answer, Malformed, Status


class User(BaseModel):
    name: str
    age: int


def question(text: str = "who", **more: Any) -> dict[str, Any]:
    return {"response_model": User, "messages": [{"role": "user", "content": text}], **more}


async def stored(cache: Cache, count: int = 1) -> None:
    """Return when so many answers are stored, which comes after their callers have them."""
    for _ in range(100_000):
        if cache.statistics().stored >= count:
            return
        await asyncio.sleep(0)
    raise AssertionError("nothing was stored")


async def callers(cache: Cache, count: int) -> None:
    while cache.statistics().callers_waiting < count:
        await asyncio.sleep(0)


# --- one call ---------------------------------------------------------------------------------


async def test_concurrent_identical_calls_are_one(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """Fifty at once ask once, and each has an answer of its own."""
    client = cached(bare, cache)
    users = await asyncio.gather(*(client.create(**question()) for _ in range(50)))
    assert provider.calls == 1
    assert all(user == users[0] for user in users)
    assert len({id(user) for user in users}) == 50


async def test_it_is_a_client_of_instructor(
    bare: instructor.AsyncInstructor, cache: Cache, sdk: openai.AsyncOpenAI
) -> None:
    client = cached(bare, cache)
    assert isinstance(client, instructor.AsyncInstructor)
    assert client.client is sdk
    assert client.mode is bare.mode
    assert client.provider is bare.provider
    assert client.embeddings is sdk.embeddings
    with pytest.raises(AttributeError):
        client.no_such_thing  # noqa: B018 - passed on to the SDK client, which has none


async def test_the_original_stays_as_it_is(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """The bare client goes on calling, and hears nothing of hooks on the new one."""
    create_fn = bare.create_fn
    client = cached(bare, cache)
    heard: list[Any] = []
    client.on("completion:response", heard.append)
    await bare.create(**question())
    await bare.create(**question())
    assert bare.create_fn is create_fn
    assert provider.calls == 2
    assert heard == []


async def test_every_spelling_of_create_is_one_call(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    client = cached(bare, cache)
    user = await client.create(**question())
    assert await client.chat.completions.create(**question()) == user
    assert await client.messages.create(**question()) == user
    assert (await client.create_with_completion(**question()))[0] == user
    assert (await client.messages.create_with_completion(**question()))[0] == user
    assert await client.create_fn(hooks=None, max_retries=1, strict=True, **question()) == user
    assert provider.calls == 1


async def test_responses(provider: StubProvider, sdk: openai.AsyncOpenAI, cache: Cache) -> None:
    bare = instructor.from_openai(sdk, mode=instructor.Mode.RESPONSES_TOOLS, model="stub-1")
    client = cached(bare, cache)
    user = await client.responses.create(input="who", response_model=User)
    again, raw = await client.responses.create_with_completion(input="who", response_model=User)
    assert again == user
    assert isinstance(raw, openai.types.responses.Response)
    assert await client.create(**question()) == user
    assert provider.calls == 1


async def test_a_text_that_is_written_at_run_time_is_asked(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """As with the bare client: what a model says of itself is part of the prompt."""

    class Found(BaseModel):
        """Take the first."""

        name: str = Field(description="a name")

    client = cached(bare, cache)
    await client.create(**question(response_model=Found))
    Found.__doc__ = "Take the last."
    await client.create(**question(response_model=Found))
    Found.model_fields["name"].description = "a full name"
    await client.create(**question(response_model=Found))
    await client.create(**question(response_model=Found))
    asked = [str(request.json) for request in provider.requests]
    assert ["Take the last." in text for text in asked] == [False, True, True]
    assert ["a full name" in text for text in asked] == [False, False, True]


async def test_cached_twice_has_the_later_settings(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    async with Cache() as other:
        client = cached(cached(bare, other), cache)
        await client.create(**question())
        assert other.statistics().calls == 0
        assert cache.statistics().calls == 1


async def test_no_response_model(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    client = cached(bare, cache)
    raw = await client.create(**question(response_model=None))
    again = await client.create(**question(response_model=None))
    assert isinstance(raw, openai.types.chat.ChatCompletion)
    assert again == raw
    assert again is not raw
    assert provider.calls == 1


async def test_a_completion_with_a_scalar(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """The bare client crashes here after a paid call."""
    provider.answer("who", {"content": 7})
    client = cached(bare, cache)
    for _ in range(2):
        value, raw = await client.create_with_completion(**question(response_model=int))
        assert value == 7
        assert isinstance(raw, openai.types.chat.ChatCompletion)
    assert provider.calls == 1


@pytest.mark.parametrize("text", ["who", "who" * 1_000])
async def test_messages_changed_in_the_air(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider, text: str
) -> None:
    """What is asked is what the caller said when it called, whatever it does to its list since."""
    client = cached(bare, cache)
    messages = [{"role": "user", "content": text}]
    task = asyncio.create_task(client.create(response_model=User, messages=messages))
    await callers(cache, 1)
    messages[0]["content"] = "what"
    messages.append({"role": "user", "content": "else"})
    await task
    assert provider.calls_by_prompt == {text: 1}


# --- reasks, hooks and usage --------------------------------------------------------------------


async def test_a_call_with_its_reasks_is_one_flight(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """The completion that passed is kept; its usage is that of all attempts, added up once."""
    provider.script("who", Malformed())
    client = cached(bare, cache)
    provider.hold()
    tasks = [asyncio.create_task(client.create_with_completion(**question())) for _ in range(3)]
    await callers(cache, 3)
    provider.release()
    answers = [await task for task in tasks]
    await stored(cache)
    answers.append(await client.create_with_completion(**question()))
    assert provider.calls == 2
    usages = [raw.usage.total_tokens for _, raw in answers]
    assert usages == [usages[0]] * 4
    assert [user._total_usage.total_tokens for user, _ in answers] == usages  # type: ignore[attr-defined]
    async with Cache() as fresh:
        provider.script("who", Malformed())
        plain = await bare.create(**question())
        assert plain._raw_response.usage.total_tokens == usages[0]  # type: ignore[attr-defined]
        assert fresh.statistics().calls == 0


async def test_hooks_fire_for_calls_that_reach_the_provider(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """The leader's own and its client's; none for a hit or a follower."""
    heard: list[str] = []
    bare.on("completion:kwargs", lambda **_: heard.append("original"))
    client = cached(bare, cache)
    client.on("completion:response", lambda _: heard.append("client"))
    own = instructor.hooks.Hooks()
    own.on("completion:usage", lambda _: heard.append("call"))
    provider.hold()
    led = asyncio.create_task(client.create(**question(hooks=own)))
    await callers(cache, 1)
    followed = asyncio.create_task(client.create(**question(hooks=own)))
    await callers(cache, 2)
    provider.release()
    await led
    await followed
    await client.create(**question())
    assert heard == ["original", "client", "call"]
    assert provider.calls == 1


# --- the cache's own arguments ------------------------------------------------------------------


async def test_cache_none_leaves_the_cache_alone(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    client = cached(bare, cache)
    users = [await client.create(**question(cache=None)) for _ in range(2)]
    assert provider.calls == 2
    assert cache.statistics().calls == 0
    assert users[0] == users[1]


async def test_another_cache(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    client = cached(bare, cache)
    async with Cache() as other:
        await client.create(**question(cache=other))
        assert (cache.statistics().calls, other.statistics().calls) == (0, 1)


async def test_namespaces_and_vary_separate(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    client = cached(bare, cache)
    for _ in range(2):
        await client.create(**question())
        await client.create(**question(cache_namespace="other"))
        await client.create(**question(cache_vary={"tenant": 1}))
        await client.create(**question(cache_vary={"tenant": 2}))
        await cached(bare, cache, namespace="third").create(**question())
    assert provider.calls == 5
    assert not any("cache" in str(request.json) for request in provider.requests)


async def test_modes(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    client = cached(bare, cache)
    with pytest.raises(CacheMiss):
        await client.create(**question(cache_mode="only"))
    await client.create(**question(cache_mode="bypass"))
    with pytest.raises(CacheMiss):
        await client.create(**question(cache_mode="only"))
    await client.create(**question())
    await stored(cache)
    await client.create(**question(cache_mode="only"))
    assert provider.calls == 2
    await client.create(**question(cache_mode="refresh"))
    assert provider.calls == 3


async def test_ttl_and_timeout_become_the_policy(
    bare: instructor.AsyncInstructor, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower's `timeout` bounds its own wait; the shorter of two waits wins."""
    seen: list[Policy | None] = []
    plain = cache.get_or_call

    async def spy(*args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs["policy"])
        return await plain(*args, **kwargs)

    monkeypatch.setattr(cache, "get_or_call", spy)
    client = cached(bare, cache, policy=Policy(wait=8, ttl=5))
    await client.create(**question())
    await client.create(**question("when", cache_ttl=7, timeout=3))
    await client.create(**question("where", timeout=30))
    assert [(p.ttl, p.wait) for p in seen if p] == [(5, 8), (7, 3), (5, 8)]


async def test_constructor_defaults_count_as_arguments(
    sdk: openai.AsyncOpenAI, bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    warm = instructor.from_openai(
        sdk, model="stub-1", temperature=0.5, cache_namespace="n", cache_vary="v"
    )
    await cached(warm, cache).create(**question())
    await cached(bare, cache).create(
        **question(temperature=0.5, cache_namespace="n", cache_vary="v")
    )
    assert provider.calls == 1
    assert provider.requests[0].json["temperature"] == 0.5


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("cache_mode", "sometimes"),
        ("cache_ttl", -1),
        ("cache_ttl", float("nan")),
        ("cache_ttl", "60"),
        ("cache_namespace", ""),
        ("cache_namespace", "n" * 201),
        ("cache_namespace", 5),
        ("cache_tags", "one"),
        ("cache_tags", ("\ud800",)),
        ("cache", {}),
        ("cache", instructor.cache.AutoCache()),
        ("cache_tll", 5),
    ],
)
async def test_wrong_cache_arguments(
    bare: instructor.AsyncInstructor,
    cache: Cache,
    provider: StubProvider,
    argument: str,
    value: object,
) -> None:
    """Told at once by name, and nothing is asked."""
    with pytest.raises(ConfigurationError, match=argument):
        await cached(bare, cache).create(**question(**{argument: value}))
    assert provider.calls == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"client": object()}, "client takes an AsyncInstructor"),
        ({"client": openai.AsyncOpenAI(api_key="k")}, "instructor.from_openai"),
        ({"cache": "redis://localhost"}, "cache takes a samecall.Cache"),
        ({"policy": {}}, "policy takes a Policy"),
        ({"namespace": ""}, "namespace takes"),
        ({"account": ""}, "account takes"),
        ({"cache": Cache}, "cache takes a samecall.Cache; got type"),
    ],
)
async def test_wrong_arguments_of_cached(
    bare: instructor.AsyncInstructor, cache: Cache, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        cached(**{"client": bare, "cache": cache, **arguments})


async def test_a_client_with_a_cache_of_its_own(sdk: openai.AsyncOpenAI, cache: Cache) -> None:
    native = instructor.from_openai(sdk, cache=instructor.cache.AutoCache())
    with pytest.raises(ConfigurationError, match="client has a cache"):
        cached(native, cache)


# --- what cannot be keyed or stored is answered all the same --------------------------------------


async def test_an_argument_without_a_form_goes_uncached(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    client = cached(bare, cache)
    with pytest.warns(SamecallWarning, match=r"context\.it: ") as told:
        await asyncio.gather(
            *(client.create(**question(context={"it": object()})) for _ in range(3))
        )
    assert len(told) == 1
    assert provider.calls == 3
    assert cache.statistics().uncached == 3


async def test_long_prompts(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """20 MB of text and 10,000 messages are keyed like anything else."""
    client = cached(bare, cache)
    many = [{"role": "user", "content": f"message {n}"} for n in range(10_000)]
    for _ in range(2):
        await client.create(**question("x" * 20 * 2**20))
        await client.create(response_model=User, messages=many)
    assert provider.calls == 2


async def test_lone_surrogates_are_answered_as_by_the_bare_client(
    bare: instructor.AsyncInstructor, cache: Cache
) -> None:
    """No SDK can send them as UTF-8; what it says of that is what comes back."""
    plain, ours = await asyncio.gather(
        bare.create(**question("\ud800")),
        cached(bare, cache).create(**question("\ud800")),
        return_exceptions=True,
    )
    assert type(ours) is type(plain)
    assert type(ours.__cause__) is type(plain.__cause__)


async def test_unsupported_models_raise_as_the_bare_client_does(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    with pytest.raises(TypeError):
        await cached(bare, cache).create(**question(response_model=dict))
    assert provider.calls == 0


# --- errors --------------------------------------------------------------------------------------


async def test_an_error_reaches_all_who_waited_as_the_bare_client_raises_it(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    provider.script("who", Status(429, retry_after=7, message="slow down"))
    client = cached(bare, cache)
    provider.hold()
    tasks = [asyncio.create_task(client.create(**question())) for _ in range(5)]
    await callers(cache, 5)
    provider.release()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert provider.calls == 1
    for error in errors:
        assert isinstance(error, InstructorRetryException)
        assert isinstance(error.__cause__, openai.RateLimitError)
    assert len({id(error) for error in errors}) == 5


async def test_a_completion_that_fails_validation_is_paid_once(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    provider.script("who", Malformed())
    client = cached(bare, cache)
    provider.hold()
    tasks = [asyncio.create_task(client.create(**question(max_retries=0))) for _ in range(5)]
    await callers(cache, 5)
    provider.release()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert provider.calls == 1
    for error in errors:
        assert isinstance(error, InstructorRetryException)
        assert isinstance(error.last_completion, openai.types.chat.ChatCompletion)


def person(least: int) -> type[BaseModel]:
    """One schema, and a validator of which no schema tells."""

    class Person(BaseModel):
        age: int

        @field_validator("age")
        @classmethod
        def old_enough(cls, value: int) -> int:
            if value < least:
                raise ValueError("too young")
            return value

    return Person


async def test_a_follower_takes_what_its_leader_refused(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """Same schema, another validator: every caller judges the completion for itself."""
    provider.answer("who", {"age": 20})
    client = cached(bare, cache)
    provider.hold()
    strict = asyncio.create_task(
        client.create(**question(response_model=person(30), max_retries=0))
    )
    await callers(cache, 1)
    lax = asyncio.create_task(client.create(**question(response_model=person(10))))
    await callers(cache, 2)
    provider.release()
    with pytest.raises(InstructorRetryException):
        await strict
    assert (await lax).age == 20  # type: ignore[attr-defined]
    assert provider.calls == 1


async def test_a_stricter_validator_makes_a_hit_a_miss(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """An entry that this caller cannot take costs a call, never an exception."""
    client = cached(bare, cache)
    lax, strict = question(response_model=person(1)), question(response_model=person(30))
    assert key_of(client, **lax) == key_of(client, **strict)
    provider.script("who", Answer({"age": 5}), Answer({"age": 50}))
    assert (await client.create(**lax)).age == 5
    await stored(cache)
    assert (await client.create(**strict)).age == 50
    assert provider.calls == 2


async def test_wrong_arguments_hurt_only_their_caller(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    client = cached(bare, cache)
    wrong = asyncio.create_task(client.create(**question(token_budget=-1)))
    right = asyncio.create_task(client.create(**question()))
    with pytest.raises(ValueError, match="token_budget"):
        await wrong
    assert (await right).name
    assert provider.calls == 1


async def test_peek_reads_what_create_would_return(
    bare: instructor.AsyncInstructor, cache: Cache
) -> None:
    """A key knows how its answer is read; in a set, a dict or a pickle it is the key alone."""
    client = cached(bare, cache)
    asked: dict[str, Any] = question("peek")
    key = key_of(client, **asked)
    assert await cache.peek(key) is None
    user = await client.create(**asked)
    seen = await cache.peek(key)
    assert seen == user
    assert type(seen) is type(user)
    assert seen is not user
    plain = Key(key.digest, key.namespace)
    assert key == plain == pickle.loads(pickle.dumps(key))
    assert len({key, plain, key_of(client, **asked)}) == 1
    assert plain != key_of(client, **question("other"))
    await cache.forget(key)
    assert await cache.peek(key) is None
    assert cache.statistics().undecodable == 0
