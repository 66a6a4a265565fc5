"""One streaming call of a cached client, from its arguments to what its caller iterates over.

The SDK's own events are what is shared and kept; each caller lets instructor parse its own copies.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, cast, get_origin

from instructor.v2.core.hooks import HookName, Hooks
from instructor.v2.core.patch import patch_v2
from instructor.v2.dsl.iterable import IterableBase
from instructor.v2.dsl.partial import PartialBase

from samecall.instructor._account import closure_of
from samecall.instructor._calls import Calls, Question
from samecall.instructor._codec import AnswerCodec
from samecall.instructor._models import prepared, whole_of
from samecall.instructor._stream_codec import EventCodec
from samecall.instructor._stream_surface import AsyncShared, Opened, surface

__all__ = ["AsyncStreams", "Streams", "made_once", "parsing"]

# what of a call bears on how its events are parsed; the request itself is not sent
_PARSING = ("context", "strict", "token_budget")
_NOTHING_ASKED = ({"role": "user", "content": "-"},)


class Streams:
    """What a client's streams have in common, in whatever way they are read."""

    def __init__(self, calls: Calls, create: Callable[..., Any], client: object) -> None:
        held = closure_of(create)
        self.calls = calls
        self.create = create
        self.func: Callable[..., Any] | None = held.get("func")
        self.default_model: str | None = held.get("default_model")
        self.sdk = type(client).__module__

    def patched(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Instructor's `create` around `func` in place of the SDK's function."""
        calls = self.calls
        return patch_v2(func, calls.provider, calls.mode, self.default_model)

    async def question(self, asked: dict[str, Any]) -> Question | None:
        """What is asked, with its key; None if this call leaves the cache alone.

        `asked` is what then goes to the client itself.
        """
        question = await self.calls.question(asked, whole_of(asked.get("response_model")))
        if question is not None and self.func is None:
            question.cache.report_uncached("streams of this client: instructor has not patched it")
            return None
        return question

    def events(
        self,
        question: Question,
        opened: Opened,
        call: Callable[[], Awaitable[AsyncIterator[Any]]],
    ) -> AsyncGenerator[Any]:
        """The events for one consumer."""
        calls = self.calls
        answers = AnswerCodec(question.ready, calls.handlers(), question.asked, calls.who)
        codec = EventCodec(answers, question.ready.model, opened, usage=self.usage(question))
        judged = (question.policy or question.cache.policy).should_store is not None
        return question.cache.stream(
            question.key,
            call,
            policy=question.policy,
            codec=codec,
            mode=question.mode,
            tags=question.tags,
            asked={**question.asked, "response_model": question.model} if judged else None,
        )

    async def refused(self, question: Question, opened: Opened) -> None:
        """Events of a stream that came whole could not be read: nobody else is to get them."""
        if not opened.failed and opened.generation is not None:
            await question.cache.refuse(*opened.generation)

    def usage(self, question: Question) -> bool:
        """Whether the caller wants an event of its own that tells the usage (OpenAI).

        instructor reads none; who reads the events themselves may stumble over one.
        """
        if question.model is not None:
            return True
        options: dict[str, Any] | None = question.asked.get("stream_options")
        return isinstance(options, dict) and bool(options.get("include_usage"))


class AsyncStreams(Streams):
    """The streams of an `AsyncInstructor`."""

    async def open(self, asked: dict[str, Any]) -> Any:
        """What the client's own `create_fn` would give: events, or what instructor reads there."""
        question = await self.question(asked)
        if question is None:
            return await self.create(**asked)
        opened = Opened()
        events = self.events(question, opened, lambda: self._call(question, opened))
        stream = surface(AsyncShared, self.sdk)(events, opened, usage=self.usage(question))
        await stream.start()
        if question.model is None:
            return stream
        try:
            parsed = await self._parse(question, stream)
            return _items(parsed, stream, partial(self.refused, question, opened))
        except BaseException:
            await stream.close()
            raise

    async def _call(self, question: Question, opened: Opened) -> AsyncIterator[Any]:
        """The call itself, as the client makes it: with its hooks, tries and errors."""
        asked = question.asked
        if question.model is None:
            opened.raw = await self.create(response_model=None, **asked)
            return _Owned(opened.raw)
        caught: list[Any] = []
        hooks = Hooks()
        hooks.on(HookName.COMPLETION_RESPONSE, caught.append)
        given: Hooks | None = asked.get("hooks")
        hooks = hooks if given is None else given + hooks
        # what instructor makes of the stream is not begun, so that the events are all there
        model = made_once(question.model)
        await self.create(response_model=model, **{**asked, "hooks": hooks})
        opened.raw = caught[-1]
        return _Owned(opened.raw)

    async def _parse(self, question: Question, stream: Any) -> Any:
        async def give(*_: Any, **__: Any) -> Any:
            return stream

        return await self.patched(give)(**parsing(question))


class _Owned:
    """The SDK's stream, of which closing closes all: the iterator, and the connection."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._events = aiter(raw)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return await anext(self._events)

    async def aclose(self) -> None:
        for owner in (self._events, self._raw):
            close = getattr(owner, "aclose", None) or getattr(owner, "close", None)
            if close is not None:
                with suppress(Exception):  # the other one is to be closed all the same
                    await close()


def parsing(question: Question) -> dict[str, Any]:
    """Arguments that let instructor read a stream that is there already."""
    asked = {name: question.asked[name] for name in _PARSING if name in question.asked}
    model = made_once(question.model)
    made = question.ready.model
    if get_origin(model) and isinstance(made, type) and issubclass(made, IterableBase):
        # of a TypedDict instructor makes a class, which has to be the same one for all
        model = cast("Any", Iterable)[made.task_type]
    messages = list(_NOTHING_ASKED)
    return dict(response_model=model, messages=messages, stream=True, max_retries=0, **asked)


def made_once(model: Any) -> Any:
    """The class of a model's parts as instructor takes it; it keeps each that it makes for ever."""
    return prepared(model).model if _is_partial(model) else model


def _is_partial(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, PartialBase)


async def _items(
    parsed: AsyncGenerator[Any], stream: AsyncShared, refused: Callable[[], Awaitable[None]]
) -> AsyncGenerator[Any]:
    try:
        async with aclosing(stream), aclosing(parsed):
            async for item in parsed:
                yield item
    except Exception:
        await refused()
        raise
