"""A pytest plugin: instructor's own in-process cache becomes ours, before its tests import it."""

from __future__ import annotations

import os
import uuid

import instructor.cache

from samecall import L1, Cache
from samecall.instructor import NativeCache

URL = os.environ["SAMECALL_UPSTREAM_URL"]


class Swapped(NativeCache):
    """Takes what `AutoCache` takes; each one has a namespace of its own, as each `AutoCache` has
    a dict of its own.
    """

    def __init__(self, maxsize: int = 128) -> None:
        if maxsize <= 0:
            raise ValueError("maxsize must be > 0")
        super().__init__(Cache(URL, namespace=uuid.uuid4().hex, l1=L1(entries=maxsize)))


instructor.cache.AutoCache = Swapped  # type: ignore[misc]
