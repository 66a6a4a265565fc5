"""Processes that are none: each has a thread, a connection and bells of its own."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from samecall._disk import DiskStore
from samecall._disk.place import Place
from samecall._disk.worker import Disk
from samecall._entry import Entry, Key, Kind, Payload, encode_entry, new_stamp


class Process:
    """One process's part of a file."""

    def __init__(self, path: Path, max_bytes: int = 2**30, **more: Any) -> None:
        self.disk = Disk(Place(path, max_bytes), **more)
        self.store = DiskStore(self.disk, Disk.close)

    async def close(self) -> None:
        await self.store.aclose()


def new_key(namespace: str = "disk") -> Key:
    return Key(os.urandom(32), namespace)


def envelope(key: Key, body: bytes = b"answer", kind: Kind = Kind.VALUE) -> bytes:
    return encode_entry(key, Entry(kind, Payload("test", body), new_stamp(), 60.0, 60.0))


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
