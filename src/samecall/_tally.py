"""Counts by call and by model, for the fleet's report: bounded, and next to free for a hit."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from samecall._entry import Entry, Key, Spent
from samecall._outcome import COUNTED
from samecall._report import Hot, Row, bucket

__all__ = ["Line", "Tally"]

_LINES = 4_096
_MODELS = 64
_OTHER = "other"
_TRACKED = 512
_SHOWN = 20
_NAME = 120


@dataclass(slots=True, eq=False)
class Line:
    """How often one entry has answered, one way, since the last `fold`."""

    key: Key
    spent: Spent | None
    calls: int = 0


@dataclass(slots=True, eq=False)
class Tally:
    """What one event loop adds up. Only `hit` is on the way of a call.

    A hit counts at its entry's stamp; once a second, or when there are many, `fold` turns these
    counts into what is told. So a hit costs one look into a dict, whatever is told of it.
    """

    models: dict[str, Row] = field(default_factory=dict[str, Row])
    latency: dict[str, dict[int, int]] = field(default_factory=dict[str, dict[int, int]])
    _lines: dict[str, dict[bytes, Line]] = field(
        default_factory=lambda: {way: {} for way in COUNTED}
    )
    near: dict[bytes, Line] = field(init=False)
    """What memory has answered, by stamp: counted where it is read, without a call."""
    _hot: dict[Key, Line] = field(default_factory=dict[Key, Line])
    _rows: dict[tuple[str, str], Row] = field(default_factory=dict[tuple[str, str], Row])

    def __post_init__(self) -> None:
        self.near = self._lines["l1"]

    def hit(self, how: str, key: Key, entry: Entry) -> None:
        """`entry` has answered a call."""
        self.hit_by(how, key, entry.stamp, entry.payload.spent)

    def hit_by(self, how: str, key: Key, stamp: bytes, spent: Spent | None) -> None:
        """What `stamp` names has answered a call."""
        lines = self._lines[how]
        line = lines.get(stamp)
        if line is None:
            if len(lines) >= _LINES:
                self.fold()
            line = lines[stamp] = Line(key, spent)
        line.calls += 1

    def took(self, how: str, seconds: float, calls: int = 1) -> None:
        """So many calls ended this way after so long."""
        buckets = self.latency.setdefault(how, {})
        index = bucket(seconds)
        buckets[index] = buckets.get(index, 0) + calls

    def paid(self, spent: Spent, error: str | None) -> None:
        """The provider was called."""
        row = self._row(spent)
        row.provider_calls += 1
        row.errors += error is not None
        row.paid_input += spent.input
        row.paid_output += spent.output

    def fold(self) -> None:
        """Bring the counts of entries into those of models and of the hottest calls."""
        for how, lines in self._lines.items():
            for line in lines.values():
                self._heat(line)
                if line.spent is not None:
                    self._save(how, line.spent, line.calls)
            lines.clear()
        if len(self._hot) > _TRACKED:
            self._hot = {line.key: line for line in self._warmest(_TRACKED // 2)}

    def heat_up(self, other: Tally) -> None:
        """Take over the counts of another's hot calls."""
        for line in tuple(other._hot.values()):
            self._heat(Line(line.key, line.spent, line.calls))

    def hottest(self) -> list[Hot]:
        """The calls that were asked most often, the hottest first; counts are never too high."""
        return [
            Hot(
                digest=line.key.digest,
                namespace=line.key.namespace,
                calls=line.calls,
                model=line.spent.model[:_NAME] if line.spent is not None else "",
            )
            for line in self._warmest(_SHOWN)
        ]

    def _warmest(self, most: int) -> list[Line]:
        return heapq.nlargest(most, self._hot.values(), key=lambda line: line.calls)

    def _save(self, how: str, spent: Spent, calls: int) -> None:
        row = self._row(spent)
        row.ways[how] = row.ways.get(how, 0) + calls
        if how != "led":  # who led has paid
            row.saved_input += spent.input * calls
            row.saved_output += spent.output * calls

    def _row(self, spent: Spent) -> Row:
        at = spent.provider, spent.model
        row = self._rows.get(at)
        if row is None:
            full = len(self._rows) >= _MODELS
            name = _OTHER if full else f"{spent.provider}/{spent.model}"[:_NAME]
            row = self.models.setdefault(name, Row())
            if not full:
                self._rows[at] = row
        return row

    def _heat(self, line: Line) -> None:
        known = self._hot.get(line.key)
        if known is None:
            self._hot[line.key] = line
        else:
            known.calls += line.calls
