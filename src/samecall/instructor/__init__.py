"""Calls of instructor's clients, made once; and a cache for its own `cache=`."""

from samecall.instructor._client import cached, key_of, warm
from samecall.instructor._native import NativeCache

__all__ = ["NativeCache", "cached", "key_of", "warm"]
