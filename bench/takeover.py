"""Takeover: the process that leads a call is ended by SIGKILL while the provider works on it.

    python bench/takeover.py [trials] [lease]

Prints the time from the kill to the next provider call; promised is the lease + 0.5 s.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from replica import LIMIT, Setup, answers, ask, start, statistics
from samecall.testing.provider import StubProvider
from samecall.testing.servers import LocalServer

__all__ = ["Takeover", "takeover"]

_LEADER = 0


@dataclass(frozen=True, slots=True)
class Takeover:
    """What one trial came to; `seconds` from the kill to the next provider call."""

    provider_calls: int
    answered: int
    wrong: list[str]
    seconds: float


def takeover(lease: float, *, followers: int = 3, callers: int = 5, prompt: str = "x") -> Takeover:
    """Kill a leader for whom `callers` in each of `followers` other processes wait."""
    with LocalServer() as server, StubProvider.in_process() as stub:
        stub.hold()
        with start(1 + followers, Setup(server.url, stub.openai_url, lease=lease)) as crew:
            ask(crew, [prompt], _LEADER)
            until(lambda: stub.calls == 1)
            for index in crew.living[1:]:
                ask(crew, [prompt] * callers, index)
            until(lambda: all(s["callers_waiting"] == callers for s in statistics(crew)[1:]))
            crew.kill(_LEADER)
            killed = time.monotonic()
            until(lambda: stub.calls >= 2)
            took = time.monotonic() - killed
            stub.release()
            got = answers(crew)
            return Takeover(stub.calls, len(got.latencies), got.wrong, took)


def until(true: Callable[[], bool]) -> None:
    """Wait until it is so; `TimeoutError` after a long time."""
    end = time.monotonic() + LIMIT
    while not true():
        if time.monotonic() > end:
            raise TimeoutError("what was waited for did not come")
        time.sleep(0.005)


def main() -> None:
    """Print the table; exit code 1 if a takeover was late or cost more than one call."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    lease = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    print("| trial | lease | next provider call after | promised | provider calls | answered |")
    print("|---|---|---|---|---|---|")
    failed = False
    for number in range(1, trials + 1):
        got = takeover(lease)
        failed |= got.seconds > lease + 0.5 or got.provider_calls != 2 or bool(got.wrong)
        print(
            f"| {number} | {lease:g} s | {got.seconds:.2f} s | {lease + 0.5:g} s "
            f"| {got.provider_calls} | {got.answered} |",
            flush=True,
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
