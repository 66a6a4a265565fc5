"""`Policy`: how calls are kept, waited for and paid; and durations."""

from __future__ import annotations

import dataclasses
import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from samecall._errors import ConfigurationError

__all__ = ["Duration", "Policy", "seconds"]

_YEAR = 366 * 86_400.0
Duration = float | timedelta


def seconds(
    value: object,
    name: str,
    *,
    zero: bool = False,
    most: float = 10 * _YEAR,
) -> float:
    """`value` (int, float or timedelta) as seconds; `ConfigurationError` names the argument."""
    takes = f"seconds (int or float) or a timedelta, {'0 or more' if zero else 'more than 0'}"
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    else:
        raise ConfigurationError(f"{name} takes {takes}; got {type(value).__name__} {value!r:.60}")
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero) or number > most:
        raise ConfigurationError(f"{name} takes {takes}, at most {most:g}; got {value!r:.60}")
    return number


def _count(value: object, name: str, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{name} takes a whole number from {least}; got {value!r:.60}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How calls are kept, waited for and paid; every duration is seconds or a `timedelta`.

    ttl: how long an answer is fresh (default one day).
    ttl_jitter: fraction of `ttl` by which each entry's life is shortened at random, so that
        entries made together do not expire together (0 to 1, default 0).
    max_age: this reader takes no answer older than this (default: as old as it may be).
    error_ttl: how long a shared error or refused completion answers others (default 2 s; 0: off).
    retry_after_cap: a provider's Retry-After longer than `error_ttl` wins up to this (60 s).
    share_errors: whether a leader's error reaches the callers that waited for it (default True).
    lease: life of the Redis claim, renewed every third of it while the call runs (default 5 s).
    wait: how long a follower waits for somebody else's call (default None: as long as it runs).
    op_timeout: bound on the store's share of one call (default 0.2 s).
    deadline: bound on one flight; then its callers get a TimeoutError and the key is free (600 s).
    on_abandon: when the last caller of a flight has gone, "finish" it for the cache (default)
        or "abandon" it.
    bulkhead: provider calls in the air in this process while no lease protects them (default 256).
    max_entry: an answer whose envelope is larger (bytes) is returned and not stored (16 MiB).
    """

    ttl: float = 86_400.0
    ttl_jitter: float = 0.0
    max_age: float | None = None
    error_ttl: float = 2.0
    retry_after_cap: float = 60.0
    share_errors: bool = True
    lease: float = 5.0
    wait: float | None = None
    op_timeout: float = 0.2
    deadline: float = 600.0
    on_abandon: Literal["finish", "abandon"] = "finish"
    bulkhead: int = 256
    max_entry: int = 16 * 2**20

    if TYPE_CHECKING:  # the constructor takes timedeltas too; the fields are seconds afterwards

        def __init__(
            self,
            *,
            ttl: Duration = 86_400.0,
            ttl_jitter: float = 0.0,
            max_age: Duration | None = None,
            error_ttl: Duration = 2.0,
            retry_after_cap: Duration = 60.0,
            share_errors: bool = True,
            lease: Duration = 5.0,
            wait: Duration | None = None,
            op_timeout: Duration = 0.2,
            deadline: Duration = 600.0,
            on_abandon: Literal["finish", "abandon"] = "finish",
            bulkhead: int = 256,
            max_entry: int = 16 * 2**20,
        ) -> None: ...

    def __post_init__(self) -> None:
        put = object.__setattr__  # frozen: this is the one place that normalises
        for name in ("ttl", "lease", "op_timeout", "deadline"):
            put(self, name, seconds(getattr(self, name), name))
        for name in ("error_ttl", "retry_after_cap"):
            put(self, name, seconds(getattr(self, name), name, zero=True))
        for name in ("wait", "max_age"):
            if getattr(self, name) is not None:
                put(self, name, seconds(getattr(self, name), name, zero=True))
        if self.lease < 0.05:
            raise ConfigurationError(f"lease takes 0.05 seconds or more; got {self.lease!r}")
        jitter: Any = self.ttl_jitter
        if isinstance(jitter, bool) or not isinstance(jitter, (int, float)) or not 0 <= jitter < 1:
            raise ConfigurationError(f"ttl_jitter takes 0 to below 1; got {jitter!r:.60}")
        if self.on_abandon not in ("finish", "abandon"):
            raise ConfigurationError(
                f'on_abandon takes "finish" or "abandon"; got {self.on_abandon!r:.60}'
            )
        if not isinstance(self.share_errors, bool):
            raise ConfigurationError(f"share_errors takes True or False; got {self.share_errors!r}")
        _count(self.bulkhead, "bulkhead")
        _count(self.max_entry, "max_entry")

    def replace(self, **changes: Any) -> Policy:
        """This policy with some fields changed."""
        return dataclasses.replace(self, **changes)
