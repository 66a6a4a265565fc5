"""A function whose calls are kept: called as before, and asked a few things more."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncGenerator
from types import MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Self,
    TypeVar,
    cast,
    overload,
)

from samecall._arguments import Mode
from samecall._entry import Key
from samecall._memoize.kept import Kept
from samecall._portal import portal_for
from samecall._ports import Codec

__all__ = ["BlockingMemoized", "Memoized", "MemoizedStream", "OfClass"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
if TYPE_CHECKING:
    _ClassMethod = classmethod[Any, Any, Any]
else:
    _ClassMethod = classmethod  # which is not generic when it runs


class _Named(Generic[P]):
    """What both kinds have in common."""

    __name__: str
    __qualname__: str
    _first: tuple[Any, ...] = ()
    """The instance or class that a method is bound to."""

    def __init__(self, kept: Kept) -> None:
        # first: the function may be a memoized one, whose own attributes it takes over
        functools.update_wrapper(cast("Any", self), kept.function)
        self._kept, self._first = kept, ()

    def _bind(self, instance: Any) -> Self:
        bound = object.__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound._first = (instance,)
        bound.__dict__["__wrapped__"] = MethodType(self._kept.function, instance)
        bound.__dict__["__self__"] = instance
        return bound

    @property
    def codec(self) -> Codec[Any]:
        """How the answers (of a stream: its items) are stored."""
        return self._kept.codec

    def key_of(self, /, *args: P.args, **kwargs: P.kwargs) -> Key:
        """The key of this call, for `Cache.peek` and `forget`. Raises `Unkeyable`."""
        return self._kept.named((*self._first, *args), kwargs)

    def __repr__(self) -> str:
        return f"<memoized {self._kept.function.__qualname__}>"

    def __reduce__(self) -> Any:  # pickled by name, as the function would be; a copy is itself
        return (getattr, (self._first[0], self.__name__)) if self._first else self.__qualname__


class Memoized(_Named[P], Generic[P, R]):
    """An async function or method; made by `Cache.memoize`."""

    def __init__(self, kept: Kept) -> None:
        super().__init__(kept)
        if sys.version_info >= (3, 12):
            inspect.markcoroutinefunction(self)

    @overload
    def __get__(  # of a class method; its other arguments go unchecked, or mypy checks none right
        self: Memoized[Concatenate[type[Any], ...], R], instance: object, owner: type, /
    ) -> Memoized[..., R]: ...
    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...
    @overload
    def __get__(
        self: Memoized[Concatenate[S, Q], R], instance: S, owner: type, /
    ) -> Memoized[Q, R]: ...
    def __get__(self, instance: Any, owner: type, /) -> Any:
        return self if instance is None else self._bind(instance)

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """The answer: kept, of a call in the air, or of a new one."""
        return await self._ask("use", args, kwargs)

    async def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """The answer of a new call (or of a refresh in the air), which is kept from now on."""
        return await self._ask("refresh", args, kwargs)

    async def peek(self, /, *args: P.args, **kwargs: P.kwargs) -> R | None:
        """The kept answer, or None; calls nothing. Raises `StoreError`, `Unkeyable`."""
        answer: R | None = await self._kept.peek((*self._first, *args), kwargs)
        return answer

    async def forget(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Let go of this call's answer, in the whole fleet. Raises `StoreError`, `Unkeyable`."""
        await self._kept.forget((*self._first, *args), kwargs)

    async def _ask(self, mode: Mode, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        answer: R = await self._kept.answer((*self._first, *args), kwargs, mode)
        return answer


class BlockingMemoized(_Named[P], Generic[P, R]):
    """A synchronous function or method; made by `Cache.memoize`.

    The cache works in an event loop of its own, the function runs in a worker thread, in its
    caller's context.
    """

    @overload
    def __get__(  # of a class method; its other arguments go unchecked, or mypy checks none right
        self: BlockingMemoized[Concatenate[type[Any], ...], R], instance: object, owner: type, /
    ) -> BlockingMemoized[..., R]: ...
    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...
    @overload
    def __get__(
        self: BlockingMemoized[Concatenate[S, Q], R], instance: S, owner: type, /
    ) -> BlockingMemoized[Q, R]: ...
    def __get__(self, instance: Any, owner: type, /) -> Any:
        return self if instance is None else self._bind(instance)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """The answer: kept, of a call in the air, or of a new one."""
        return self._ask("use", args, kwargs)

    def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """The answer of a new call (or of a refresh in the air), which is kept from now on."""
        return self._ask("refresh", args, kwargs)

    def peek(self, /, *args: P.args, **kwargs: P.kwargs) -> R | None:
        """The kept answer, or None; calls nothing. Raises `StoreError`, `Unkeyable`."""
        kept = self._kept
        key = kept.named((*self._first, *args), kwargs)
        answer: R | None = portal_for(kept.cache).ask(kept.cache.peek, key)
        return answer

    def forget(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Let go of this call's answer, in the whole fleet. Raises `StoreError`, `Unkeyable`."""
        kept = self._kept
        key = kept.named((*self._first, *args), kwargs)
        portal_for(kept.cache).call(kept.cache.forget, key)

    def _ask(self, mode: Mode, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        kept = self._kept
        asking = kept.asking((*self._first, *args), kwargs, mode)
        answer: R = portal_for(kept.cache).ask(asking)
        return answer


class MemoizedStream(_Named[P], Generic[P, R]):
    """An async generator function or method; made by `Cache.memoize`."""

    @overload
    def __get__(  # of a class method; its other arguments go unchecked, or mypy checks none right
        self: MemoizedStream[Concatenate[type[Any], ...], R], instance: object, owner: type, /
    ) -> MemoizedStream[..., R]: ...
    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...
    @overload
    def __get__(
        self: MemoizedStream[Concatenate[S, Q], R], instance: S, owner: type, /
    ) -> MemoizedStream[Q, R]: ...
    def __get__(self, instance: Any, owner: type, /) -> Any:
        return self if instance is None else self._bind(instance)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[R]:
        """The items: kept, of a stream in the air from its start, or of a new one."""
        return self._kept.play((*self._first, *args), kwargs, "use")

    def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[R]:
        """The items of a new stream (or of a refresh in the air), kept from now on."""
        return self._kept.play((*self._first, *args), kwargs, "refresh")

    async def peek(self, /, *args: P.args, **kwargs: P.kwargs) -> list[R] | None:
        """All kept items, or None; calls nothing. Raises `StoreError`, `Unkeyable`."""
        items: list[R] | None = await self._kept.peek((*self._first, *args), kwargs)
        return items

    async def forget(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Let go of this stream, in the whole fleet. Raises `StoreError`, `Unkeyable`."""
        await self._kept.forget((*self._first, *args), kwargs)


class OfClass(_ClassMethod):
    """A memoized class method, of which each class has one that is bound to it.

    `@classmethod` above does the same up to Python 3.12, and calls what is below it from then on.
    """

    def __get__(self, instance: Any, owner: type | None = None, /) -> Any:
        """Bound to the class that it is asked of."""
        of = owner or type(instance)
        return cast("Any", self.__func__).__get__(of, of)
