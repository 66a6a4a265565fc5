"""The synchronous client: the cache works in the portal's event loop, the rest in the caller."""

from __future__ import annotations

from typing import Any, TypeVar

from instructor.v2.core.client import Instructor
from instructor.v2.core.hooks import Hooks
from tenacity import Retrying

from samecall._entry import Payload
from samecall._errors import CacheMiss
from samecall._portal import in_threads, portal_for
from samecall.instructor._answer import Answer
from samecall.instructor._calls import Calls
from samecall.instructor._codec import AnswerCodec
from samecall.instructor._options import Settings
from samecall.instructor._stream_sync import SyncStreams

__all__ = ["CachedInstructor"]

T = TypeVar("T")


class _Unread(Answer):
    """A stored answer that its caller parses in its own thread.

    A validator may ask a model itself, through this very portal: parsing in the portal's thread
    would wait for itself.
    """

    __slots__ = ("codec", "payload", "was_refused")

    def __init__(self, codec: _LateCodec, payload: Payload, *, was_refused: bool) -> None:
        super().__init__(None, None)
        self.codec, self.payload, self.was_refused = codec, payload, was_refused


class _LateCodec(AnswerCodec):
    """Leaves the parsing to the caller's thread."""

    __slots__ = ()

    def decode(self, payload: Payload) -> Answer:
        return _Unread(self, payload, was_refused=False)

    def refused(self, payload: Payload) -> Answer:
        return _Unread(self, payload, was_refused=True)

    def read(self, payload: Payload) -> Answer:
        """What `decode` is in other codecs."""
        return super().decode(payload)

    def read_refused(self, payload: Payload) -> Answer:
        """What `refused` is in other codecs."""
        return super().refused(payload)


class CachedInstructor(Instructor):
    """An `Instructor` that asks the cache first; made by `cached`."""

    def __init__(self, original: Instructor, settings: Settings) -> None:
        self._samecall_original = original
        create = in_threads(original.create_fn)
        self._samecall_calls = calls = Calls(original, create, settings, _LateCodec)
        self._samecall_streams = SyncStreams(calls, original.create_fn, original.client)
        super().__init__(
            client=original.client,
            create=self._samecall_create,
            mode=original.mode,
            provider=original.provider,
            hooks=original.hooks.copy(),
            **original.kwargs,
        )
        self.default_model = original.default_model

    def create(
        self,
        response_model: type[T] | None,
        messages: list[Any],
        max_retries: int | Retrying = 3,
        context: dict[str, Any] | None = None,
        strict: bool = True,
        hooks: Hooks | None = None,
        token_budget: int | None = None,
        **kwargs: Any,
    ) -> T | Any:
        if token_budget is not None:
            kwargs["token_budget"] = token_budget
        return self._samecall_create(
            response_model=response_model,
            messages=messages,
            max_retries=max_retries,
            context=context,
            strict=strict,
            hooks=self.hooks if hooks is None else self.hooks + hooks,
            **self.handle_kwargs(kwargs),
        )

    def create_with_completion(
        self,
        messages: list[Any],
        response_model: type[T],
        max_retries: int | Retrying = 3,
        context: dict[str, Any] | None = None,
        strict: bool = True,
        hooks: Hooks | None = None,
        **kwargs: Any,
    ) -> tuple[T, Any]:
        asked = dict(
            response_model=response_model,
            messages=messages,
            max_retries=max_retries,
            context=context,
            strict=strict,
            hooks=self.hooks if hooks is None else self.hooks + hooks,
            **self.handle_kwargs(kwargs),
        )
        if self._samecall_calls.streams(asked):
            value = self._samecall_create(**asked)
            return value, value._raw_response
        answer = self._samecall_answer(asked)
        return answer.value, answer.raw

    def _samecall_create(self, **asked: Any) -> Any:
        if self._samecall_calls.streams(asked):
            return self._samecall_streams.open(asked)
        return self._samecall_answer(asked).value

    def _samecall_answer(self, asked: dict[str, Any]) -> Answer:
        calls = self._samecall_calls
        again = dict(asked)
        portal = portal_for(calls.settings.cache)
        answer: Answer = portal.ask(calls.answer, asked)
        if not isinstance(answer, _Unread):
            return answer
        codec = answer.codec
        if answer.was_refused:
            return codec.read_refused(answer.payload)
        try:
            return codec.read(answer.payload)
        except Exception as error:  # noqa: BLE001 - as in the cache: what cannot be read is a miss
            if again.get("cache_mode") == "only":
                # not "from" it: a validator's error quotes the answer
                raise CacheMiss(f"the entry cannot be read ({type(error).__name__})") from None
            once_more: Answer = portal.ask(calls.answer, {**again, "cache_mode": "refresh"})
            return once_more
