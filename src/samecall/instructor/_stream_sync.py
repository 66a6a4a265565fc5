"""The streams of a synchronous client: events come through the portal, parsing is the caller's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from contextlib import closing
from typing import Any, cast

from samecall._portal import portal_for
from samecall.instructor._calls import Question
from samecall.instructor._reading import Reading
from samecall.instructor._stream_surface import Opened, Shared, surface
from samecall.instructor._streams import Streams, made_once, parsing

__all__ = ["SyncStreams"]


class SyncStreams(Streams):
    """The streams of an `Instructor`."""

    def open(self, asked: dict[str, Any]) -> Any:
        """What the client's own `create_fn` would give: events, or what instructor reads there."""
        portal = portal_for(self.calls.settings.cache)
        question: Question | None = portal.ask(self.question, asked)
        if question is None:
            return self.create(**asked)
        opened = Opened()
        events = self.events(question, opened, lambda: self._call(question, opened))
        stream = surface(Shared, self.sdk)(events, opened, portal, usage=self.usage(question))
        stream.start()
        if question.model is None:
            return stream

        def refused() -> None:
            portal.call(self.refused, question, opened)

        try:
            parsed: Any = self.patched(lambda *_, **__: stream)(**parsing(question))
        except BaseException as error:
            stream.close()
            if isinstance(error, Exception):
                refused()
            raise
        if isinstance(
            cast("object", parsed), list
        ):  # of parts: instructor's synchronous client gives all at once
            stream.close()
            return parsed
        return _items(parsed, stream, refused)

    async def _call(self, question: Question, opened: Opened) -> AsyncIterator[Any]:
        """The call itself, in a thread: with the client's hooks, tries and errors."""
        func = self.func
        caught: list[Any] = []

        def spy(*args: Any, **kwargs: Any) -> Any:
            raw = func(*args, **kwargs) if func is not None else None
            caught.append(raw)
            # what instructor reads at once is empty, so that the events are all there afterwards
            return surface(Shared, self.sdk)(None, Opened(raw), None)

        def call() -> Any:
            self.patched(spy)(response_model=made_once(question.model), **question.asked)
            return caught[-1]

        reading = Reading(call)
        opened.raw = await reading.open()
        return reading


def _items(parsed: Generator[Any], stream: Shared, refused: Callable[[], object]) -> Generator[Any]:
    try:
        with closing(stream), closing(parsed):
            yield from parsed
    except Exception:
        refused()
        raise
