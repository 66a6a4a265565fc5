"""The exceptions: one root, so that `except SamecallError` catches all that is ours."""

from __future__ import annotations

__all__ = [
    "CacheMiss",
    "ConfigurationError",
    "DeadlineExceeded",
    "NodeUnreachable",
    "ReentrantCall",
    "RemoteCallError",
    "SamecallError",
    "SamecallWarning",
    "StoreError",
    "StoreRefused",
    "StoreUnreachable",
    "StoreUnusable",
    "StreamInterrupted",
    "Undecodable",
    "Unkeyable",
    "Unstorable",
    "WaitTimeout",
]


class SamecallError(Exception):
    """The root of every exception that samecall itself raises."""


class SamecallWarning(UserWarning):
    """Something went uncached or unstored; the call was answered all the same."""


class ConfigurationError(SamecallError, ValueError):
    """An argument cannot be used; the message names it and says what it takes."""


class CacheMiss(SamecallError, LookupError):
    """`cache_mode="only"` found no entry, and calling the provider was not allowed."""


class ReentrantCall(SamecallError, RuntimeError):
    """A flight asked for its own key: it would wait for itself for ever."""


class WaitTimeout(SamecallError, TimeoutError):
    """A follower's own `wait` ended before the leader's answer came; the call goes on."""


class DeadlineExceeded(SamecallError, TimeoutError):
    """A flight ran into its `deadline`: the provider did not answer in that time."""


class StreamInterrupted(SamecallError):
    """A recording broke after this consumer had received some of it.

    Attributes: `items`, a tuple of all that it had received.
    """

    def __init__(self, message: str, items: tuple[object, ...] = ()) -> None:
        super().__init__(message)
        self.items = items


class RemoteCallError(SamecallError):
    """A leader in another process failed; its error, told by name.

    Attributes: `class_name` (of the leader's exception), `status` (HTTP status or None),
    `retry_after` (seconds or None).
    """

    def __init__(
        self,
        message: str,
        *,
        class_name: str = "Exception",
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.class_name = class_name
        self.status = status
        self.retry_after = retry_after

    def __str__(self) -> str:
        status = f" (HTTP {self.status})" if self.status is not None else ""
        return f"{self.class_name}{status}: {self.args[0]}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_remake_remote, (self.args[0], self.class_name, self.status, self.retry_after))


def _remake_remote(
    message: str, class_name: str, status: int | None, retry_after: float | None
) -> RemoteCallError:
    return RemoteCallError(message, class_name=class_name, status=status, retry_after=retry_after)


class StoreError(SamecallError):
    """A store could not do what was asked: refused, slow, gone or talking nonsense."""


class StoreUnreachable(StoreError):
    """A store did not answer: refused, cut off, or silent for too long."""


class NodeUnreachable(StoreError):
    """One node of a store did not answer, while others do."""


class StoreRefused(StoreError):
    """A store answered that this login may not use it."""

    def advice(self, where: str) -> str:
        """What is wrong with the configuration, in words for who wrote it."""
        return (
            f"{where} refuses the login ({self}); "
            "give the user and password in the URL, redis://user:password@host:port/db"
        )


class StoreUnusable(StoreRefused):
    """What a store was given leads to nothing that it can use; the message says why."""

    def advice(self, where: str) -> str:
        """The message says it all."""
        return str(self)


class Undecodable(SamecallError):
    """Bytes that are no entry of this key: damaged, foreign, swapped or of another version."""


class Unstorable(SamecallError):
    """An answer that has no stored form; it is returned to its caller and not kept."""


class Unkeyable(SamecallError):
    """A call whose arguments have no canonical form; `path` names the argument."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why
