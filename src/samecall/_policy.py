"""`Policy`: how calls are kept, waited for and paid; and durations."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from samecall._errors import ConfigurationError

__all__ = ["LONGEST", "Duration", "Policy", "is_async", "seconds"]

LONGEST = 10 * 366 * 86_400.0
"""Seconds: ten years, beyond which no duration goes."""
_EARLIEST = 100
_VARIANTS = 1_000
Duration = float | timedelta


def seconds(
    value: object,
    name: str,
    *,
    zero: bool = False,
    most: float = LONGEST,
) -> float:
    """`value` (int, float or timedelta) as seconds; `ConfigurationError` names the argument."""
    takes = f"seconds (int or float) or a timedelta, {'0 or more' if zero else 'more than 0'}"
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value) if abs(value) <= most else math.inf  # an int may be too large for one
    else:
        raise ConfigurationError(f"{name} takes {takes}; got {type(value).__name__} {value!r:.60}")
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero) or number > most:
        raise ConfigurationError(f"{name} takes {takes}, at most {most:g}; got {value!r:.60}")
    return number


def _count(value: object, name: str, least: int = 1, most: float = math.inf) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        to = "" if most == math.inf else f" to {most}"
        raise ConfigurationError(f"{name} takes a whole number from {least}{to}; got {value!r:.60}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _one_of(value: object, name: str, *known: str) -> None:
    if value not in known:
        takes = " or ".join(f'"{each}"' for each in known)
        raise ConfigurationError(f"{name} takes {takes}; got {value!r:.60}")


def is_async(function: object) -> bool:
    """Whether a call of it is to be awaited; also of an object that is called like a function."""
    called = getattr(function, "__call__", None)  # noqa: B004 - which of its kinds it is
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def _function(value: object, name: str, of: str) -> None:
    if value is not None and (not callable(value) or is_async(value)):
        raise ConfigurationError(
            f"{name} takes None or a plain function {of}; got {type(value).__name__}"
        )


def _check_replay(value: object) -> None:
    if isinstance(value, str):
        fine = value in ("instant", "paced")
    else:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        fine = number and math.isfinite(value) and value > 0  # type: ignore[arg-type,operator]
    if not fine:
        raise ConfigurationError(
            f'replay takes "instant", "paced" or a factor above 0; got {value!r:.60}'
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How calls are kept, waited for and paid; every duration is seconds or a `timedelta`.

    ttl: how long an answer is fresh (default one day).
    ttl_jitter: fraction of `ttl` by which each entry's life is shortened at random, so that
        entries made together do not expire together (0 to 1, default 0).
    lifetime: decides by the answer how long it is fresh: a function of what `create` returns that
        gives seconds or a `timedelta`, 0 for "do not store", None for `ttl` (default None).
    stale_while_revalidate: for how long after that an answer is still given at once, while one
        caller in the fleet renews it in the background (default 0: not at all).
    stale_if_error: for how long after that it is given instead of an error of the call, or of the
        end of `wait` (default 0: not at all).
    early_refresh: renews answers in the background before they become stale, the earlier the
        longer their calls take; 1 is a good value, more is earlier (default 0: not at all).
    max_age: this reader takes no answer older than this (default: as old as it may be).
    should_store: a function of the request and the answer that says whether it is stored. The
        request is `create`'s or the memoized function's arguments by name (`get_or_call`: the
        key), the answer what its caller gets, of a client's stream what `create` would return
        (default None: every answer).
    variants: how many answers to one call are kept; each caller gets one of them (default 1).
    pick: which of them: "random" (default), or "in_turn": this process's callers get one after the
        other, so that who asks again has another answer until all were given.
    error_ttl: how long a shared error or refused completion answers others (default 2 s; 0: off).
    retry_after_cap: a provider's Retry-After longer than `error_ttl` wins up to this (60 s).
    share_errors: whether a leader's error reaches the callers that waited for it (default True).
    lease: life of the Redis claim, renewed every third of it while the call runs (default 5 s).
    wait: how long a follower waits for somebody else's call (default None: as long as it runs);
        then it gets a stale answer, if one is kept.
    on_timeout: what it gets where none is: "raise" `WaitTimeout` (default) or "call" for itself.
    op_timeout: bound on what a call loses by a store that does not answer (default 0.2 s). It has
        nine tenths of that to answer in.
    deadline: bound on one flight; then its callers get a TimeoutError and the key is free (600 s).
        Who has waited so long for another process's calls makes one of its own.
    on_abandon: when the last caller of a flight has gone, "finish" it for the cache (default)
        or "abandon" it.
    bulkhead: provider calls in the air in this process while no lease protects them (default 256).
    replay: how a stored stream comes back: "instant" (default), "paced" like the original, or a
        factor that speeds it up (2: twice as fast).
    compress_over: bytes from which a payload is stored compressed, where the extra `zstd` is
        installed (default 256; None: never).
    max_entry: an answer whose envelope is larger (bytes) is returned and not stored (16 MiB).
    """

    ttl: float = 86_400.0
    ttl_jitter: float = 0.0
    lifetime: Callable[[Any], Duration | None] | None = None
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    early_refresh: float = 0.0
    max_age: float | None = None
    should_store: Callable[[Any, Any], bool] | None = None
    variants: int = 1
    pick: Literal["random", "in_turn"] = "random"
    error_ttl: float = 2.0
    retry_after_cap: float = 60.0
    share_errors: bool = True
    lease: float = 5.0
    wait: float | None = None
    on_timeout: Literal["raise", "call"] = "raise"
    op_timeout: float = 0.2
    deadline: float = 600.0
    on_abandon: Literal["finish", "abandon"] = "finish"
    bulkhead: int = 256
    compress_over: int | None = 256
    max_entry: int = 16 * 2**20
    replay: Literal["instant", "paced"] | float = "instant"

    if TYPE_CHECKING:  # the constructor takes timedeltas too; the fields are seconds afterwards

        def __init__(
            self,
            *,
            ttl: Duration = 86_400.0,
            ttl_jitter: float = 0.0,
            lifetime: Callable[[Any], Duration | None] | None = None,
            stale_while_revalidate: Duration = 0.0,
            stale_if_error: Duration = 0.0,
            early_refresh: float = 0.0,
            max_age: Duration | None = None,
            should_store: Callable[[Any, Any], bool] | None = None,
            variants: int = 1,
            pick: Literal["random", "in_turn"] = "random",
            error_ttl: Duration = 2.0,
            retry_after_cap: Duration = 60.0,
            share_errors: bool = True,
            lease: Duration = 5.0,
            wait: Duration | None = None,
            on_timeout: Literal["raise", "call"] = "raise",
            op_timeout: Duration = 0.2,
            deadline: Duration = 600.0,
            on_abandon: Literal["finish", "abandon"] = "finish",
            bulkhead: int = 256,
            compress_over: int | None = 256,
            max_entry: int = 16 * 2**20,
            replay: Literal["instant", "paced"] | float = "instant",
        ) -> None: ...

    def __post_init__(self) -> None:
        put = object.__setattr__  # frozen: this is the one place that normalises
        for name in ("ttl", "lease", "op_timeout", "deadline"):
            put(self, name, seconds(getattr(self, name), name))
        for name in (
            "error_ttl", "retry_after_cap", "stale_while_revalidate", "stale_if_error"
        ):  # fmt: skip
            put(self, name, seconds(getattr(self, name), name, zero=True))
        for name in ("wait", "max_age"):
            if getattr(self, name) is not None:
                put(self, name, seconds(getattr(self, name), name, zero=True))
        if self.lease < 0.05:
            raise ConfigurationError(f"lease takes 0.05 seconds or more; got {self.lease!r}")
        if not _is_number(self.ttl_jitter) or not 0 <= self.ttl_jitter < 1:
            raise ConfigurationError(f"ttl_jitter takes 0 to below 1; got {self.ttl_jitter!r:.60}")
        if not _is_number(self.early_refresh) or not 0 <= self.early_refresh <= _EARLIEST:
            raise ConfigurationError(
                f"early_refresh takes 0 to {_EARLIEST}; got {self.early_refresh!r:.60}"
            )
        _one_of(self.on_abandon, "on_abandon", "finish", "abandon")
        _one_of(self.pick, "pick", "random", "in_turn")
        _one_of(self.on_timeout, "on_timeout", "raise", "call")
        _function(self.lifetime, "lifetime", "of the answer")
        _function(self.should_store, "should_store", "of request and answer")
        _count(self.variants, "variants", most=_VARIANTS)
        if not isinstance(self.share_errors, bool):
            raise ConfigurationError(f"share_errors takes True or False; got {self.share_errors!r}")
        _check_replay(self.replay)
        _count(self.bulkhead, "bulkhead")
        _count(self.max_entry, "max_entry")
        if self.compress_over is not None:
            _count(self.compress_over, "compress_over", least=0)

    @property
    def spare_for(self) -> float:
        """Seconds for which an answer is kept after it has become stale."""
        return max(self.stale_while_revalidate, self.stale_if_error)

    def replace(self, **changes: Any) -> Policy:
        """This policy with some fields changed."""
        return dataclasses.replace(self, **changes)
