"""The fuzz itself: each of its targets takes input, and work that grows with the square is told."""

from __future__ import annotations

import warnings

import growth
import pytest
from fuzz import fuzz, targets


def test_each_target_takes_some_input() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, target in targets().items():
            assert sum(fuzz(name, target, 30, "few").values()) == 30


def _square(text: str) -> None:
    for _ in text:
        for _ in text:
            pass


def _once(text: str) -> None:
    for _ in text:
        pass


@pytest.mark.parametrize(("eat", "tells"), [(_once, False), (_square, True)])
def test_steps_are_counted(monkeypatch: pytest.MonkeyPatch, eat: growth.Eat, tells: bool) -> None:
    monkeypatch.setattr(growth, "_inputs", lambda size: {"one": (eat, ["x" * (size // 400)])})
    found = growth.grown([])
    assert any("steps" in one for one in found) is tells
