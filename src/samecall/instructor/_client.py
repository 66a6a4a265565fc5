"""`cached`: a client of instructor whose identical calls are made once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar, cast, overload

from anyio import to_thread
from instructor.cache import BaseCache
from instructor.v2.core.client import AsyncInstructor, Instructor
from instructor.v2.core.hooks import Hooks
from instructor.v2.validation.async_validators import reject_async_validators
from tenacity import AsyncRetrying

from samecall._arguments import check_namespace
from samecall._cache import Cache
from samecall._entry import Key
from samecall._errors import ConfigurationError
from samecall._policy import Policy
from samecall._warming import Warmed
from samecall.instructor._answer import Answer
from samecall.instructor._calls import Calls
from samecall.instructor._derived import canonical_of
from samecall.instructor._models import is_iterable
from samecall.instructor._options import Settings, check_cache
from samecall.instructor._streams import AsyncStreams
from samecall.instructor._sync import CachedInstructor

__all__ = ["CachedAsyncInstructor", "cached", "key_of", "warm"]

T = TypeVar("T")


class CachedAsyncInstructor(AsyncInstructor):
    """An `AsyncInstructor` that asks the cache first; made by `cached`."""

    def __init__(self, original: AsyncInstructor, settings: Settings) -> None:
        self._samecall_original = original
        self._samecall_calls = calls = Calls(original, original.create_fn, settings)
        self._samecall_streams = AsyncStreams(calls, original.create_fn, original.client)
        super().__init__(
            client=original.client,
            create=self._samecall_create,
            mode=original.mode,
            provider=original.provider,
            hooks=original.hooks.copy(),
            **original.kwargs,
        )
        self.default_model = original.default_model

    async def create(  # type: ignore[override]
        self,
        response_model: type[T] | None,
        messages: list[Any],
        max_retries: int | AsyncRetrying = 3,
        context: dict[str, Any] | None = None,
        strict: bool = True,
        hooks: Hooks | None = None,
        token_budget: int | None = None,
        **kwargs: Any,
    ) -> T | Any:
        calls = self._samecall_calls
        if is_iterable(response_model) and not calls.parallel:
            # instructor streams these, and its own create says how
            return await super().create(
                response_model,
                messages,
                max_retries,
                context,
                strict,
                hooks,
                token_budget,
                **kwargs,
            )
        if token_budget is not None:
            kwargs["token_budget"] = token_budget
        asked = self._samecall_asked(
            response_model, messages, max_retries, context, strict, hooks, kwargs
        )
        if calls.streams(asked):
            return await self._samecall_streams.open(asked)
        answer = calls.begin(asked)
        return (answer if isinstance(answer, Answer) else await answer).value

    async def create_partial(  # type: ignore[override]
        self,
        response_model: type[T],
        messages: list[Any],
        max_retries: int | AsyncRetrying = 3,
        context: dict[str, Any] | None = None,
        strict: bool = True,
        hooks: Hooks | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[T]:
        reject_async_validators(response_model)
        model = canonical_of("partial", response_model)
        asked = self._samecall_asked(model, messages, max_retries, context, strict, hooks, kwargs)
        async with aclosing(await self._samecall_create(**{**asked, "stream": True})) as items:
            async for item in items:
                yield item

    async def create_iterable(  # type: ignore[override]
        self,
        messages: list[Any],
        response_model: type[T],
        max_retries: int | AsyncRetrying = 3,
        context: dict[str, Any] | None = None,
        strict: bool = True,
        hooks: Hooks | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[T]:
        reject_async_validators(response_model)
        model: Any = cast("Any", Iterable)[response_model]
        asked = self._samecall_asked(model, messages, max_retries, context, strict, hooks, kwargs)
        async with aclosing(await self._samecall_create(**{**asked, "stream": True})) as items:
            async for item in items:
                yield item

    async def create_with_completion(  # type: ignore[override]
        self,
        messages: list[Any],
        response_model: type[T],
        max_retries: int | AsyncRetrying = 3,
        context: dict[str, Any] | None = None,
        strict: bool = True,
        hooks: Hooks | None = None,
        **kwargs: Any,
    ) -> tuple[T, Any]:
        asked = self._samecall_asked(
            response_model, messages, max_retries, context, strict, hooks, kwargs
        )
        if self._samecall_calls.streams(asked):
            value = await self._samecall_create(**asked)
            return value, value._raw_response
        answer = await self._samecall_calls.answer(asked)
        return answer.value, answer.raw

    def _samecall_asked(
        self,
        response_model: Any,
        messages: list[Any],
        max_retries: int | AsyncRetrying,
        context: dict[str, Any] | None,
        strict: bool,
        hooks: Hooks | None,
        kwargs: dict[str, Any],
    ) -> dict[str, Any]:
        # a repeated argument is the same TypeError as with the bare client
        return dict(
            response_model=response_model,
            context=context,
            max_retries=max_retries,
            messages=messages,
            strict=strict,
            hooks=self.hooks if hooks is None else self.hooks + hooks,
            **self.handle_kwargs(kwargs),
        )

    async def _samecall_create(self, **asked: Any) -> Any:
        calls = self._samecall_calls
        if calls.streams(asked):
            return await self._samecall_streams.open(asked)
        answer: Answer = await calls.answer(asked)
        return answer.value


@overload
def cached(
    client: AsyncInstructor,
    cache: Cache,
    *,
    policy: Policy | None = None,
    namespace: str | None = None,
    account: str | None = None,
) -> AsyncInstructor: ...


@overload
def cached(
    client: Instructor,
    cache: Cache,
    *,
    policy: Policy | None = None,
    namespace: str | None = None,
    account: str | None = None,
) -> Instructor: ...


def cached(
    client: AsyncInstructor | Instructor,
    cache: Cache,
    *,
    policy: Policy | None = None,
    namespace: str | None = None,
    account: str | None = None,
) -> AsyncInstructor | Instructor:
    """A new client whose identical calls are made once; `client` itself stays as it is.

    policy: overrides the cache's. namespace: overrides the cache's. account: names whose calls
    these are, where several API keys, or one that rotates, belong together; without it every API
    key is an account of its own. Raises `ConfigurationError`.
    """
    check_cache(cache, "cache")
    if policy is not None and not isinstance(policy, Policy):
        raise ConfigurationError(f"policy takes a Policy; got {type(policy).__name__}")
    if namespace is not None:
        check_namespace(namespace)
    if account is not None and (not isinstance(account, str) or not account):
        raise ConfigurationError(f"account takes a non-empty string; got {account!r:.60}")
    original = getattr(client, "_samecall_original", client) if _is_ours(client) else client
    settings = Settings(cache, policy, namespace, account)
    if isinstance(original, Instructor):
        _check_kwargs(original)
        if isinstance(original, AsyncInstructor):
            return CachedAsyncInstructor(original, settings)
        return CachedInstructor(original, settings)
    raise ConfigurationError(
        "client takes an AsyncInstructor or Instructor, as made by instructor.from_provider(...) "
        f"or instructor.from_openai(...); got {type(client).__name__}"
    )


def key_of(client: AsyncInstructor | Instructor, **kwargs: Any) -> Key:
    """The key of what `client.create(**kwargs)` would ask for; local files are read at once.

    Raises `Unkeyable` for arguments without a canonical form, `ConfigurationError` for a client
    that `cached` did not make.
    """
    if not _is_ours(client):
        raise ConfigurationError(
            f"client takes what samecall.instructor.cached returned; got {type(client).__name__}"
        )
    asked = client.handle_kwargs(dict(kwargs))
    asked.setdefault("strict", True)
    calls: Calls = client._samecall_calls
    return calls.key(asked)


async def warm(
    client: AsyncInstructor | Instructor,
    asked: Iterable[Mapping[str, Any]],
    *,
    concurrency: int = 8,
    progress: Callable[[Warmed], None] | None = None,
) -> Warmed:
    """Make `client.create(**each)` of all in `asked`, at most `concurrency` at a time.

    So that their answers are kept. progress: told after each. Errors of calls are counted and do
    not end it. Raises `ConfigurationError` for a client that `cached` did not make.
    """
    if not _is_ours(client):
        raise ConfigurationError(
            f"client takes what samecall.instructor.cached returned; got {type(client).__name__}"
        )

    def call(each: Mapping[str, Any]) -> Callable[[], Awaitable[Any]]:
        if not isinstance(each, Mapping):
            raise ConfigurationError(f"asked takes dicts of arguments; got {type(each).__name__}")
        if isinstance(client, CachedInstructor):
            return lambda: to_thread.run_sync(_create_and_read, client, each)
        return partial(client.create, **each)

    cache: Cache = client._samecall_calls.settings.cache
    calls = (call(each) for each in asked)
    return await cache.warm(calls, concurrency=concurrency, progress=progress)


def _create_and_read(client: Instructor, asked: Mapping[str, Any]) -> None:
    answer: object = client.create(**asked)
    if isinstance(answer, Iterator):  # a stream: all of it is to be there
        for _ in cast("Iterator[object]", answer):
            pass


def _is_ours(client: object) -> bool:
    return isinstance(client, (CachedAsyncInstructor, CachedInstructor))


def _check_kwargs(client: Instructor) -> None:
    native = client.kwargs.get("cache")
    if isinstance(native, BaseCache):
        raise ConfigurationError(
            "client has a cache of instructor's own (cache=...), which cannot be combined with "
            "this one: make it without"
        )
