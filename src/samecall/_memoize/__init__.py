"""`Cache.memoize`: any function's calls, made once."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from functools import partial, wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast, overload

from samecall._arguments import check_namespace, check_tags, instance
from samecall._errors import ConfigurationError
from samecall._memoize.answers import codec_for
from samecall._memoize.asked import Asking
from samecall._memoize.hints import signature_of
from samecall._memoize.kept import Answering, Kept, Tags
from samecall._memoize.memoized import BlockingMemoized, Memoized, MemoizedStream, OfClass
from samecall._policy import Duration, Policy, is_async, seconds
from samecall._portal import in_threads

__all__ = ["BlockingMemoized", "Memoized", "MemoizedStream", "Memoizer", "Memoizing"]

P = ParamSpec("P")
R = TypeVar("R")
_ClassMethod: TypeAlias = "classmethod[Any, Any, Any]"


class Memoizer:
    """`@cache.memoize(...)`: takes the function."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Memoized[P, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, AsyncIterator[R]], /
    ) -> MemoizedStream[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> BlockingMemoized[P, R]: ...
    @overload
    def __call__(self, function: _ClassMethod, /) -> Any: ...
    def __call__(self, function: Callable[..., Any] | _ClassMethod, /) -> Any:
        return self._make(function)


class Memoizing:
    """The half of a cache that serves functions."""

    policy: Policy
    keeps_requests: bool = False

    @overload
    def memoize(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Memoized[P, R]: ...
    @overload
    def memoize(  # type: ignore[overload-overlap]
        self, function: Callable[P, AsyncIterator[R]], /
    ) -> MemoizedStream[P, R]: ...
    @overload
    def memoize(self, function: Callable[P, R], /) -> BlockingMemoized[P, R]: ...
    @overload
    def memoize(self, function: _ClassMethod, /) -> Any: ...
    @overload
    def memoize(
        self,
        function: None = None,
        /,
        *,
        policy: Policy | None = None,
        ttl: Duration | None = None,
        key: Callable[..., object] | None = None,
        ignore: Collection[str] = (),
        version: str | int = 0,
        namespace: str | None = None,
        tags: Tags = (),
        codec: object = None,
    ) -> Memoizer: ...
    def memoize(
        self,
        function: Callable[..., Any] | _ClassMethod | None = None,
        /,
        *,
        policy: Policy | None = None,
        ttl: Duration | None = None,
        key: Callable[..., object] | None = None,
        ignore: Collection[str] = (),
        version: str | int = 0,
        namespace: str | None = None,
        tags: Tags = (),
        codec: object = None,
    ) -> Any:
        """Make each call of a function once: `@cache.memoize` or `@cache.memoize(...)`.

        function: async, an async generator, or synchronous (then it runs in a worker thread). Its
            answers are pydantic models, msgspec Structs, dataclasses, plain JSON data or lists,
            dicts and Optionals of them, as its annotation says.
        policy: overrides the cache's. ttl: overrides the policy's (seconds or a `timedelta`).
        key: makes, of the arguments, what counts in their place: any plain value, or a `Key`.
        ignore: names of arguments that do not count, such as "self".
        version: change it when the function answers differently.
        namespace: overrides the cache's.
        tags: names for `forget_tag`, or a function of the arguments that gives them.
        codec: a `Codec`, or the type of the answers where the annotation does not say it.

        What counts is the function's module and name, `version`, the shape of its answers and
        every argument, however it is given. A call with an argument that has no canonical form
        goes uncached, with one warning. Raises `ConfigurationError`.
        """
        kept_as = self._kept_as(policy, ttl, namespace, codec)
        kept_as["tags"] = tags if callable(tags) else check_tags(tags)
        _check(key, ignore, version)
        for name, chooses in (("key", key), ("tags", tags)):
            if is_async(chooses):
                raise ConfigurationError(f"{name} takes a plain function; this one is async")

        def make(given: Any) -> Any:
            if _is_class_method(given):
                return OfClass(make(given.__func__))
            call = _called(given)
            layers = _layers(given)
            asking = Asking(given, version=version, ignore=ignore, chosen=key, layers=layers)
            kind = _kind(given)
            streams = kind is MemoizedStream
            kept = Kept(cast("Answering", self), given, call, asking, streams=streams, **kept_as)
            return kind(kept)

        return Memoizer(make) if function is None else make(function)

    def _kept_as(
        self, policy: Policy | None, ttl: Duration | None, namespace: str | None, codec: object
    ) -> dict[str, Any]:
        if policy is not None:
            instance(policy, Policy, "policy")
        if ttl is not None:
            policy = (policy or self.policy).replace(ttl=seconds(ttl, "ttl"))
        if namespace is not None:
            check_namespace(namespace)
        reads = codec if codec is None or _is_codec(codec) else codec_for(codec)
        return {"policy": policy, "namespace": namespace, "codec": reads}


def _check(key: object, ignore: object, version: object) -> None:
    if key is not None and not callable(key):
        raise ConfigurationError(f"key takes a function; got {type(key).__name__}")
    if isinstance(ignore, str) or not isinstance(ignore, Collection):
        raise ConfigurationError(f"ignore takes names in a list or tuple; got {ignore!r:.60}")
    if isinstance(version, bool) or not isinstance(version, (str, int)):
        raise ConfigurationError(f"version takes a string or whole number; got {version!r:.60}")


def _layers(function: Any) -> int:
    """How many caches there are around it already."""
    count = 0
    while function is not None:
        count += isinstance(function, (Memoized, MemoizedStream, BlockingMemoized))
        function = getattr(function, "__wrapped__", None)
    return count


def _kind(function: Callable[..., Any]) -> type[Any]:
    if _streams(function):
        return MemoizedStream
    return Memoized if is_async(function) else BlockingMemoized


def _streams(function: Any) -> bool:
    return isinstance(function, MemoizedStream) or inspect.isasyncgenfunction(function)


def _is_class_method(thing: Any) -> bool:
    return isinstance(thing, classmethod)


def _is_codec(thing: object) -> bool:
    return not isinstance(thing, type) and hasattr(thing, "encode") and hasattr(thing, "decode")


def _called(function: Any) -> Callable[..., Awaitable[Any]]:
    """How a function is called without blocking; an async one as it is."""
    if isinstance(function, staticmethod):
        raise ConfigurationError("put @staticmethod above @cache.memoize")
    if isinstance(function, partial):
        raise ConfigurationError("memoize takes a function; take the partial of the memoized one")
    if not callable(function) or not hasattr(function, "__qualname__"):
        raise ConfigurationError(
            f"memoize takes a function or method; got {type(function).__name__}"
        )
    if function.__qualname__.endswith("<lambda>"):  # as the next one is called, too
        raise ConfigurationError("memoize takes a function with a name; got a lambda")
    _check_signature(function)
    if is_async(function) or _streams(function):
        return cast("Callable[..., Awaitable[Any]]", function)
    if inspect.isgeneratorfunction(function):
        raise ConfigurationError(
            f"memoize takes no generator: let {function.__qualname__} return a list, "
            "or make it an async generator"
        )
    if isinstance(function, type):
        raise ConfigurationError(f"memoize takes a function; got the class {function.__qualname__}")
    return _in_a_thread(function)


def _check_signature(function: Any) -> None:
    try:
        signature_of(function)
        told = hasattr(function, "__module__")
    except (ValueError, TypeError):
        told = False
    if not told:  # some that are built in
        raise ConfigurationError(
            f"memoize takes a function that tells its arguments; {function.__qualname__} does not: "
            "write one around it"
        )


def _in_a_thread(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    in_a_thread = in_threads(function)

    @wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        answer = await in_a_thread(*args, **kwargs)
        if inspect.isawaitable(answer):
            if inspect.iscoroutine(answer):
                answer.close()
            raise ConfigurationError(
                f"{function.__qualname__} returned an awaitable: make it an async function"
            )
        if isinstance(answer, AsyncIterator):
            raise ConfigurationError(
                f"{function.__qualname__} returned an async iterator: make it an async generator"
            )
        return answer

    return call
