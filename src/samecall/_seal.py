"""Sealed entries: whoever writes to the store without a key can cause misses, and nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from samecall._errors import ConfigurationError, Undecodable
from samecall._policy import Duration, seconds

__all__ = ["CLOCKS", "FOREIGN", "NOT_SEALED", "NO_SEAL", "UNOPENED", "Seal"]

NO_SEAL = "it is sealed, and there is no key here"
NOT_SEALED = "it is not sealed"
_OTHER_KEY = "sealed with a key that is not here"
_BROKEN = "its seal is broken"
FOREIGN = frozenset({NO_SEAL, _OTHER_KEY})
"""Why an entry may well be an answer to others."""
UNOPENED = FOREIGN | {NOT_SEALED, _BROKEN}
"""Why an entry is a miss to who has no key, another one, or none any more."""

CLOCKS = 5.0
"""Seconds that the clocks of two machines of one fleet may differ, where the order matters."""
_KEY, _NONCE = 32, 12
_LEAST_VALID = 300.0
_ID = re.compile(r"[A-Za-z0-9._-]{1,40}")


class Seal:
    """The keys that entries are sealed with (AES-256-GCM-SIV), by id.

    keys: 32 random bytes each (`Seal.new_key()`), by an id of 1 to 40 letters, digits, dots,
    dashes and underscores that is stored in the clear. current: the id of the key that writes; all
    of them read. To rotate, give the whole fleet the new key, then make it current, and take the
    old one away once the longest `ttl` has gone by.

    generation_validity: seconds (300 or more) or a `timedelta`, the same in the whole fleet: the
    generation of a tag or namespace that no process with a key has used for so long is over, and
    all that bears it forgotten; one that is used every two thirds of it at the least is sealed
    anew in time. So what somebody has kept of the store for so long brings nothing back that was
    forgotten (default None: only the lives of entries are a bound). renews_generations: whether
    this process seals them anew (default True); False in all but the one process that forgets
    keeps the others from being led to renew what is over.

    Needs the extra `seal`. Raises `ConfigurationError`.
    """

    def __init__(
        self,
        keys: Mapping[str, bytes],
        current: str,
        *,
        generation_validity: Duration | None = None,
        renews_generations: bool = True,
    ) -> None:
        if not isinstance(keys, Mapping) or not keys:
            raise ConfigurationError("keys takes a dict of at least one key of 32 bytes by its id")
        self._ciphers = {_id(name): _cipher(name, key) for name, key in keys.items()}
        if current not in self._ciphers:
            known = ", ".join(self._ciphers)
            raise ConfigurationError(f"current takes the id of one of the keys ({known})")
        self.current = current
        self.generation_validity = _validity(generation_validity)
        self.renews_generations = _renews(renews_generations, self.generation_validity)

    @staticmethod
    def new_key() -> bytes:
        """32 random bytes."""
        return os.urandom(_KEY)

    def close(self, data: bytes, bound: bytes) -> bytes:
        """`data` sealed with the current key; it opens with the same `bound` only."""
        nonce = os.urandom(_NONCE)
        name = self.current.encode()
        head = bytes((len(name),)) + name
        sealed: bytes = self._ciphers[self.current].encrypt(nonce, data, head + bound)
        return head + nonce + sealed

    def open(self, sealed: bytes, bound: bytes) -> bytes:
        """What was sealed; raises `Undecodable`."""
        start = 1 + sealed[0] if sealed else 0
        head, nonce = sealed[:start], sealed[start : start + _NONCE]
        cipher = self._ciphers.get(head[1:].decode("ascii", "replace"))
        if cipher is None:
            raise Undecodable(_OTHER_KEY)
        try:
            opened: bytes = cipher.decrypt(nonce, sealed[start + _NONCE :], head + bound)
        except Exception as error:  # cryptography's own, or of what is too short to be anything
            raise Undecodable(_BROKEN) from error
        return opened

    def is_current(self, sealed: bytes) -> bool:
        """Whether something was sealed with the key that writes now."""
        return sealed.startswith(bytes((len(self.current),)) + self.current.encode())

    def __repr__(self) -> str:
        return f"Seal({', '.join(self._ciphers)}; current {self.current})"


def _id(name: object) -> str:
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise ConfigurationError(
            "keys takes ids of 1 to 40 letters, digits, dots, dashes and underscores"
        )
    return name


def _validity(value: Duration | None) -> float | None:
    if value is None:
        return None
    number = seconds(value, "generation_validity")
    if number < _LEAST_VALID:  # who answers from memory looks once a minute, and clocks differ
        raise ConfigurationError(
            f"generation_validity takes {_LEAST_VALID:g} seconds or more, as what is in use is"
            f" renewed by processes that look once a minute (None: no bound); got {value!r:.60}"
        )
    return number


def _renews(value: object, validity: float | None) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"renews_generations takes True or False; got {value!r:.60}")
    if validity is None and not value:
        raise ConfigurationError(
            "renews_generations=False takes a generation_validity as well, or there is nothing to"
            " renew: Seal(..., generation_validity=3600, renews_generations=False)"
        )
    return value


def _cipher(name: str, key: object) -> Any:
    if not isinstance(key, bytes) or len(key) != _KEY:
        length = f"{len(key)} bytes" if isinstance(key, bytes) else type(key).__name__
        raise ConfigurationError(f"keys takes keys of {_KEY} bytes; {name!r} has {length}")
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
    except ImportError:
        raise ConfigurationError("seal needs an extra: pip install 'samecall[seal]'") from None
    try:
        return AESGCMSIV(key)
    except UnsupportedAlgorithm:
        raise ConfigurationError(
            "seal needs a cryptography that was built with OpenSSL 3.2 or newer, as its wheels are"
        ) from None
