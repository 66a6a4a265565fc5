"""Outage: Redis is absent at the start, stalls, or is killed, in mid-run; then it comes back.

    python bench/outage.py [trials]

Every call is answered. "added" is what a call that began during the outage waited beyond the
provider's own latency; "back" is the time from the server's return to the first stored answer of
every process, promised within 2 s.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from replica import Setup, answers, ask, ask_all, percentile, start, statistics
from samecall.testing.crew import Crew
from samecall.testing.provider import StubProvider
from samecall.testing.servers import LocalServer
from takeover import until

__all__ = ["KINDS", "Outage", "outage"]

LATENCY = 0.1
KINDS = ("absent", "stalled", "killed")


@dataclass(slots=True)
class Outage:
    """What one trial came to; `added` in seconds, in ascending order."""

    kind: str
    asked: int = 0
    answered: int = 0
    added: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    back: float = 0.0


def outage(kind: str, *, processes: int = 3, prompts: int = 20, waves: int = 3) -> Outage:
    """Calls in the air when Redis goes, calls while it is away, and its return."""
    found = Outage(kind)
    server = LocalServer()
    try:
        if kind != "absent":
            server.start()
        with (
            StubProvider.in_process(latency=LATENCY) as stub,
            start(processes, Setup(server.url, stub.openai_url)) as crew,
        ):
            names = [f"prompt {number}" for number in range(prompts)]
            _in_the_air(found, crew, stub, names, _GO[kind](server))
            for wave in range(waves):
                asked = [[f"away {wave}, {name}" for name in names]] * processes
                _add(found, processes * prompts, ask_all(crew, asked), measured=True)
            (server.resume if kind == "stalled" else server.start)()
            found.back = _used_again(crew)
    finally:
        server.close()
    return found


_GO: dict[str, Callable[[LocalServer], Callable[[], None]]] = {
    "absent": lambda server: lambda: None,
    "stalled": lambda server: server.pause,
    "killed": lambda server: server.kill,
}


def _in_the_air(found: Outage, crew: Crew, stub, names: list[str], go: Callable[[], None]) -> None:
    stub.hold()
    for index in crew.living:
        ask(crew, names, index)
    until(lambda: all(s["callers_waiting"] == len(names) for s in statistics(crew)))
    until(lambda: stub.counts().waiting >= len(names))
    go()
    stub.release()
    _add(found, len(crew.living) * len(names), answers(crew), measured=False)


def _add(found: Outage, asked: int, got, *, measured: bool) -> None:
    found.asked += asked
    found.answered += len(got.latencies)
    found.wrong += got.wrong
    if measured:
        found.added = sorted([*found.added, *(latency - LATENCY for latency in got.latencies)])


def _used_again(crew: Crew) -> float:
    began = time.monotonic()
    before = [s["stored"] for s in statistics(crew)]
    for number in count():
        asked = [[f"back {number}, process {index}"] for index in crew.living]
        ask_all(crew, asked)
        now = [s["stored"] for s in statistics(crew)]
        if all(after > was for was, after in zip(before, now, strict=True)):
            return time.monotonic() - began
        if time.monotonic() > began + 60:
            raise TimeoutError("Redis was not used again")
    return 0.0


def main() -> None:
    """Print the table; exit code 1 if a call went unanswered or the return took over 2 s."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print("| Redis | calls | answered | added p50 | p99 | most | back in use after |")
    print("|---|---|---|---|---|---|---|")
    failed = False
    for kind in KINDS:
        for _ in range(trials):
            got = outage(kind)
            failed |= got.answered != got.asked or bool(got.wrong) or got.back > 2.0
            p50, p99 = (1000 * percentile(got.added, part) for part in (0.5, 0.99))
            print(
                f"| {kind} | {got.asked} | {got.answered - len(got.wrong)} | {p50:.0f} ms "
                f"| {p99:.0f} ms | {1000 * got.added[-1]:.0f} ms | {got.back:.2f} s |",
                flush=True,
            )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
