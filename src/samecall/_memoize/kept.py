"""The calls of one function, asked of a cache."""

from __future__ import annotations

import functools
import weakref
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol, TypeVar

from samecall._arguments import Mode
from samecall._asked import AskedKey
from samecall._entry import Key
from samecall._errors import Unkeyable
from samecall._memoize.answers import (
    AnswersCodec,
    ItemsCodec,
    WholeCodec,
    codec_of,
    item_of,
    result_of,
)
from samecall._memoize.asked import Asking
from samecall._memoize.hints import Filling
from samecall._memoize.own import own, own_items
from samecall._policy import Policy
from samecall._ports import Codec, StreamCodec
from samecall._warn import warn

__all__ = ["Answering", "Kept", "Tags"]

T = TypeVar("T")
_known: weakref.WeakKeyDictionary[Answering, dict[object, object]] = weakref.WeakKeyDictionary()
"""Where the functions of a cache stand, by their names."""
_FILLED = 256
Tags = Collection[str] | Callable[..., Collection[str]]
"""Tags, or what makes them of the arguments."""


class Answering(Protocol):
    """What a memoized function needs of a cache."""

    namespace: str
    secret: bytes | None
    policy: Policy
    keeps_requests: bool
    """Whether what is asked is kept beside the answer, as `asked=` tells it."""

    async def get_or_call(
        self,
        key: str | bytes | Key,
        call: Callable[[], Awaitable[T]],
        *,
        policy: Policy | None = None,
        codec: Codec[T] | None = None,
        mode: Mode = "use",
        tags: Collection[str] = (),
        asked: object = None,
    ) -> T:
        """See `Cache`."""
        ...

    def stream(
        self,
        key: str | bytes | Key,
        call: Callable[[], Awaitable[AsyncIterator[T]]],
        *,
        policy: Policy | None = None,
        codec: StreamCodec[T] | None = None,
        mode: Mode = "use",
        tags: Collection[str] = (),
        asked: object = None,
    ) -> AsyncGenerator[T]:
        """See `Cache`."""
        ...

    async def peek(
        self,
        key: str | bytes | Key,
        *,
        codec: Codec[T] | None = None,
        policy: Policy | None = None,
    ) -> T | None:
        """See `Cache`."""
        ...

    async def forget(self, key: str | bytes | Key, *, policy: Policy | None = None) -> None:
        """See `Cache`."""
        ...

    def report_uncached(self, reason: str) -> None:
        """See `Cache`."""
        ...

    async def aclose(self) -> None:
        """See `Cache`."""
        ...


class Kept:
    """A function, and how its calls are kept; `call` is how it is called, never blocking."""

    def __init__(
        self,
        cache: Answering,
        function: Callable[..., Any],
        call: Callable[..., Awaitable[Any]],
        asking: Asking,
        *,
        policy: Policy | None,
        namespace: str | None,
        tags: Tags,
        codec: Codec[Any] | None,
        streams: bool,
    ) -> None:
        self.cache = cache
        self.function = function
        self._call = call
        self._streams = streams
        self._asking = asking
        self._policy = policy
        self._namespace = namespace
        self._tags = tags
        self._given = codec
        self._filled: OrderedDict[object, Codec[Any]] = OrderedDict()

    @functools.cached_property
    def codec(self) -> Codec[Any]:
        """How answers are stored; known from the first call on, when all names are defined."""
        return self._given if self._given is not None else codec_of(self._result)

    @functools.cached_property
    def _result(self) -> object:
        result = result_of(self.function)
        return item_of(result) if self._streams else result

    @functools.cached_property
    def _filling(self) -> Filling | None:
        filling = None if self._given is not None else Filling(self.function, self._result)
        return filling or None

    def codec_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Codec[Any]:
        """How the answer of this call is stored: `T` is the class that it names."""
        if self._filling is None:
            return self.codec
        result = self._filling.of(self._asking.named(args, kwargs))
        if result is None:
            return self.codec
        try:
            codec = self._filled.get(result)
        except TypeError:  # an annotation that has no hash
            return codec_of(result)
        if codec is None:
            while len(self._filled) >= _FILLED:  # of classes that are made as one goes
                self._filled.popitem(last=False)
            codec = self._filled[result] = codec_of(result)
        return codec

    @functools.cached_property
    def _schema(self) -> bytes:
        schema = _schema_of(self.codec)
        name = (self._asking.of(schema), self._namespace)
        place = self._asking.place()
        if _known.setdefault(self.cache, {}).setdefault(name, place) != place:
            warn(
                f"two functions are called {self._asking.name} and have each other's answers; tell "
                "them apart by their names (in a decorator: functools.wraps) or version=",
                3,
            )
        return schema

    def key(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], codec: Codec[Any] | None = None
    ) -> Key:
        """The key of a call; raises `Unkeyable` and what the function's signature refuses."""
        schema = self._schema
        if self._filling is not None:
            schema = _schema_of(codec or self.codec_of(args, kwargs))
        return self._asking.key(
            args,
            kwargs,
            schema=schema,
            namespace=self._namespace or self.cache.namespace,
            secret=self.cache.secret,
        )

    def named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AskedKey:
        """The key of a call for those who ask by it: it knows the codec, and of all variants."""
        codec = self.codec_of(args, kwargs)
        key = self.key(args, kwargs, codec)
        return AskedKey(key.digest, key.namespace, self._whole(codec), self._policy)

    async def answer(self, args: tuple[Any, ...], kwargs: dict[str, Any], mode: Mode) -> Any:
        """The answer of the function, kept or new."""
        return await self.asking(args, kwargs, mode)()

    def asking(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], mode: Mode
    ) -> Callable[[], Awaitable[Any]]:
        """What gives the answer, in whatever event loop; the key is made here and now.

        `key=` and `tags=` are somebody's functions: they may ask synchronously themselves, or go
        by what their caller's thread holds.
        """
        codec = self.codec_of(args, kwargs)
        try:
            key = self.key(args, kwargs, codec)
        except Unkeyable as unkeyable:
            return partial(self._uncached, unkeyable, args, kwargs)
        return partial(
            self.cache.get_or_call,
            key,
            partial(self._called, args, kwargs, codec),
            policy=self._policy,
            codec=codec,
            mode=mode,
            tags=self._tags_of(args, kwargs),
            asked=self._asked(args, kwargs),
        )

    async def _uncached(
        self, unkeyable: Unkeyable, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        self._report(unkeyable)
        return await self._call(*args, **kwargs)

    async def _called(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], codec: Codec[Any]
    ) -> Any:
        answer = await self._call(*args, **kwargs)
        return own(answer) if isinstance(codec, AnswersCodec) else answer

    def play(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], mode: Mode
    ) -> AsyncGenerator[Any]:
        """The items of an async generator, kept or new."""
        codec = self.codec_of(args, kwargs)
        try:
            key = self.key(args, kwargs, codec)
        except Unkeyable as unkeyable:
            return self._play_uncached(unkeyable, self.function(*args, **kwargs))

        async def call() -> AsyncIterator[Any]:
            items: AsyncGenerator[Any] = self.function(*args, **kwargs)
            return own_items(items) if isinstance(codec, AnswersCodec) else items

        return self.cache.stream(
            key,
            call,
            policy=self._policy,
            codec=ItemsCodec(codec),
            mode=mode,
            tags=self._tags_of(args, kwargs),
            asked=self._asked(args, kwargs),
        )

    async def _play_uncached(
        self, unkeyable: Unkeyable, items: AsyncGenerator[Any]
    ) -> AsyncGenerator[Any]:
        self._report(unkeyable)
        async with aclosing(items):
            async for item in items:
                yield item

    def _asked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        """What `should_store` is told of a call, if there is such a rule; or what is kept of it."""
        if self.cache.keeps_requests:
            return self._asking.told(args, kwargs)
        if (self._policy or self.cache.policy).should_store is None:
            return None
        return self._asking.named(args, kwargs)

    def _tags_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Collection[str]:
        return self._tags(*args, **kwargs) if callable(self._tags) else self._tags

    def _report(self, unkeyable: Unkeyable) -> None:
        self.cache.report_uncached(
            f"{self._asking.name}({unkeyable.path}): {unkeyable.why}; leave it out with ignore=, "
            "or say with key= what counts"
        )

    async def peek(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The stored answer, or None."""
        codec = self.codec_of(args, kwargs)
        key = self.key(args, kwargs, codec)
        return await self.cache.peek(key, codec=self._whole(codec), policy=self._policy)

    def _whole(self, codec: Codec[Any]) -> Codec[Any]:
        return WholeCodec(ItemsCodec(codec)) if self._streams else codec

    async def forget(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Let go of the stored answer."""
        await self.cache.forget(self.key(args, kwargs), policy=self._policy)


def _schema_of(codec: Codec[Any]) -> bytes:
    return codec.schema if isinstance(codec, AnswersCodec) else b""
