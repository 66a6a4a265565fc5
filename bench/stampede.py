"""Stampede: 8 processes, 250 concurrent callers in each, 200 prompts, one provider call each.

    python bench/stampede.py [runs]

Prints one line per run. "commands" is what the clients sent to the server in the run; "extra" is
what a caller waited beyond the provider's own latency.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import redis
from replica import Setup, ask_all, faults, percentile, start
from samecall.testing.provider import StubProvider
from samecall.testing.servers import LocalServer

__all__ = ["Run", "stampede"]

LATENCY = 0.5
# What samecall sends itself; the rest of INFO commandstats runs inside its scripts.
_SENT = ("evalsha", "eval", "script|load", "subscribe", "unsubscribe", "hello", "client|setinfo")


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to; `extra_*` in milliseconds."""

    calls: int
    provider_calls: int
    prompts: int
    wrong: list[str]
    commands: int
    inside: int
    faults: Counter[str]
    extra_p50: float
    extra_p99: float

    @property
    def once(self) -> bool:
        """Exactly one provider call per prompt, and no wrong answer."""
        return self.provider_calls == self.prompts and not self.wrong


def stampede(
    runs: int, *, processes: int = 8, callers: int = 250, prompts: int = 200
) -> Iterator[Run]:
    """So many runs in a row by the same processes, each with prompts of its own."""
    with LocalServer() as server, StubProvider.in_process(latency=LATENCY) as stub:
        watch = redis.Redis.from_url(server.url)
        with start(processes, Setup(server.url, stub.openai_url)) as crew:
            for number in range(runs):
                asked = [_draw(number, process, callers, prompts) for process in range(processes)]
                stub.reset()
                watch.config_resetstat()
                answers = ask_all(crew, asked)
                counted = stub.calls_by_prompt
                sent, inside = _commands(watch)
                waits = [1000 * (latency - LATENCY) for latency in answers.latencies]
                yield Run(
                    calls=processes * callers,
                    provider_calls=sum(counted.values()),
                    prompts=len({prompt for part in asked for prompt in part}),
                    wrong=answers.wrong,
                    commands=sent,
                    inside=inside,
                    faults=Counter(faults(crew)),
                    extra_p50=percentile(waits, 0.50),
                    extra_p99=percentile(waits, 0.99),
                )
        watch.close()


def _draw(number: int, process: int, callers: int, prompts: int) -> list[str]:
    """Every prompt once, as far as there are callers, and the rest at random; in random order."""
    draw = random.Random(f"{number} {process}")
    chosen = draw.sample(range(prompts), min(callers, prompts))
    chosen += draw.choices(range(prompts), k=callers - len(chosen))
    draw.shuffle(chosen)
    return [f"run {number}, prompt {prompt}" for prompt in chosen]


def _commands(watch: redis.Redis) -> tuple[int, int]:
    stats = watch.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): line["calls"] for name, line in stats.items()}
    calls.pop("config|resetstat", None)
    sent = sum(calls.get(name, 0) for name in _SENT)
    return sent, sum(calls.values()) - sent


def main() -> None:
    """Print the table; exit code 1 if a prompt was not paid for exactly once."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    print("| run | calls | prompts | provider calls | commands | in scripts | extra p50 | p99 |")
    print("|---|---|---|---|---|---|---|---|")
    failed = 0
    for number, run in enumerate(stampede(runs), 1):
        failed += not run.once
        print(
            f"| {number} | {run.calls} | {run.prompts} | {run.provider_calls} | {run.commands} "
            f"| {run.inside} | {run.extra_p50:.0f} ms | {run.extra_p99:.0f} ms |",
            flush=True,
        )
        for fault, times in run.faults.items():
            print(f"  store: {times} x {fault}", file=sys.stderr)
        for wrong in run.wrong[:3]:
            print(wrong, file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
