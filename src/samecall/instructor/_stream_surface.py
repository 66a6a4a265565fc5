"""A shared stream with the surface of the SDK's own: iterated, closed, entered, its `response`."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from samecall._entry import Key
    from samecall._portal import Portal

__all__ = ["AsyncShared", "Opened", "Shared", "surface"]


class Opened:
    """What became of one caller's stream."""

    __slots__ = ("failed", "generation", "raw")

    def __init__(self, raw: Any = None) -> None:
        self.raw = raw
        """The SDK's own stream, if this caller's call was the one that was made."""
        self.failed = False
        """Whether its events ended in an exception."""
        self.generation: tuple[Key, bytes] | None = None
        """Which stream its events are of."""


class _Surface:
    """What both kinds have in common."""

    _samecall_opened: Opened
    _samecall_first: list[Any]
    _samecall_usage: bool

    def _samecall_wanted(self, event: Any) -> bool:
        # OpenAI tells the usage in an event without choices, to those who ask for one
        asked = self._samecall_usage or getattr(event, "choices", True)
        return asked or not getattr(event, "usage", None)

    @property
    def response(self) -> Any:
        """The HTTP response of the SDK's stream; for a hit or a follower, one that says 200."""
        raw = self._samecall_opened.raw
        if raw is not None:
            return raw.response
        return _response(type(self))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of samecall>"


class AsyncShared(_Surface):
    """Events for one consumer, who alone may read them.

    usage: whether it has asked for an event that tells the usage.
    """

    def __init__(self, events: AsyncGenerator[Any], opened: Opened, *, usage: bool = True) -> None:
        self._samecall_usage = usage
        self._samecall_events = events
        self._samecall_opened = opened
        self._samecall_first = []

    async def start(self) -> None:
        """Wait for the first event; raises what the call raised, if it was not opened."""
        try:
            self._samecall_first.append(await anext(self._samecall_events))
        except StopAsyncIteration:
            pass
        except Exception as error:
            if self._samecall_opened.raw is None:
                raise
            self._samecall_events = _raising(error)  # the bare stream would tell when it is read

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while True:
            first = self._samecall_first
            event = first.pop() if first else await self._samecall_next()
            if self._samecall_wanted(event):
                return event

    async def _samecall_next(self) -> Any:
        try:
            return await anext(self._samecall_events)
        except Exception as error:
            self._samecall_opened.failed |= not isinstance(error, StopAsyncIteration)
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Take no more events."""
        self._samecall_first.clear()
        await self._samecall_events.aclose()

    aclose = close


class Shared(_Surface):
    """The same for a synchronous client: the events come through a portal."""

    def __init__(
        self,
        events: Any,
        opened: Opened,
        portal: Portal | None,
        *,
        usage: bool = True,
    ) -> None:
        self._samecall_usage = usage
        self._samecall_events = events
        self._samecall_opened = opened
        self._samecall_portal = portal
        self._samecall_first = []

    def start(self) -> None:
        """Wait for the first event; raises what the call raised, if it was not opened."""
        try:
            self._samecall_first.append(self._samecall_next())
        except StopIteration:
            pass
        except Exception as error:
            if self._samecall_opened.raw is None:
                raise
            self._samecall_events = _raising(error)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while True:
            event = self._samecall_first.pop() if self._samecall_first else self._samecall_next()
            if self._samecall_wanted(event):
                return event

    def _samecall_next(self) -> Any:
        if self._samecall_portal is None:
            raise StopIteration
        try:
            event = self._samecall_portal.ask(_next, self._samecall_events)
        except Exception:
            self._samecall_opened.failed = True
            raise
        if event is _END:
            raise StopIteration
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Take no more events."""
        self._samecall_first.clear()
        portal = self._samecall_portal
        if portal is None:
            return
        try:
            portal.call(self._samecall_events.aclose)
        except RuntimeError:  # from the portal's own thread (garbage collection), or it has ended
            with suppress(RuntimeError):
                portal.start_task_soon(self._samecall_events.aclose)


_END = object()


async def _next(events: AsyncGenerator[Any]) -> Any:
    return await anext(events, _END)  # a StopAsyncIteration would not get through a portal


async def _raising(error: BaseException) -> AsyncGenerator[Any]:
    raise error
    yield


_OF_THEIR_OWN = {
    "mistralai": ("mistralai.client.utils.eventstreaming", "mistralai.utils.eventstreaming"),
}
"""Where streams have other names, by the SDK's root; loaded by its first stream only."""


@lru_cache(64)
def surface(kind: type[Any], client: str) -> type[Any]:
    """`kind` as a subclass of the class that an SDK's streams are of, if there is one.

    client: the module of the SDK's client.
    """
    theirs = _theirs(client, "Async" if kind is AsyncShared else "")
    return kind if theirs is None else types.new_class(theirs.__name__, (kind, theirs))


def _theirs(client: str, kind: str) -> type[Any] | None:
    root = client.partition(".")[0]
    package = client
    while package:  # where the client is, or in a package that it is in
        theirs = getattr(sys.modules.get(package), f"{kind}Stream", None)
        if isinstance(theirs, type) and theirs.__module__.partition(".")[0] == root:
            return theirs
        package = package.rpartition(".")[0]
    for module in _OF_THEIR_OWN.get(root, ()):
        with suppress(ImportError):
            theirs = getattr(importlib.import_module(module), f"EventStream{kind}", None)
            return theirs if isinstance(theirs, type) else None
    return None


def _response(cls: type[Any]) -> Any:
    # the SDK's own HTTP library, whichever it is: where its class was made
    for base in cls.__mro__:
        place: dict[str, Any] = getattr(vars(base).get("__init__"), "__globals__", {})
        http: Any = place.get("httpx") or place.get("httpx2")
        if http is not None:
            request = http.Request("POST", "https://another.process.invalid/")
            headers = {"content-type": "text/event-stream; charset=utf-8"}
            return http.Response(200, headers=headers, request=request)
    raise AttributeError("response")
