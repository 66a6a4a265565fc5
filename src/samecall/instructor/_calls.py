"""One call of a cached client, from its arguments to its answer."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from typing import Any

from anyio import to_thread
from instructor.v2.core.client import Instructor
from instructor.v2.core.hooks import HookName, Hooks
from instructor.v2.core.mode import Mode
from instructor.v2.core.registry import ModeHandlers, mode_registry
from instructor.v2.dsl.response_list import ListResponse
from pydantic import BaseModel

from samecall._entry import Key
from samecall._errors import Unkeyable
from samecall._key import digest_of
from samecall.instructor._account import Source, closure_of
from samecall.instructor._codec import Answer, AnswerCodec
from samecall.instructor._models import Prepared, prepared
from samecall.instructor._options import Options, Settings, take_options
from samecall.instructor._question import Snapshot, parts_of

__all__ = ["Calls"]

_VERSION = "instructor/1"
_ASKED = "asked."
_SHARED = 1_024
Create = Callable[..., Awaitable[Any]]


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
        self._handlers: ModeHandlers | None = None
        self._digests: tuple[tuple[object, ...], dict[tuple[object, ...], bytes]] = ((), {})

    def streams(self, asked: dict[str, Any]) -> bool:
        """Whether this call's answer comes in pieces."""
        return bool(asked.get("stream"))

    async def stream(self, asked: dict[str, Any]) -> Any:
        """Pass a streaming call through, uncached and counted."""
        options = take_options(asked, self.settings)
        if options.cache is not None:
            options.cache.report_stream()
        return await self.create(**asked)

    async def answer(self, asked: dict[str, Any]) -> Answer:
        """The answer to instructor's own arguments; `asked` is this call's own dict."""
        model = asked.pop("response_model", None)
        options = take_options(asked, self.settings)
        ready = prepared(model, parallel=self.parallel and model is not None)
        cache = options.cache
        if cache is None:
            return await self._call(ready, asked)
        try:
            snapshot = Snapshot(asked)
            if snapshot.slow:
                key = await to_thread.run_sync(self._key, ready, snapshot, options)
            else:
                key = self._key(ready, snapshot, options)
        except Unkeyable as unkeyable:
            cache.report_uncached(f"{_argument(unkeyable.path)}: {unkeyable.why}")
            return await self._call(ready, asked)
        now = snapshot.asked
        return await cache.get_or_call(
            key,
            lambda: self._call(ready, now),
            policy=options.policy,
            codec=self._codec(ready, self.handlers(), now),
            mode=options.mode,
        )

    def key(self, asked: dict[str, Any]) -> Key:
        """The key of a call; reads local files at once. Raises `Unkeyable`."""
        model = asked.pop("response_model", None)
        options = take_options(asked, self.settings)
        ready = prepared(model, parallel=self.parallel and model is not None)
        try:
            return self._key(ready, Snapshot(asked), options)
        except Unkeyable as unkeyable:
            raise Unkeyable(_argument(unkeyable.path), unkeyable.why) from None

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

    def _key(self, ready: Prepared, snapshot: Snapshot, options: Options) -> Key:
        cache = options.cache or self.settings.cache
        parts = parts_of(
            snapshot,
            of=self._shared(ready.schema, options.namespace, cache.secret),
            default_model=self.source.default_model,
            account_named=self.settings.account is not None,
            vary=options.vary,
        )
        return Key(digest_of(parts, secret=cache.secret), options.namespace)

    def _shared(self, schema: tuple[object, ...], namespace: str, secret: bytes | None) -> bytes:
        """The digest of what many calls of this client share; remembered."""
        identity = self.source.identity()
        known, digests = self._digests  # one pair: other threads change settings and ask, too
        if identity is not known:
            digests = {}
            self._digests = (identity, digests)
        at = (schema, namespace, secret)
        digest = digests.get(at)
        if digest is None:
            if len(digests) >= _SHARED:
                digests.clear()
            client = (self.provider.value, self.mode.value, identity)
            digest = digest_of((_VERSION, client, schema, namespace), secret=secret)
            digests[at] = digest
        return digest

    async def _call(self, ready: Prepared, asked: dict[str, Any]) -> Answer:
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
    return path.removeprefix(_ASKED)
