"""Events as structured log records, for the standard library's `logging` and for structlog."""

from __future__ import annotations

import logging
from typing import Any

from samecall._entry import Key, Spent
from samecall._errors import ConfigurationError
from samecall._events import (
    BreakerChanged,
    CallAnswered,
    CallUncached,
    EntryRefreshed,
    EntryUndecodable,
    Event,
    ProviderAsked,
    ProviderCalled,
    StoreFaulted,
)

__all__ = ["LogObserver"]

_WORTH = frozenset({"led", "bypass", "coalesced_local", "coalesced_remote"})


class LogObserver:
    """Logs events: `Cache(..., observers=[LogObserver()])`.

    The message says what happened; the facts are fields of the record that begin with `samecall_`
    (`extra` of the standard library, which structlog's `ExtraAdder` and every JSON formatter take
    over). Nothing of a prompt or an answer is logged, and of a key the first 16 digits.

    logger: name or logger (default "samecall"). Provider calls are INFO, hits DEBUG, trouble
    WARNING; what is below the logger's level costs next to nothing.
    """

    def __init__(self, logger: str | logging.Logger = "samecall") -> None:
        if not isinstance(logger, (str, logging.Logger)):
            raise ConfigurationError(
                f"logger takes a name or a logging.Logger; got {type(logger).__name__}"
            )
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger

    def on_hit(self, key: Key, seconds: float, spent: Spent | None, leader: bytes) -> None:
        """See `Observer`."""
        if self._logger.isEnabledFor(logging.DEBUG):
            self.on_event(CallAnswered(key, "l1", seconds, None, spent, leader))

    def on_event(self, event: Event) -> None:
        """See `Observer`."""
        level = _level(event)
        if self._logger.isEnabledFor(level):
            message, fields = _told(event)
            extra = {f"samecall_{name}": value for name, value in fields.items()}
            self._logger.log(level, message, extra=extra)


def _level(event: Event) -> int:
    match event:
        case CallAnswered(error=None, how=how):
            return logging.INFO if how in _WORTH else logging.DEBUG
        case ProviderCalled(error=None):
            return logging.INFO
        case ProviderAsked():
            return logging.DEBUG
        case BreakerChanged(open=False) | EntryRefreshed(error=None):
            return logging.INFO
        case _:
            return logging.WARNING


def _told(event: Event) -> tuple[str, dict[str, Any]]:
    match event:
        case CallAnswered():
            word = "answered" if event.error is None else "failed"
            return f"call {word}", {
                **_where(event),
                "how": event.how,
                "seconds": event.seconds,
                "error": event.error,
                **_spent(event.spent),
            }
        case ProviderAsked():
            return "provider asked", {**_where(event), **_spent(event.about)}
        case ProviderCalled():
            word = "answered" if event.error is None else "failed"
            return f"provider {word}", {
                **_where(event),
                "seconds": event.seconds,
                "error": event.error,
                **_spent(event.spent),
            }
        case CallUncached(reason=reason):
            return "call not cached", {"reason": reason}
        case EntryRefreshed(key=key, error=error):
            word = "refreshed" if error is None else "not refreshed"
            return f"entry {word}", {
                "key": key.hex[:16],
                "namespace": key.namespace,
                "error": error,
            }
        case EntryUndecodable(key=key, reason=reason):
            return "entry refused", {
                "key": key.hex[:16],
                "namespace": key.namespace,
                "reason": reason,
            }
        case StoreFaulted(operation=operation, error=error):
            return "store failed", {"operation": operation, "error": error}
        case BreakerChanged(open=is_open):
            return ("going on without the store" if is_open else "store is back"), {"open": is_open}


def _where(event: CallAnswered | ProviderAsked | ProviderCalled) -> dict[str, Any]:
    return {
        "key": event.key.hex[:16],
        "namespace": event.key.namespace,
        "flight": event.leader.hex(),
    }


def _spent(spent: Spent | None) -> dict[str, Any]:
    if spent is None:
        return {}
    return {
        "model": spent.model,
        "provider": spent.provider,
        "input_tokens": spent.input,
        "output_tokens": spent.output,
    }
