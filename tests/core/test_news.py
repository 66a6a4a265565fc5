"""What waiters are told, and what they make of it."""

from __future__ import annotations

import pytest

from samecall._entry import MAGIC
from samecall._news import LONGEST_SPREAD, RIDES, WIDE, news, spread_of


def test_a_small_entry_rides_whoever_listens() -> None:
    assert news(b"x" * RIDES, 1) == b"x" * RIDES
    assert news(b"x" * RIDES, WIDE // RIDES) == b"x" * RIDES


def test_a_large_one_stays_behind() -> None:
    assert news(b"x" * (RIDES + 1), 1) == b""
    assert news(b"x" * WIDE, 1) == b""


def test_what_is_too_much_at_once_is_spread() -> None:
    """In proportion to all bytes, up to a bound."""
    assert spread_of(news(b"x" * RIDES, WIDE // RIDES + 1)) == pytest.approx(0.084)
    assert spread_of(news(b"x" * 200_000, 10_000)) == pytest.approx(5.0)
    assert spread_of(news(b"x" * 10**6, 100_000)) == LONGEST_SPREAD


def test_no_entry_is_taken_for_a_spread() -> None:
    assert spread_of(MAGIC + b"123") == 0.0


@pytest.mark.parametrize(
    "message", [b"", b"~", b"~x", b"~-5", b"~1.5", b"~12345x", b"~123456", b"5"]
)
def test_garbage_spreads_nobody(message: bytes) -> None:
    assert spread_of(message) == 0.0


def test_a_forged_spread_is_bounded() -> None:
    assert spread_of(b"~99999") == LONGEST_SPREAD
