"""One call of a cached client, from its arguments to its answer."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from instructor.v2.core.client import Instructor
from instructor.v2.core.hooks import HookName, Hooks
from instructor.v2.core.mode import Mode
from instructor.v2.core.registry import ModeHandlers, mode_registry
from instructor.v2.dsl.response_list import ListResponse
from pydantic import BaseModel

from samecall._asked import AskedKey
from samecall._cassette import Cassette
from samecall._entry import Key
from samecall._errors import Unkeyable
from samecall._key import digest_of, digest_of_form, plain_form_and_kind
from samecall.instructor._account import Source, closure_of
from samecall.instructor._answer import Answer
from samecall.instructor._asked import ValueCodec
from samecall.instructor._codec import AnswerCodec
from samecall.instructor._derived import canonical
from samecall.instructor._models import Prepared, prepared
from samecall.instructor._options import Options, Settings, take_options
from samecall.instructor._question import SLOW, Rest, Snapshot, frozen, parts_of, plain_parts
from samecall.instructor._recorded import recorded_key

if TYPE_CHECKING:
    from samecall._arguments import Mode as CacheMode
    from samecall._cache import Cache
    from samecall._policy import Policy

__all__ = ["Calls", "Question"]

_VERSION = "instructor/3"
_ASKED, _VARY = "asked.", "vary"
_SHARED = 1_024
Create = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Question:
    """What one streaming call asks: of which cache, how, and with which arguments.

    model: as the caller gave it, or the one that stands for it. ready: the whole that it is parts
    of. asked: everything else.
    """

    key: Key
    cache: Cache
    policy: Policy | None
    mode: CacheMode
    model: Any
    ready: Prepared
    asked: dict[str, Any]
    tags: tuple[str, ...] = ()


class _Call:
    """One call, if it has to be made."""

    __slots__ = ("_calls", "codec", "model", "ready")

    def __init__(self, calls: Calls, ready: Prepared, codec: AnswerCodec, model: Any) -> None:
        self._calls = calls
        self.ready = ready
        self.codec = codec
        self.model = model  # as the caller gave it

    def __call__(self) -> Coroutine[Any, Any, Answer]:
        return self._calls.call(self.ready, self.codec.asked)


class Calls:
    """What a client and its settings have in common for all calls."""

    def __init__(
        self,
        client: Instructor,
        create: Create,
        settings: Settings,
        codec: type[AnswerCodec] = AnswerCodec,
    ) -> None:
        held = closure_of(client.create_fn)
        self._codec = codec
        self.settings = settings
        self.create = create
        self.mode: Mode = held.get("mode", client.mode)
        self.provider = held.get("provider", client.provider)
        self.parallel = self.mode in Mode.parallel_modes()
        self.source = Source(client.client, client.create_fn, settings.account)
        self.who = self.provider.value, self.source.default_model
        self._handlers: ModeHandlers | None = None
        self._digests: tuple[tuple[object, ...], dict[tuple[object, ...], bytes]] = ((), {})

    def streams(self, asked: dict[str, Any]) -> bool:
        """Whether this call's answer comes in pieces."""
        return bool(asked.get("stream"))

    async def question(self, asked: dict[str, Any], whole: Any) -> Question | None:
        """What a streaming call asks; None if it leaves the cache alone, or has no key.

        whole: the model that the caller wants parts of. `asked` is left as the client takes it.
        """
        options = take_options(asked, self.settings)
        cache = options.cache
        if cache is None:
            return None
        model = canonical(asked.get("response_model"))
        ready = prepared(whole, parallel=self.parallel and model is not None)
        rest = {name: value for name, value in asked.items() if name != "response_model"}
        try:
            snapshot = Snapshot(rest)
            key = await self._key_of(ready, snapshot, options)
        except Unkeyable as unkeyable:
            cache.report_uncached(f"{_argument(unkeyable.path)}: {unkeyable.why}")
            return None
        now = snapshot.asked
        return Question(key, cache, options.policy, options.mode, model, ready, now, options.tags)

    async def answer(self, asked: dict[str, Any]) -> Answer:
        """The answer to instructor's own arguments; `asked` is this call's own dict."""
        answer = self.begin(asked)
        return answer if isinstance(answer, Answer) else await answer

    def begin(self, asked: dict[str, Any]) -> Answer | Coroutine[Any, Any, Answer]:
        """The answer, or what is to be awaited for it."""
        model = asked.pop("response_model", None)
        options = take_options(asked, self.settings)
        ready = prepared(model, parallel=self.parallel and model is not None)
        cache = options.cache
        if cache is None:
            return self.call(ready, asked)
        codec = self._codec(ready, self.handlers(), asked, self.who)
        try:
            form, lists = self._form_at_once(ready, asked, options)
            key = None if form is None else self._key_of_form(form, options)
            if key is not None and options.mode == "use":
                # nothing can change in between: a hit needs no copy of what was asked
                found = cache.at_hand(key, codec, options.policy)
                if found is not None:
                    return found
        except Unkeyable as unkeyable:
            cache.report_uncached(f"{_argument(unkeyable.path)}: {unkeyable.why}")
            return self.call(ready, asked)
        make = _Call(self, ready, codec, model)
        if key is None or form is None:
            return self._odd(make, asked, options, cache)
        codec.told = frozen(asked, len(form), lists=lists)
        return self._ask(make, key, options, cache)

    async def _odd(
        self, make: _Call, asked: dict[str, Any], options: Options, cache: Cache
    ) -> Answer:
        """As `_ask`, for arguments whose key takes longer, or that have none."""
        try:
            snapshot = Snapshot(asked)
            key = await self._key_of(make.ready, snapshot, options)
        except Unkeyable as unkeyable:
            cache.report_uncached(f"{_argument(unkeyable.path)}: {unkeyable.why}")
            return await self.call(make.ready, asked)
        make.codec.told = snapshot.asked
        return await self._ask(make, key, options, cache)

    def _ask(
        self, make: _Call, key: Key, options: Options, cache: Cache
    ) -> Coroutine[Any, Any, Answer]:
        judged = (options.policy or cache.policy).should_store is not None
        return cache.get_or_call(
            key,
            make,
            policy=options.policy,
            codec=make.codec,
            mode=options.mode,
            tags=options.tags,
            asked={**make.codec.asked, "response_model": make.model} if judged else None,
        )

    def key(self, asked: dict[str, Any]) -> Key:
        """The key of a call; reads local files at once. Raises `Unkeyable`."""
        model = asked.pop("response_model", None)
        options = take_options(asked, self.settings)
        ready = prepared(model, parallel=self.parallel and model is not None)
        try:
            snapshot = Snapshot(asked)
            key = self._key(ready, snapshot, options)
        except Unkeyable as unkeyable:
            raise Unkeyable(_argument(unkeyable.path), unkeyable.why) from None
        codec = ValueCodec(AnswerCodec(ready, self.handlers(), snapshot.asked))
        return AskedKey(key.digest, key.namespace, codec, options.policy)

    def handlers(self) -> ModeHandlers | None:
        """Instructor's parser for this provider and mode; None where it has none."""
        if self._handlers is None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)
                    self._handlers = mode_registry.get_handlers(self.provider, self.mode)
            except KeyError:
                return None
        return self._handlers

    def _form_at_once(
        self, ready: Prepared, asked: dict[str, Any], options: Options
    ) -> tuple[bytes | None, bool]:
        """The form of plain data, and whether it holds no tuples.

        None where it takes a snapshot, or would hold up the loop.
        """
        cache = options.cache or self.settings.cache
        if isinstance(cache, Cassette):
            return None, False
        parts = plain_parts(asked, **self._rest(ready, options, cache.secret))
        form, lists = plain_form_and_kind(parts)
        return None if form is None or len(form) > SLOW else form, lists

    def _key_of_form(self, form: bytes, options: Options) -> Key:
        cache = options.cache or self.settings.cache
        return Key(digest_of_form(form, cache.secret), options.namespace)

    async def _key_of(self, ready: Prepared, snapshot: Snapshot, options: Options) -> Key:
        if snapshot.slow:
            return await to_thread.run_sync(self._key, ready, snapshot, options)
        return self._key(ready, snapshot, options)

    def _key(self, ready: Prepared, snapshot: Snapshot, options: Options) -> Key:
        cache = options.cache or self.settings.cache
        if isinstance(cache, Cassette):
            client = self.provider.value, self.mode.value
            model = self.source.default_model
            settings = self.source.settings()
            return recorded_key(cache, ready, snapshot, options, client, model, settings)
        secret = cache.secret
        parts = parts_of(snapshot, **self._rest(ready, options, secret))
        return Key(digest_of(parts, secret=secret), options.namespace)

    def _rest(self, ready: Prepared, options: Options, secret: bytes | None) -> Rest:
        """What counts beside the arguments."""
        return {
            "of": self._shared(ready.schema, secret),
            "default_model": self.source.default_model,
            "account_named": self.settings.account is not None,
            "vary": options.vary,
        }

    def _shared(self, schema: tuple[object, ...], secret: bytes | None) -> bytes:
        """The digest of what many calls of this client share; remembered.

        The namespace is no part of it: it stands beside the digest in every `Key`, and entries may
        move to another one.
        """
        identity = self.source.identity()
        known, digests = self._digests  # one pair: other threads change settings and ask, too
        if identity is not known:
            digests = {}
            self._digests = (identity, digests)
        at = (schema, secret)
        digest = digests.get(at)
        if digest is None:
            if len(digests) >= _SHARED:
                digests.clear()
            client = (self.provider.value, self.mode.value, identity)
            digest = digest_of((_VERSION, client, schema), secret=secret)
            digests[at] = digest
        return digest

    async def call(self, ready: Prepared, asked: Mapping[str, Any]) -> Answer:
        """Ask the provider."""
        # the prepared class goes in, so that a miss answers with the same class as a hit
        if ready.asked is None:
            raw = await self.create(response_model=None, **asked)
            return Answer(raw, raw)
        caught: list[Any] = []
        hooks = Hooks()
        hooks.on(HookName.COMPLETION_RESPONSE, caught.append)
        given: Hooks | None = asked.get("hooks")
        asked = {**asked, "hooks": hooks if given is None else given + hooks}
        value = await self.create(response_model=ready.model, **asked)
        raw = caught[-1] if caught else _of(value, "_raw_response")
        return Answer(value, raw, _of(value, "_total_usage"))


def _of(value: Any, name: str) -> Any:
    # a scalar has no such thing, and a model of the caller's may answer for any name at all
    held: dict[str, Any] = getattr(value, "__dict__", {})
    return held.get(name) if isinstance(value, (BaseModel, ListResponse)) else None


def _argument(path: str) -> str:
    return "cache_" + path if path.startswith(_VARY) else path.removeprefix(_ASKED)
