"""Calls of instructor's clients, made once: `cached` and `key_of`."""

from samecall.instructor._client import cached, key_of

__all__ = ["cached", "key_of"]
