"""A cache for instructor's own `cache=`: its two methods, bounded in time, over any store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from instructor.cache import BaseCache

from samecall._arguments import L1
from samecall._cache import Cache
from samecall._errors import CacheMiss, ConfigurationError
from samecall._policy import LONGEST, Duration, Policy, seconds
from samecall._portal import loop_for
from samecall._warn import warn

__all__ = ["NativeCache"]

T = TypeVar("T")
_PATIENCE = 2.0
"""Times `op_timeout` that a caller waits for the thread in which the cache works."""


class NativeCache(BaseCache):
    """instructor's `BaseCache` over any store: `from_provider(..., cache=NativeCache("redis://"))`.

    url_or_cache: a URL or store as `Cache` takes it, or a `Cache`. namespace: where entries of a
    URL stand (default "instructor"); a `Cache` has its own. ttl: how long an answer is kept
    where the call says no `cache_ttl` (seconds or a `timedelta`; default: the policy's, a day).

    Thread-safe; may be used inside and outside of event loops. A store that is slow or gone is a
    miss, at most twice `op_timeout` late, and never an exception. Raises `ConfigurationError`.
    """

    def __init__(
        self,
        url_or_cache: object = "memory://",
        *,
        namespace: str | None = None,
        ttl: Duration | None = None,
        policy: Policy | None = None,
        l1: L1 | None = L1(),  # noqa: B008 - frozen
    ) -> None:
        if isinstance(url_or_cache, Cache):
            if namespace is not None:
                raise ConfigurationError("namespace is told to the Cache itself, which is given")
            self.cache = url_or_cache
        else:
            space = "instructor" if namespace is None else namespace
            self.cache = Cache(url_or_cache, namespace=space, policy=policy, l1=l1)
        self._policy = policy or self.cache.policy
        if ttl is not None:
            self._policy = self._policy.replace(ttl=seconds(ttl, "ttl"))

    def get(self, key: str) -> Any | None:
        """What is kept at `key`, or None."""

        async def look() -> Any:
            try:
                return await self.cache.get_or_call(key, _nothing, policy=self._policy, mode="only")
            except CacheMiss:
                return None

        return self._within(look)

    def set(self, key: str, value: Any, ttl: float | timedelta | None = None) -> None:
        """Keep plain data at `key` for `ttl` seconds, ten years at the most.

        0 or less keeps nothing, and so does what is no duration, with a warning: instructor has
        paid for `value` by now.
        """
        life = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
        if isinstance(life, (int, float)):
            life = min(life, LONGEST)
            if life <= 0:
                return
        try:
            policy = self._policy if life is None else self._policy.replace(ttl=life)
        except ConfigurationError as error:
            warn(f"not cached: {error}", 2)
            return

        async def value_itself() -> Any:
            return value

        async def keep() -> None:
            await self.cache.get_or_call(key, value_itself, policy=policy, mode="refresh")

        self._within(keep)

    def _within(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """What `work` gives in the portal's loop, in time; its trouble is one warning and None."""
        try:
            loop = loop_for(self.cache)
            if _running() is loop:
                return None  # it would wait for itself
            done = asyncio.run_coroutine_threadsafe(work(), loop)
            return done.result(_PATIENCE * self._policy.op_timeout)
        except TimeoutError:
            return None  # it goes on by itself, and ends within its own bounds
        except Exception as error:  # noqa: BLE001 - the caller has paid, or is about to: nothing is lost here
            warn(f"not cached: {type(error).__name__}: {error}", 2)
            return None


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _nothing() -> None:
    raise AssertionError("mode 'only' calls nobody")
