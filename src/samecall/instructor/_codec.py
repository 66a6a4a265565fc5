"""An answer of instructor to bytes and back: the raw completion is kept, and parsed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from instructor.v2.core.errors import (
    FailedAttempt,
    IncompleteOutputException,
    InstructorRetryException,
)
from instructor.v2.core.providers import Provider
from instructor.v2.core.registry import ModeHandlers
from instructor.v2.core.retry import (
    _finalize_parsed_response,  # pyright: ignore[reportPrivateUsage]
    _initialize_usage,  # pyright: ignore[reportPrivateUsage]
)
from instructor.v2.core.usage import has_compatible_usage, update_total_usage  # pyright: ignore[reportUnknownVariableType]
from instructor.v2.dsl.response_list import ListResponse
from pydantic import BaseModel

from samecall._codec import UNREADABLE, BaseCodec
from samecall._entry import Payload, Spent
from samecall._errors import SamecallError, Undecodable, Unstorable
from samecall._ports import ErrorRecord, Failure
from samecall._warn import warn
from samecall.instructor._answer import Answer, AnswerMould, mould_of
from samecall.instructor._completions import Stored, pack, unpack
from samecall.instructor._faults import last_completion, reach_of, told
from samecall.instructor._gist import Gist
from samecall.instructor._models import Prepared
from samecall.instructor._question import Frozen
from samecall.instructor._remade import remade
from samecall.instructor._spent import spent_on
from samecall.instructor._stream_events import STREAM, completion_of, stored_chunks
from samecall.instructor._unlisted import held_as, raw_of, raw_text

__all__ = ["AnswerCodec"]

_TAG = "instructor"
_UNKNOWN: Any = object()
_OURS = frozenset({"context", "hooks", "max_retries", "strict", "token_budget"})


class _Body(msgspec.Struct, array_like=True, frozen=True):
    raw: Stored | None
    usage: Stored | None = None
    attempts: int = 1
    model: bytes | None = None
    """The parsed model's JSON, where the completion's class is not on the list."""
    raw_form: str = ""
    raw_text: str = ""
    gist: Gist | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Body)


class AnswerCodec(BaseCodec[Answer]):
    """The codec of one call: it parses with this caller's own model, context and strictness."""

    __slots__ = ("_context", "_handlers", "_ready", "_strict", "_who", "told")

    def __init__(
        self,
        ready: Prepared,
        handlers: ModeHandlers | None,
        asked: Mapping[str, Any],
        who: tuple[str, str | None] = ("", None),
    ) -> None:
        self._ready = ready
        self._handlers = handlers
        self.told: Mapping[str, Any] | Frozen = asked
        self._who = who  # the provider, and the model that its client asks by default
        self._context = asked.get("context")
        self._strict = asked.get("strict", True)

    @property
    def asked(self) -> Mapping[str, Any]:
        """The arguments of the call, as they were when it was begun."""
        if isinstance(self.told, Frozen):
            self.told = self.told.thawed()
        return self.told

    def encode(self, value: Answer) -> Payload:
        """The completion's JSON; else the parsed model's; raises `Unstorable` if neither holds."""
        try:
            return self._encode(value)
        except Unstorable:
            raise
        except Exception as error:  # of a serializer or `__eq__` of the caller's own: it is paid
            raise Unstorable(f"storing raised {type(error).__name__}") from error

    def _encode(self, value: Answer) -> Payload:
        try:
            if value.raw is None or self._handlers is None:
                raise Unstorable("the completion cannot be had from this client")
            raw = pack(value.raw, self._ready.model)
            usage = None if value.usage is None else pack(value.usage)
            body = _Body(raw, usage, gist=self._gist(raw, value.value))
        except Unstorable as why:
            body = self._parsed_body(value, why)
        return Payload(_TAG, _encoder.encode(body), self.bill(value))

    def _gist(self, raw: Stored, value: Any) -> Gist | None:
        reader, handlers = self._ready.reader, self._handlers
        if reader is None or handlers is None:
            return None
        try:
            return reader.listen(handlers, raw, value, strict=self._strict)
        except Exception:  # noqa: BLE001 - it makes hits quicker, and nothing else
            return None

    def bill(self, value: Answer) -> Spent | None:
        """What the call cost that gave this answer."""
        return self.spent(value.raw, value.usage)

    def about(self) -> Spent | None:
        """The model that this call asks, with nothing spent."""
        return self.spent(None)

    def spent(self, raw: Any, usage: Any = None) -> Spent | None:
        """What a completion cost; None where nobody knows."""
        try:
            provider, default = self._who
            return spent_on(self.asked.get("model", default), provider, raw, usage)
        except Exception:  # noqa: BLE001 - of a completion with ways of its own: the answer is what counts
            return None

    def decode(self, payload: Payload) -> Answer:
        """What instructor would have parsed out of the completion for this caller."""
        kept = payload.kept
        if kept is None or not self._ready.inert:
            return self._decode(payload)
        forms = self._ready.forms(self._strict)
        form: AnswerMould | None = forms.get(kept, _UNKNOWN)
        if form is _UNKNOWN:
            answer = self._decode(payload)
            # before anybody else has it: what its caller does to it is nobody else's affair
            form = mould_of(answer)
            if kept.takes(0 if form is None else form.size):
                forms[kept] = form
            return answer
        return self._decode(payload) if form is None else form.cast()

    def _decode(self, payload: Payload) -> Answer:
        if payload.tag == STREAM:
            return self.streamed(stored_chunks(payload)[0])
        body = self._read(payload)
        if body.raw is None:
            return self._from_parsed(body)
        reader = self._ready.reader
        if body.gist is not None and reader is not None:
            read = reader.read(body.gist, body.raw, body.usage, strict=self._strict)
            if read is not None:
                return Answer(*read)
        raw = unpack(body.raw, self._ready.model)
        return self._parse(raw, None if body.usage is None else unpack(body.usage))

    def streamed(self, chunks: Sequence[bytes]) -> Answer:
        """What a stream comes to; `Undecodable` where nobody knows."""
        raw = completion_of(chunks, self._ready.model)
        return self._parse(raw, None if self._ready.asked is None else _summed(raw))

    def shown(self, value: Answer) -> object:
        """What `create` returns."""
        return value.value

    def completion(self, payload: Payload) -> Any:
        """The provider's completion alone; raises `Undecodable` if it was not kept."""
        body = self._read(payload)
        if body.raw is None:
            raise Undecodable("only the parsed model was kept")
        return unpack(body.raw, self._ready.model)

    def refused(self, payload: Payload) -> Answer:
        """Parse what the leader could not; raises what the bare client raises then."""
        body = self._read(payload)
        if body.raw is None:
            raise Undecodable("a refused completion without the completion")
        raw = unpack(body.raw, self._ready.model)
        usage = None if body.usage is None else unpack(body.usage)
        try:
            return self._parse(raw, usage)
        except (IncompleteOutputException, SamecallError):
            raise
        except Exception as error:  # any error of a validator: the bare client wraps them all
            raise InstructorRetryException(
                str(error),
                last_completion=raw,
                n_attempts=body.attempts,
                total_usage=usage,
                messages=self.asked.get("messages"),
                create_kwargs={k: v for k, v in self.asked.items() if k not in _OURS},
                failed_attempts=[FailedAttempt(body.attempts, error, raw)],
            ) from error

    def explain(self, error: BaseException) -> Failure:
        """How far an error travels; a completion that failed validation goes along."""
        timeout = self.asked.get("timeout")
        return Failure(
            reach_of(error, own_timeout=isinstance(timeout, (int, float))),
            told(error, self.asked),
            self._completion_of(error),
        )

    def rebuild(self, record: ErrorRecord) -> BaseException:
        """The provider's own exception, wrapped as the leader's was; else `RemoteCallError`."""
        return remade(record, self.asked) or super().rebuild(record)

    def _completion_of(self, error: BaseException) -> Payload | None:
        raw = last_completion(error)
        if raw is None or self._handlers is None:
            return None
        usage = getattr(error, "total_usage", None)
        try:
            body = _Body(
                pack(raw, self._ready.model),
                None if usage is None else pack(usage),
                getattr(error, "n_attempts", 1),
            )
        except Unstorable:
            return None
        return Payload(_TAG, _encoder.encode(body), self.spent(raw, usage))

    def _read(self, payload: Payload) -> _Body:
        if payload.tag != _TAG:
            raise Undecodable(f"tag {payload.tag!r} is not an answer of instructor")
        try:
            return _decoder.decode(payload.data)
        except UNREADABLE as error:
            raise Undecodable(str(error)) from None

    def _parse(self, raw: Any, usage: Any) -> Answer:
        if self._ready.asked is None:
            return Answer(raw, raw, usage)
        if self._handlers is None:
            raise Undecodable("this client has no parser of completions")
        parsed = self._handlers.response_parser(
            response=raw,
            response_model=self._ready.model,
            validation_context=self._context,
            strict=self._strict,
            stream=False,
            is_async=True,
        )
        value = _finalize_parsed_response(parsed, raw)
        if usage is not None and isinstance(value, (BaseModel, ListResponse)):
            value._total_usage = usage  # type: ignore[union-attr]
        return Answer(value, raw, usage)

    # --- completions that are not on the list: what instructor documents for its own cache -----

    def _parsed_body(self, answer: Answer, why: Unstorable) -> _Body:
        model = self._ready.model
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise why
        form, text = raw_text(answer.raw)
        held = held_as(model, answer.value)
        try:
            data = held.__pydantic_serializer__.to_json(held, by_alias=True, warnings=False)
            body = _Body(None, None, model=data, raw_form=form, raw_text=text)
            same = self._from_parsed(body).value == answer.value
        except (TypeError, ValueError) as error:
            told = type(error).__name__  # and not its words: of a serializer that quotes the answer
            raise Unstorable(f"{why}; nor has the model a JSON form ({told})") from None
        if not same:
            raise Unstorable(f"{why}; nor does the model come back equal from its JSON") from None
        if form == "text":
            warn(f"{why}; create_with_completion gives its text on a hit")
        return body

    def _from_parsed(self, body: _Body) -> Answer:
        if body.model is None:
            raise Undecodable("neither a completion nor a model")
        parsed = self._ready.model.model_validate_json(body.model, context=self._context)
        raw = raw_of(body.raw_form, body.raw_text)
        return Answer(_finalize_parsed_response(parsed, raw), raw)


def _summed(raw: Any) -> Any:
    """The usage of the one try that a stream is, and `raw` as instructor leaves it."""
    sdk = type(getattr(raw, "usage", None)).__module__.partition(".")[0]
    total = _initialize_usage(Provider.ANTHROPIC if sdk == "anthropic" else Provider.OPENAI)
    if not has_compatible_usage(raw, total):
        return None
    update_total_usage(raw, total)
    return total
