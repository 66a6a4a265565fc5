"""What one worker tells of itself: the record in the store, and how many are read together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

from samecall._errors import Undecodable

__all__ = [
    "Hot",
    "Report",
    "Row",
    "bucket",
    "decode_report",
    "encode_report",
    "percentile",
    "percentiles",
]

_GAMMA = 1.04
_SCALE = 1 / math.log(_GAMMA)
_LEAST = 1e-7


class Row(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One model's share. `ways`: answered calls by the way to their answer.

    Tokens are of all answers that a provider was paid for, and of all that it was not asked for.
    """

    ways: dict[str, int] = {}
    provider_calls: int = 0
    errors: int = 0
    paid_input: int = 0
    paid_output: int = 0
    saved_input: int = 0
    saved_output: int = 0


class Hot(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A call that is asked often: the digest of its key, and nothing of its content."""

    digest: bytes
    namespace: str
    calls: int
    model: str = ""


class Report(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Counts since a worker began. `started` is its own wall clock; ages come from the store.

    counters: of `Cache.statistics()`. models: by "provider/model". latency: by the way to the
    answer, calls by `bucket`.
    """

    worker: str
    host: str = ""
    pid: int = 0
    started: float = 0.0
    counters: dict[str, int] = {}
    models: dict[str, Row] = {}
    latency: dict[str, dict[int, int]] = {}
    hot: list[Hot] = []


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Report, strict=False)


def encode_report(report: Report) -> bytes:
    """MessagePack; fields that a reader does not know are skipped by it."""
    return _encoder.encode(report)


def decode_report(data: bytes) -> Report:
    """A worker's record; raises `Undecodable`."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Undecodable(f"no report of a worker: {type(error).__name__}") from None


def bucket(seconds: float) -> int:
    """The bucket of a latency: each is 4 % wider than the one before.

    The mapping of DDSketch (Masson, Rim, Lee: VLDB 2019, section 2.1), so a percentile is right
    within 2 %, and buckets of many workers are added up.
    """
    return math.ceil(math.log(max(_LEAST, seconds)) * _SCALE)


def percentiles(buckets: Mapping[int, int], parts: Iterable[float]) -> list[float]:
    """The nearest-rank percentiles in seconds; NaN of none."""
    ordered = sorted(buckets.items())
    total = sum(buckets.values())
    return [percentile(ordered, total, part) for part in parts]


def percentile(ordered: Iterable[tuple[int, int]], total: int, part: float) -> float:
    """One percentile of buckets in order."""
    rank = max(1, math.ceil(part * total))
    seen = 0
    for index, count in ordered:
        seen += count
        if seen >= rank:
            return 2 * _GAMMA**index / (_GAMMA + 1)
    return math.nan
