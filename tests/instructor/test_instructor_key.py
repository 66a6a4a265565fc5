"""What separates two calls, and what does not."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Optional, Union

import litellm
import openai
import pytest
from anthropic import AsyncAnthropic
from instructor.processing.multimodal import PDF, Audio, Image
from instructor.v2.core.response_model import prepare_response_model
from pydantic import BaseModel, Field

import instructor
from instructor import Maybe, Mode, Partial
from samecall import Cache, CacheMiss, ConfigurationError, Unkeyable
from samecall.instructor import cached, key_of


class User(BaseModel):
    name: str
    age: int


class Admin(BaseModel):
    name: str
    rights: list[str]


class Part(Partial[User]):  # type: ignore[misc]
    more: str


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


def other_user() -> type[BaseModel]:
    class User(BaseModel):
        name: str
        years: int

    User.__qualname__ = "User"
    return User


SAY = [{"role": "user", "content": "who"}]
URL = "http://localhost:1/v1"


def sdk(**kwargs: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(**{"api_key": "key-1", "base_url": URL, **kwargs})


def client(
    of: Any = None,
    *,
    cache: Cache | None = None,
    mode: Mode = Mode.TOOLS,
    cached_with: dict[str, Any] | None = None,
    **kwargs: Any,
) -> instructor.AsyncInstructor:
    bare = instructor.from_openai(of or sdk(), mode=mode, **{"model": "m", **kwargs})
    return cached(bare, cache or Cache(), **(cached_with or {}))


def ask(of: Any = None, **kwargs: Any) -> str:
    return key_of(of or client(), **{"response_model": User, "messages": SAY, **kwargs}).hex


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [{"role": "user", "content": "what"}]},
        {"messages": [{"role": "system", "content": "who"}]},
        {"messages": [*SAY, *SAY]},
        {"model": "other"},
        {"temperature": 0},
        {"temperature": 0.5},
        {"max_tokens": 5},
        {"seed": 1},
        {"stop": ["x"]},
        {"a_parameter_of_next_year": True},
        {"extra_headers": {"X-Tenant": "a"}},
        {"extra_query": {"a": "b"}},
        {"extra_body": {"a": "b"}},
        {"context": {"a": 1}},
        {"strict": False},
        {"cache_vary": "v"},
        {"response_model": Admin},
        {"response_model": other_user()},
        {"response_model": list[User]},
        {"response_model": Iterable[User]},
        {"response_model": Optional[User]},
        {"response_model": Union[User, Admin]},
        {"response_model": Union[Admin, User]},
        {"response_model": Maybe(User)},
        {"response_model": Literal["a", "b"]},
        {"response_model": Literal["b", "a"]},
        {"response_model": int},
        {"response_model": None},
        {"response_model": Tree},
        {"response_model": Part},
    ],
    ids=repr,
)
def test_what_can_change_the_answer_separates(change: dict[str, Any]) -> None:
    assert ask(**change) != ask()


def test_the_variants_are_all_different() -> None:
    """Of one change with several values, every value is a key of its own."""
    variants = [
        {"response_model": Union[User, Admin]},
        {"response_model": Union[Admin, User]},
        {"response_model": Literal["a", "b"]},
        {"response_model": Literal["b", "a"]},
        {"temperature": 0},
        {"temperature": 0.0},
        {"temperature": None},
        {"temperature": False},
        {"response_model": list[User]},
        {"response_model": Iterable[User]},
        {"response_model": Part},
    ]
    assert len({ask(**variant) for variant in variants}) == len(variants)


@pytest.mark.parametrize(
    "change",
    [
        {"hooks": instructor.hooks.Hooks()},
        {"max_retries": 7},
        {"timeout": 5},
        {"timeout": openai.Timeout(5)},
        {"token_budget": 1_000},
        {"stream": True},
        {"stream_options": {"include_usage": True}},
        {"response_model": Partial[User]},
        {"temperature": openai.NOT_GIVEN},
        {"temperature": openai.omit},
        {"extra_headers": {"User-Agent": "me"}},
        {"extra_body": None},
        {"context": None},
        {"strict": True},
        {"model": "m"},
        {"cache_ttl": 5},
        {"cache_mode": "refresh"},
        {"cache": None},
    ],
    ids=repr,
)
def test_what_cannot_change_the_answer_does_not_separate(change: dict[str, Any]) -> None:
    assert ask(**change) == ask()


@pytest.mark.parametrize(
    "settings",
    [
        {"default_headers": {"X-Pod": "7"}},
        {"timeout": 5},
        {"max_retries": 9},
        {"base_url": URL + "/"},
    ],
    ids=repr,
)
def test_settings_of_the_sdk_that_do_not_separate(settings: dict[str, Any]) -> None:
    assert ask(client(sdk(**settings))) == ask()


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": "key-2"},
        {"base_url": "http://localhost:2/v1"},
        {"organization": "o"},
        {"project": "p"},
        {"default_headers": {"Authorization": "Bearer b"}},
        {"default_headers": {"OpenAI-Organization": "o"}},
        {"default_headers": {"openai-project": "p"}},
        {"default_headers": {"Ocp-Apim-Subscription-Key": "k"}},
        {"default_headers": {"cf-aig-authorization": "Bearer b"}},
        {"default_headers": {"Helicone-Auth": "Bearer b"}},
        {"default_headers": {"x-portkey-virtual-key": "k"}},
        {"default_query": {"api-version": "2"}},
    ],
    ids=repr,
)
def test_endpoint_and_account_separate(settings: dict[str, Any]) -> None:
    assert ask(client(sdk(**settings))) != ask()


def test_settings_changed_on_a_living_client_count() -> None:
    living = sdk()
    of = client(living)
    before = ask(of)
    living.api_key = "key-2"
    assert ask(of) == ask(client(sdk(api_key="key-2"))) != before
    living.api_key = "key-1"
    assert ask(of) == before


def test_a_named_account_stands_for_its_keys() -> None:
    """A fleet with several API keys is one account if it says so."""
    one, two = (
        client(sdk(api_key=key), cached_with={"account": "fleet"}) for key in ("key-1", "key-2")
    )
    assert ask(one) == ask(two)
    assert ask(one) != ask()
    assert ask(one) != ask(client(cached_with={"account": "other"}))
    elsewhere = sdk(base_url="http://localhost:2/v1")
    assert ask(one) != ask(client(elsewhere, cached_with={"account": "fleet"}))


async def test_a_rotating_key_is_no_account() -> None:
    keys = iter(["key-1", "key-2"])

    async def next_key() -> str:
        return next(keys)

    rotating = sdk(api_key=next_key)
    of = client(rotating)
    before = ask(of)
    await rotating._refresh_api_key()
    assert rotating.api_key == "key-1"
    assert ask(of) == before


def test_mode_and_provider_separate() -> None:
    keys = {ask(client(mode=mode)) for mode in (Mode.TOOLS, Mode.JSON, Mode.RESPONSES_TOOLS)}
    anthropic = AsyncAnthropic(api_key="key-1", base_url=URL)
    keys.add(ask(cached(instructor.from_anthropic(anthropic, model="m"), Cache())))
    assert len(keys) == 4


def test_responses_clients_of_two_accounts_separate() -> None:
    """Here instructor's own function hides the SDK client in a `functools.partial`."""
    one, two = (client(sdk(api_key=key), mode=Mode.RESPONSES_TOOLS) for key in ("a", "b"))
    assert ask(one) != ask(two)


def test_litellm_has_its_account_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no client to look into; arguments and the module's own settings count too."""

    def of(**kwargs: Any) -> str:
        bare = instructor.from_litellm(litellm.acompletion, model="m")
        return ask(cached(bare, Cache(), **kwargs))

    living = cached(instructor.from_litellm(litellm.acompletion, model="m"), Cache())
    monkeypatch.setenv("OPENAI_API_KEY", "key-1")
    before, named = of(), of(account="fleet")
    assert ask(living) == before
    assert ask(living, api_key="key-3") != before
    monkeypatch.setenv("OPENAI_API_KEY", "key-2")
    assert ask(living) == of() != before
    assert of(account="fleet") == named
    monkeypatch.setenv("OPENAI_API_KEY", "key-1")
    assert ask(living) == before
    monkeypatch.setattr(litellm, "api_key", "key-4")
    assert ask(living) != before


@pytest.mark.parametrize("name", ["openai_key", "anthropic_key", "azure_key", "api_base"])
def test_litellm_settings_of_its_module_separate(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    living = cached(instructor.from_litellm(litellm.acompletion, model="m"), Cache())
    before = ask(living)
    monkeypatch.setattr(litellm, name, "another")
    assert ask(living) != before


@pytest.mark.parametrize(
    "name", ["AWS_ACCESS_KEY_ID", "AWS_REGION_NAME", "DATABRICKS_TOKEN", "VERTEXAI_PROJECT"]
)
def test_litellm_logins_and_places_in_the_environment_separate(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    living = cached(instructor.from_litellm(litellm.acompletion, model="m"), Cache())
    before = ask(living)
    monkeypatch.setenv(name, "another")
    assert ask(living) != before


def test_what_is_bound_to_a_bare_function_separates() -> None:
    """A partial's own key, and the deployments of a router, are whose calls these are."""

    def router(key: str) -> Any:
        told = {"model": "openai/m", "api_key": key}
        return litellm.Router([{"model_name": "m", "litellm_params": told}]).acompletion

    def bound(key: str) -> Any:
        return functools.partial(litellm.acompletion, api_key=key)

    def of(function: Any) -> str:
        return ask(cached(instructor.from_litellm(function, model="m"), Cache()))

    for make in (router, bound):
        assert of(make("key-1")) == of(make("key-1"))
        assert of(make("key-1")) != of(make("key-2"))


def test_a_constructor_default_is_the_same_as_an_argument() -> None:
    assert ask(client(temperature=0.5)) == ask(temperature=0.5)
    assert ask(client(temperature=0.5), temperature=0.7) == ask(temperature=0.7)
    assert ask(client(model="x")) == ask(model="x")


async def test_the_model_hidden_in_from_provider_counts() -> None:
    """Also for a call, whose key is made at once where its arguments are plain."""
    one, two = (
        cached(instructor.from_provider(f"openai/{name}", async_client=True, api_key="k"), Cache())
        for name in ("x", "y")
    )
    assert ask(one) != ask(two)
    assert ask(one) == ask(two, model="x")
    with pytest.raises(CacheMiss, match=ask(one)[:16]):
        await one.create(response_model=User, messages=SAY, cache_mode="only")


def test_namespace_of_the_cache_and_of_the_client() -> None:
    key = key_of(client(cache=Cache(namespace="a")), response_model=User, messages=SAY)
    assert key.namespace == "a"
    assert key_of(client(cached_with={"namespace": "a"}), response_model=User, messages=SAY) == key


def test_the_namespace_stands_beside_the_digest() -> None:
    """It separates wherever there are keys; the digest is that of the question alone."""
    here, there = (
        key_of(client(), response_model=User, messages=SAY, **more)
        for more in ({}, {"cache_namespace": "other"})
    )
    assert here != there
    assert (here.digest, there.namespace) == (there.digest, "other")


def test_a_secret_keys_the_digests() -> None:
    one, two = (client(cache=Cache(secret=secret * 16)) for secret in (b"a", b"b"))
    assert len({ask(one), ask(two), ask()}) == 3


# --- media ----------------------------------------------------------------------------------------


class Message(dict[str, Any]):
    """As SDKs have them: a dict with attributes."""


PNG = b"\x89PNG\r\n\x1a\n"


def shown(*parts: Any, **kwargs: Any) -> str:
    return ask(messages=[{"role": "user", "content": ["look", *parts]}], **kwargs)


def test_local_files_count_by_their_bytes(tmp_path: Path) -> None:
    one, same, two = (tmp_path / name for name in ("1.png", "2.png", "3.png"))
    one.write_bytes(PNG + b"1")
    same.write_bytes(PNG + b"1")
    two.write_bytes(PNG + b"2")
    assert shown(Image.from_path(one)) == shown(Image.from_path(same))
    assert shown(Image.from_path(one)) != shown(Image.from_path(two))
    assert shown(one) == shown(same) != shown(two)
    unread = [Image(source=path, media_type="image/png") for path in (one, same, two)]
    assert shown(unread[0]) == shown(unread[1]) != shown(unread[2])
    assert shown(str(one), autodetect_images=True) == shown(str(same), autodetect_images=True)
    assert shown(str(one), autodetect_images=True) != shown(str(two), autodetect_images=True)
    before = shown(one)
    one.write_bytes(PNG + b"3")
    assert shown(one) != before


@pytest.mark.parametrize("kind", [list, tuple, OrderedDict, Message])
def test_media_count_in_every_container(kind: Any, tmp_path: Path) -> None:
    """Instructor takes messages and their contents in any of these."""
    place = tmp_path / "1.png"

    def of() -> str:
        parts: Any = ["look", Image(source=place, media_type="image/png")]
        message: Any = {"role": "user", "content": parts}
        if kind is tuple:
            message["content"] = tuple(parts)
        return ask(messages=[kind(message)] if kind not in (list, tuple) else kind([message]))

    place.write_bytes(PNG + b"1")
    before = of()
    assert of() == before
    place.write_bytes(PNG + b"2")
    assert of() != before


def test_media_by_kind_and_data() -> None:
    keys = {
        shown(Image(source="x", media_type="image/png", data="AA==")),
        shown(Image(source="x", media_type="image/png", data="AB==")),
        shown(Image(source="x", media_type="image/gif", data="AA==")),
        shown(Audio(source="x", media_type="audio/wav", data="AA==")),
        shown(PDF(source="x", data="AA==")),
        shown(PDF(source="https://a/b.pdf")),
        shown(PDF(source="https://a/c.pdf")),
        shown(Image(source="https://a/b.png", media_type="image/png")),
    }
    assert len(keys) == 8
    assert shown(PDF(source="x", data="AA==")) == shown(PDF(source="y", data="AA=="))


def test_a_file_that_is_not_there_names_the_argument(tmp_path: Path) -> None:
    with pytest.raises(Unkeyable, match=r"messages\[0\]\.content\[1\]"):
        shown(tmp_path / "none.png")


# --- what has no key ------------------------------------------------------------------------------


def test_what_cannot_be_keyed_names_the_argument() -> None:
    with pytest.raises(Unkeyable, match=r"^extra_body\.x: "):
        ask(extra_body={"x": object()})
    with pytest.raises(Unkeyable, match=r"^cache_vary\.x: "):
        ask(cache_vary={"x": object()})
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(Unkeyable, match="messages"):
        ask(messages=endless)


def test_lone_surrogates_have_a_key() -> None:
    assert ask(messages=[{"role": "user", "content": "\ud800"}]) != ask(
        messages=[{"role": "user", "content": "\udfff"}]
    )


def test_key_of_takes_cached_clients_only() -> None:
    with pytest.raises(ConfigurationError, match="cached"):
        key_of(instructor.from_openai(sdk()), response_model=User, messages=SAY)


def test_a_rebuilt_model_is_another_question() -> None:
    class Inner(BaseModel):
        a: int

    class Outer(BaseModel):
        inner: Inner

    before = ask(response_model=Outer)
    assert ask(response_model=Outer) == before
    Inner.model_fields["a"].annotation = str
    Inner.model_rebuild(force=True)
    Outer.model_rebuild(force=True)
    assert ask(response_model=Outer) != before


def changed_text(model: Any, inner: Any) -> None:
    model.__doc__ = "Other."


def changed_inner_text(model: Any, inner: Any) -> None:
    inner.__doc__ = "Other."


def changed_description(model: Any, inner: Any) -> None:
    model.model_fields["name"].description = "other"


@pytest.mark.parametrize("of", [lambda m: m, lambda m: list[m], Optional.__getitem__, Maybe])
@pytest.mark.parametrize("change", [changed_text, changed_inner_text, changed_description])
def test_what_is_told_of_a_model_counts_as_it_is_now(of: Any, change: Any) -> None:
    """A prompt that is written into a model at run time is what the provider is asked."""

    class Inner(BaseModel):
        """An inner."""

        name: str

    class Outer(BaseModel):
        """An outer."""

        name: str = Field(description="one")
        inner: Inner

    def sent() -> Any:
        return prepare_response_model(of(Outer)).openai_schema

    before, was = ask(response_model=of(Outer)), sent()
    assert ask(response_model=of(Outer)) == before
    change(Outer, Inner)
    assert (ask(response_model=of(Outer)) != before) == (sent() != was)
    if of(Outer) is Outer:
        assert sent() != was


def test_parts_of_a_model_with_words_of_their_own() -> None:
    """`Partial[T]` is `T`'s question until its author makes another one of it."""

    class Known(BaseModel):
        """A person."""

        name: str

    part: Any = Partial[Known]
    assert ask(response_model=part) == ask(response_model=Known)
    part.__doc__ = "A dog."
    assert ask(response_model=part) != ask(response_model=Known)
    again: Any = Partial[Known]
    assert ask(response_model=again) == ask(response_model=Known)


def test_the_key_stays_what_it_is() -> None:
    """Another digest here empties every cache in use: then `_VERSION` has to change, too."""
    assert [
        ask(response_model=None),
        ask(response_model=None, temperature=0.5, context={"a": [1, 2.5, None]}, cache_vary="v"),
        ask(response_model=int),
    ] == GOLDEN


GOLDEN = [
    "510d1344e4551074dc184a69d4fe6b26ce7fdba9f5d231c5206346aa74cc2fa2",
    "43c4c4ed16b0c1c925b3ec1e4df4c4cf0d3bb4cfdcd758f8cf690efed8a83490",
    "79a6846e0809516baea19f1a1f1e7661a1acf003fda36eecf192fed2ba14aab3",
]

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import test_instructor_key
print(test_instructor_key.ask())
"""


def test_another_process_has_the_same_key() -> None:
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7"},
    )
    assert told.stdout.strip() == ask()
