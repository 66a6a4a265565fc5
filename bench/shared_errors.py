"""Shared errors: one provider call per error window, and the same error for everybody who waited.

    python bench/shared_errors.py [rounds] [seconds]

Four processes with 250 callers each ask one question at the same moment; the provider answers once
with an error, or with a completion that the leader's own model refuses and the others' take. Then
all ask again, within the window. Promised is one provider call for all of that. Last, the callers
ask on and on for some seconds, the provider fails, and its errors count for one second: promised is
one call per window.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
from instructor.core.exceptions import InstructorRetryException
from pydantic import BaseModel, field_validator

import instructor
import redis
from samecall import Cache, Policy
from samecall.instructor import cached
from samecall.testing.crew import Crew, Line
from samecall.testing.provider import Answer, Behaviour, Status, StubProvider
from samecall.testing.servers import LocalServer

__all__ = ["CALLERS", "PROCESSES", "Fleet", "fleet"]

PROCESSES, CALLERS = 4, 250
LIMITS = {"strict": 0}  # of this process


class Adult(BaseModel):
    """One schema, and a validator that is stricter in one process than in another."""

    age: int

    @field_validator("age")
    @classmethod
    def old_enough(cls, age: int) -> int:
        """Refuse who is too young here."""
        if age < LIMITS["strict"]:
            raise ValueError("too young")
        return age


def told(outcome: Any) -> str:
    """An outcome in words that two processes share."""
    if isinstance(outcome, Adult):
        return f"age {outcome.age}"
    names = [type(outcome).__name__]
    cause = outcome.__cause__ if isinstance(outcome, InstructorRetryException) else None
    if isinstance(cause, openai.APIStatusError):
        names += [f"{type(cause).__module__}.{type(cause).__name__}", str(cause.status_code)]
        names += [cause.response.headers.get("retry-after", "-"), str(cause.code)]
    return " ".join(names)


async def ask(line: Line, setup: dict[str, Any]) -> None:
    """Ask from many callers at once, whenever told to."""
    LIMITS["strict"] = setup["strict"]
    logging.getLogger("instructor").setLevel(logging.CRITICAL)  # it complains of each failed call
    policy = Policy(error_ttl=setup["error_ttl"], op_timeout=10, share_errors=setup["share_errors"])
    async with (
        openai.AsyncOpenAI(api_key="k", base_url=setup["provider"], max_retries=0) as sdk,
        Cache(setup["redis"], policy=policy) as cache,
    ):
        client = cached(instructor.from_openai(sdk, model="m"), cache)

        async def one(prompt: str) -> Any:
            asked: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]}
            return await client.create(response_model=Adult, max_retries=0, **asked)

        line.tell(["ready", None])
        while True:
            prompt, seconds = await line.hear()
            ends = time.monotonic() + seconds
            total: Counter[str] = Counter()
            own = True
            while True:
                calls = [asyncio.ensure_future(one(prompt)) for _ in range(setup["callers"])]
                while cache.statistics().callers_waiting < len(calls) and not calls[0].done():
                    await asyncio.sleep(0)
                if not total:
                    line.tell(["waiting", None])
                outcomes = await asyncio.gather(*calls, return_exceptions=True)
                own &= len({id(outcome) for outcome in outcomes}) == len(calls)
                total.update(map(told, outcomes))
                if time.monotonic() >= ends:
                    break
            line.tell(["outcomes", [total, own]])


class Fleet:
    """Processes, a provider with a gate, a server."""

    def __init__(self, crew: Crew, provider: Any, server: LocalServer) -> None:
        self.crew, self.provider, self.server = crew, provider, server

    def ask(self, index: int | None = None, prompt: str = "how old?", seconds: float = 0) -> None:
        """Have all callers ask, of all processes or of one; again and again for some seconds."""
        self.crew.tell([prompt, seconds], index)

    def at_the_gate(self) -> None:
        """A call has reached the provider."""
        end = time.monotonic() + 30
        while not self.provider.counts().waiting:
            if time.monotonic() > end:
                raise TimeoutError("nobody calls the provider")

    def all_wait(self) -> None:
        """All callers wait, and the leader's call is at the gate."""
        self.crew.gather("waiting", 60)
        self.at_the_gate()

    def outcomes(self) -> Counter[str]:
        """How many callers got what; each one an object of its own."""
        total: Counter[str] = Counter()
        for counted, own in self.crew.gather("outcomes", 60):
            if not own:
                raise ValueError("two callers were given one object")
            total.update(counted)
        return total

    def stored(self) -> dict[bytes, Any]:
        """Entries, errors and leases in Redis; not what workers report, nor generations."""
        with redis.Redis.from_url(self.server.url) as raw:
            return {key: raw.get(key) for key in raw.keys("*:[vel]:*")}


@contextmanager
def fleet(
    *,
    callers: int = CALLERS,
    share_errors: bool = True,
    strict: tuple[int, ...] = (0,) * PROCESSES,
    error_ttl: float = 60,
) -> Iterator[Fleet]:
    """One process for each of `strict`, the least age that its model takes."""
    with LocalServer() as server, StubProvider.in_process() as provider:
        common = {
            "redis": server.url,
            "provider": provider.openai_url,
            "callers": callers,
            "share_errors": share_errors,
            "error_ttl": error_ttl,
        }
        with Crew(ask, [{**common, "strict": limit} for limit in strict]) as crew:
            crew.gather("ready", 60)
            yield Fleet(crew, provider, server)


def _round(four: Fleet, prompt: str, behaviour: Behaviour) -> tuple[Counter[str], bool, int, float]:
    """What all got, whether it was the same again, provider calls, seconds from the answer on."""
    before = four.provider.calls
    four.provider.script(prompt, behaviour)
    four.provider.hold()
    four.ask(0, prompt)  # the stricter one leads
    four.at_the_gate()
    for index in range(1, PROCESSES):
        four.ask(index, prompt)
    four.all_wait()
    began = time.monotonic()
    four.provider.release()
    first = four.outcomes()
    took = time.monotonic() - began
    four.ask(None, prompt)
    return first, four.outcomes() == first, four.provider.calls - before, took


def main() -> None:
    """Print the table; exit code 1 if an error was paid for twice or told in two ways."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 10.0
    kinds: dict[str, tuple[Behaviour, int]] = {
        "429": (Status(429, retry_after=7), 1),
        "500": (Status(500), 1),
        "refused by the leader": (Answer({"age": 20}), 2),
    }
    failed = False
    print("| what comes | rounds | callers | outcomes | provider calls | all told after, at most |")
    print("|---|---|---|---|---|---|")
    with fleet(strict=(30, 0, 0, 0)) as four:
        for name, (behaviour, ways) in kinds.items():
            seen: Counter[str] = Counter()
            calls, longest = [], 0.0
            for number in range(rounds):
                got, again, paid, took = _round(four, f"{name} {number}", behaviour)
                seen += got
                calls.append(paid)
                longest = max(longest, took)
                failed |= paid != 1 or not again or len(got) != ways
                failed |= got.total() != PROCESSES * CALLERS
            words = "; ".join(f"{count} x {what}" for what, count in seen.items())
            print(
                f"| {name} | {rounds} | {PROCESSES * CALLERS} | {words} "
                f"| {min(calls)} to {max(calls)} a round | {1000 * longest:.0f} ms |",
                flush=True,
            )
    with fleet(error_ttl=1.0) as four:
        four.provider.script(None, *[Status(500)] * 1000)
        began = time.monotonic()
        four.ask(None, "on and on", seconds)
        got, lasted = four.outcomes(), time.monotonic() - began
        calls = four.provider.calls
        failed |= len(got) != 1 or calls > lasted + 1
        print(
            f"one second's window, {lasted:.1f} s of asking: {got.total()} callers had "
            f"{len(got)} kind of outcome, the provider {calls} calls"
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
