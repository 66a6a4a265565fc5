"""No input costs more than linear work: an input sixteen times as large, and what is done for it.

Counted are the steps of the interpreter (lines and calls, wherever they are): the same on each
machine, and sixteen times as many at the most. What runs in C underneath takes no steps; there
processor time is compared, with so much room that a busy machine is none of its findings and work
that grows with the square still is.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import fuzz_answers as answers
import fuzz_files as files
import fuzz_stored as stored
import msgspec

from samecall._codec import pack_items
from samecall._entry import Kind, Payload
from samecall._ports import ErrorRecord
from samecall._report import Hot, Report, encode_report
from samecall._stream.frames import Frame
from samecall.instructor._stream_columns import folded

__all__ = ["grown", "steps"]

_SMALL, _LARGER = 20_000, 16
_SPARE = 1.1  # of so many steps: what is done once per kilobyte does not come out even
_FEW = 300  # steps that do not count: an import, a table that is made at first
_FACTOR = 6.0  # times the processor time that linear would be; quadratic would be 16 times

Eat = Callable[[Any], object]


def steps(eat: Eat, given: Any) -> int:
    """Lines and calls of Python that `eat(given)` takes."""
    count = 0

    def traced(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += 1
        return traced

    eat(given)  # caches and imports of the first time
    before = sys.gettrace()
    sys.settrace(traced)
    try:
        eat(given)
    finally:
        sys.settrace(before)
    return count


def _inputs(size: int) -> dict[str, tuple[Eat, list[Any]]]:  # one line a kind of input
    deep: Any = "x"
    for _ in range(150):
        deep = [deep]
    body = {"id": "c", "choices": [{"index": 0, "message": {"content": "a" * size}}] * 3}
    text = msgspec.json.encode(body)
    words = " ".join(["sk", "key", "token", "org-", "Bearer", "//"] * (size // 20))
    records = [ErrorRecord("RateLimitError", word, 429, 1.0) for word in ("x" * size, words)]
    parts = [["openai.chat", "v", text], None, 1]
    few, many = size // 100, size // 20
    chunks = [b'["t","v",{},{},false]\n{"n":%d,"text":"w%d"}' % (at, at * 7) for at in range(many)]
    frame = Frame(1, 0, [b"chunk %d" % at for at in range(many)], list(range(many)))
    wide = {f"way {at}": {at: 1} for at in range(few)}
    report = Report(
        worker="w" * size,
        counters={f"c{at}": at for at in range(many)},
        latency={**wide, "led": dict.fromkeys(range(few), 1)},
        hot=[Hot(digest=b"%032d" % at, namespace="n", calls=at) for at in range(few)],
    )
    exported, taped = files.lines_of_files(size)
    return {
        "entry": (
            answers.entry,
            [
                answers.sealed(b"\xc4" * size),
                answers.envelope(Kind.VALUE, Payload("t", bytes(size))),
            ],
        ),
        "record": (answers.record, [msgspec.msgpack.encode(one) for one in records]),
        "key": (
            answers.key,
            ["x" * size, ["x"] * (size // 4), {str(n): 1 for n in range(size // 8)}],
        ),
        "deep": (answers.key, [[deep] * (size // 200)]),
        "url": (
            answers.url,
            [
                f"redis://{'a' * size}@h",
                f"redis://h/?{'a=1&' * (size // 4)}",
                "@" * size,
                f"redis+cluster://{'h:1,' * (size // 4)}h:1",
                f"redis+sentinel://{'h:1,' * (size // 4)}h:1/service",
                f"disk://{'/a' * (size // 2)}",
                f"disk:///a?{'max_bytes=1048576&' * (size // 20)}",
            ],
        ),
        "completion": (
            answers.completion,
            [
                Payload("instructor", msgspec.msgpack.encode(parts)),
                Payload("instructor", text),
                Payload("instructor.stream", folded(chunks, [0.001 * at for at in range(many)])),
            ],
        ),
        "envelope": (
            stored.envelope,
            [
                (True, stored.made(stored.SEALS, bytes(size))),
                (False, stored.made(stored.OPEN, words.encode())),
            ],
        ),
        "generations": (
            stored.generations,
            [([bytes(size), b"\xa5g\x01" + b"\x03" * size], False)],
        ),
        "message": (stored.spread_of, [b"~" + b"9" * size, b"~" * size]),
        "change": (
            stored.change,
            [
                [b"message", b"c", [b"default:g:" + b"%41" * size]],
                [b"message", b"c", [b"default:x:{" + b"a" * size]],
                [b"message", b"c", [b"default:g:t"] * size],
            ],
        ),
        "reply": (stored.reply, [[b"W", bytes(size), 1, b""], [b"L", b"", b"", b"v" * size]]),
        "slots": (
            lambda told: stored.read_slots(told, "here"),
            [[[0, 1, [b"h", at]] for at in range(few)]],
        ),
        "frames": (
            stored.frames,
            [
                (False, [stored.packed(frame)]),
                (True, [stored.packed(frame, sealed=True)]),
                (False, [stored.packed(Frame(at + 1, at, [b"c"], [1])) for at in range(few)]),
            ],
        ),
        "items": (
            stored.items,
            [
                ("items", pack_items([b"\xa1w"] * many, [1] * many).data),
                ("folded", folded(chunks, [0.001 * at for at in range(many)])),
                ("folded", folded([b"%d" % at for at in range(many)], [0.0] * many)),
                ("plain", msgspec.msgpack.encode(["w"] * many)),
            ],
        ),
        "report": (files.report, [encode_report(report)]),
        "export": (files.exported_line, exported),
        "tape": (files.taped_lines, taped),
        "retry-after": (files.header, ["9" * size, "Wed, " * (size // 5)]),
        "line": (files.line, ['{"messages":' + "[" * size, '{"messages":"' + "a" * size + '"}']),
    }


def _best(eat: Eat, given: Any) -> float:
    best = math.inf
    for _ in range(5):
        began = time.process_time()
        eat(given)
        best = min(best, time.process_time() - began)
    return best


def grown(names: list[str]) -> list[str]:
    """Where an input sixteen times as large takes far more than sixteen times the work."""
    small, large = _inputs(_SMALL), _inputs(_SMALL * _LARGER)
    found: list[str] = []
    for name in small:
        if names and name not in names:
            continue
        eat = small[name][0]
        for at, (one, other) in enumerate(zip(small[name][1], large[name][1], strict=True)):
            few, many = steps(eat, one), steps(eat, other)
            if many > few * _LARGER * _SPARE + _FEW:
                found.append(f"{name}[{at}]: {few} steps, then {many}")
            least, most = max(_best(eat, one), 50e-6), _best(eat, other)
            if most > least * _LARGER * _FACTOR:
                found.append(f"{name}[{at}]: {least * 1e3:.2f} ms, then {most * 1e3:.2f} ms")
    return found
