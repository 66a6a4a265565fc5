"""The `cache*` arguments of one call, taken out of what goes to the provider."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from samecall._arguments import MODES, Mode, check_namespace, check_tags
from samecall._errors import ConfigurationError
from samecall._policy import Policy, seconds

if TYPE_CHECKING:
    from samecall._cache import Cache

__all__ = ["Options", "Settings", "check_cache", "take_options"]

_NAMES = (
    "cache",
    "cache_ttl",
    "cache_namespace",
    "cache_mode",
    "cache_policy",
    "cache_tags",
    "cache_vary",
)
_PROVIDERS = frozenset({"cache_control"})
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Options:
    """How one call uses the cache; `cache` is None for a call that leaves it alone."""

    cache: Cache | None
    policy: Policy | None
    namespace: str
    mode: Mode
    vary: Any
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """What `cached` was given: the defaults of every call of one client."""

    cache: Cache
    policy: Policy | None = None
    namespace: str | None = None
    account: str | None = None
    plain: Options = field(init=False)
    """The options of a call that says nothing about the cache."""

    def __post_init__(self) -> None:
        namespace = self.namespace or self.cache.namespace
        options = Options(self.cache, self.policy, namespace, "use", None)
        object.__setattr__(self, "plain", options)


def check_cache(value: Any, name: str) -> Any:
    """`value`, if it is a cache of ours."""
    if callable(getattr(value, "get_or_call", None)) and not isinstance(value, type):
        return value
    raise ConfigurationError(
        f"{name} takes a samecall.Cache{' or None' if name == 'cache=' else ''}; "
        f"got {type(value).__name__}"
        + (" (instructor's own caches cannot be combined with it)" if hasattr(value, "get") else "")
    )


def take_options(asked: dict[str, Any], settings: Settings) -> Options:
    """Pop the arguments named `cache*` from `asked`; `ConfigurationError` for a wrong one."""
    if not _any_ours(tuple(asked)) and asked.get("timeout") is None:
        return settings.plain
    for name in asked:
        if name.startswith("cache_") and name not in _NAMES and name not in _PROVIDERS:
            raise ConfigurationError(f"{name} is not an argument; these are: {', '.join(_NAMES)}")
    chosen = asked.pop("cache", _ABSENT)
    if chosen is _ABSENT:
        cache: Cache | None = settings.cache
    else:
        cache = None if chosen is None else check_cache(chosen, "cache=")
    ttl = asked.pop("cache_ttl", None)
    ttl = None if ttl is None else seconds(ttl, "cache_ttl")
    space = asked.pop("cache_namespace", None)
    mode = asked.pop("cache_mode", "use")
    if mode not in MODES:
        raise ConfigurationError(
            f"cache_mode takes {', '.join(map(repr, MODES))}; got {mode!r:.60}"
        )
    vary = asked.pop("cache_vary", None)
    if space is not None:
        namespace = check_namespace(space, "cache_namespace")
    else:
        namespace = settings.namespace or (cache.namespace if cache is not None else "default")
    wait = asked.get("timeout")
    policy = asked.pop("cache_policy", None)
    if policy is None:
        policy = settings.policy
    elif not isinstance(policy, Policy):
        raise ConfigurationError(f"cache_policy takes a Policy; got {type(policy).__name__}")
    tags = asked.pop("cache_tags", ())
    tags = check_tags(tags, "cache_tags") if tags != () else ()
    if cache is not None and (ttl is not None or _is_wait(wait)):
        policy = _derived(policy or cache.policy, ttl, wait if _is_wait(wait) else None)
    return Options(cache, policy, namespace, mode, vary, tags)


@lru_cache(1_024)
def _any_ours(names: tuple[str, ...]) -> bool:
    # the same few sets of names again and again
    return any(name.startswith("cache") for name in names)


def _is_wait(timeout: Any) -> bool:
    return isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and 0 < timeout < 1e8


def _derived(policy: Policy, ttl: float | None, wait: float | None) -> Policy:
    try:
        return _remembered(policy, ttl, wait)
    except TypeError:  # a rule that has no hash
        return _remembered.__wrapped__(policy, ttl, wait)


@lru_cache(256)
def _remembered(policy: Policy, ttl: float | None, wait: float | None) -> Policy:
    changes: dict[str, float] = {}
    if ttl is not None:
        changes["ttl"] = ttl
    if wait is not None:
        changes["wait"] = wait if policy.wait is None else min(wait, policy.wait)
    return policy.replace(**changes)
