"""Recorded calls for tests that run offline; see `cassette`."""

from samecall._cassette.cassette import Cassette, CassetteMode

__all__ = ["Cassette", "CassetteMode"]
