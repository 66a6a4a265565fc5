"""What happened in a run: records for the invariants to read, and lines for people."""

from __future__ import annotations

import contextvars
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from sim_plan import Plan

__all__ = [
    "Caller",
    "Clear",
    "Commit",
    "Forgotten",
    "Grant",
    "History",
    "Paid",
    "asking",
    "end_of",
    "ended_at",
]


@dataclass(eq=False)
class Caller:
    """Somebody who asked."""

    name: int
    proc: str
    key: str
    mode: str
    at: float
    wait: float | None
    max_age: float | None
    flight_born: float | None
    """When the oldest flight that it could join was begun (None: there was none)."""
    in_the_air: float | None
    """The same of those that have not landed."""
    ended: float | None = None
    cancelled: bool = False
    lost: bool = False
    """Its process died under it."""
    answer: Any = None
    error: BaseException | None = None
    how: str = ""


asking: contextvars.ContextVar[Caller] = contextvars.ContextVar("asking")
"""Who asks in this task, and in the tasks begun by it."""


@dataclass(eq=False)
class Paid:
    """One call of the provider."""

    number: int
    name: str
    """By who wanted it: the same in every run."""
    proc: str
    key: str
    kind: str
    """led, alone or bypass."""
    token: str
    owner: Caller
    began: float
    flight: Any
    abandon: bool
    ended: float | None = None
    outcome: str = ""
    """ok, own, process, fleet (the reach of its error), cancelled, lost."""


@dataclass(eq=False)
class Grant:
    """A lease given to a token for the first time, and how it ended."""

    token: str
    proc: str
    key: str
    at: float
    why: str
    """Why nothing answered and nobody led."""
    previous: Grant | None
    refused: bytes
    """Stamp of the value that was there and is no answer to it; none: empty."""
    tenures: int = 1
    """More than one where a doubled ACQUIRE came after the end of the first."""
    ended: float | None = None
    end: str = ""
    """committed, failed, released, refused, expired, forgotten, stolen, restarted,
    deposed."""


@dataclass(frozen=True)
class Commit:
    at: float
    key: str
    token: str
    """Of the claim whose answer it is."""
    lease: str
    """The token that it was sent with."""
    stamp: bytes


@dataclass(frozen=True)
class Forgotten:
    """A forget or a clear that was confirmed."""

    what: str
    proc: str
    key: str
    executed: float
    confirmed: float


@dataclass(frozen=True)
class Clear:
    """A clear that a process was asked for, or that the store has done, whoever wanted it."""

    at: float
    namespace: str
    proc: str
    done: bool


@dataclass(eq=False)
class History:
    plan: Plan
    callers: list[Caller] = field(default_factory=list)
    paid: list[Paid] = field(default_factory=list)
    grants: dict[str, Grant] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    forgotten: list[Forgotten] = field(default_factory=list)
    clears: list[Clear] = field(default_factory=list)
    troubles: dict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """When a process had something to suffer from, by its name; "" stands for the store."""
    frozen: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    leaps: list[tuple[str, float, float]] = field(default_factory=list)
    """Whose clock leapt, when, and by how many seconds."""
    restarts: list[float] = field(default_factory=list)
    dead: dict[str, float] = field(default_factory=dict)
    landed: dict[Any, float] = field(default_factory=dict)
    """When the task of a flight was done, its answer stored or not."""
    damaged: set[str] = field(default_factory=set)
    foreign: set[tuple[str, bytes]] = field(default_factory=set)
    """Stamps of the bytes that were put at a key by no commit."""
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    leases: dict[str, float] = field(default_factory=dict)
    """Of each process, by its name."""
    rested: float = 0.0
    lines: list[tuple[float, str]] = field(default_factory=list)

    def named(self, answer: Any) -> str:
        """An answer or an error, for people."""
        number = answer[1] if isinstance(answer, list) else getattr(answer, "number", None)
        return repr(answer) if number is None else f"#{self.paid[number].name}"

    def tell(self, at: float, line: str) -> None:
        self.lines.append((at, line))

    def violated(self, what: str) -> None:
        self.violations.append(what)

    def trouble(self, proc: str, since: float, until: float, what: str) -> None:
        self.troubles[proc].append((since, until))
        self.faults[what] += 1

    def healthy(self, proc: str, since: float, until: float) -> bool:
        """Whether nothing was done to this process, nor to the store, in that time."""
        return not any(
            start <= until and since <= end
            for name in (proc, "")
            for start, end in self.troubles.get(name, ())
        )

    def digest(self) -> str:
        told = "\n".join(f"{at:.9f} {line}" for at, line in sorted(self.lines))
        return blake2b(told.encode(), digest_size=16).hexdigest()

    def readable(self) -> str:
        plan = self.plan
        head = [
            f"seed {plan.seed} ({plan.kind}): leases {plan.leases}, {plan.rates}",
            f"chance of an error {plan.fail}, of a call that hangs {plan.hang}",
            "the plan:",
            *(f"  {event}" for event in plan.events),
            "what happened:",
            *(f"  {at:8.4f} {line}" for at, line in self.lines),
        ]
        return "\n".join([*head, *(f"BROKEN: {what}" for what in self.violations)])


def end_of(paid: Paid) -> float:
    """When a call ended; never, if it did not."""
    return paid.ended if paid.ended is not None else float("inf")


def ended_at(caller: Caller) -> float:
    """When a caller had what it has."""
    return caller.ended if caller.ended is not None else float("inf")
