"""The store on disk; see `store`."""

from samecall._disk.place import place_of
from samecall._disk.store import DiskStore, open_disk

__all__ = ["DiskStore", "open_disk", "place_of"]
