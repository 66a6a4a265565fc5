"""The worlds that the model is checked in, and the broken protocols that must be found out."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["DEEP", "MUTANTS", "QUICK", "SETTINGS", "Mutant", "World"]

SETTINGS = {
    "N": 2,  # processes
    "F": 1,  # flights of each, one after the other
    "CAP": 2,  # messages on their way to one process; what is over is lost
    **dict.fromkeys(
        (
            "HEALTHY",  # no fault beyond lost replies: one call must do for all
            "PAID",  # ... and its answer must be kept
            "TIMER",  # a waiter looks when the lease ends or 2 s are over, not only when it is rung
            "LARGE",  # an entry may be too large to ride in the message
            "HINTS_LOST",  # messages and subscriptions get lost
            "REPLIES_LOST",  # a script has run, its reply is lost, and it is sent again (once)
            "AWAY",  # a script has run or has not, and nobody will know
            "TWICE",  # an ACQUIRE that was answered is carried out once more afterwards
            "LATE",  # an ACQUIRE or COMMIT that was given up arrives afterwards
            "ABANDON",  # a flight may end without an answer or a shared error
            "ERRORS",  # a call may fail with an error for everybody
            "ERRORS_END",  # the error window ends
            "EXPIRY",  # a lease may end at any moment, however alive its leader
            "EVICTION",  # a value may go at any moment
            "REFRESH",  # a flight may take none of what is there
            "REFUSALS",  # a flight may refuse one value
            "FOREIGN",  # once, bytes that are no entry of the key lie there
            "PERSISTS",  # once, a lease loses its TTL
            "SPOILS",  # how often what is no tombstone of ours takes the place of one
            "FORGETS",  # how often another process forgets the key
            "CRASHES",  # how many leaders die
        ),
        0,
    ),
}


@dataclass(frozen=True)
class World:
    """What may go wrong, and in how large a fleet."""

    name: str
    settings: dict[str, int]
    fair: bool = False
    """Check that everybody is answered at last, if nobody is kept waiting for ever by chance."""


@dataclass(frozen=True)
class Mutant:
    """One guard taken out of the model: `world` must show which promise that breaks."""

    name: str
    what: str
    world: str
    breaks: str
    more: dict[str, int] = field(default_factory=dict)
    """Settings of that world that are changed, mostly to make it smaller."""


def world(name: str, *flags: str, fair: bool = False, **sizes: int) -> World:
    """A world with these faults; sizes not named are as in SETTINGS."""
    return World(name, dict.fromkeys(flags, 1) | sizes, fair)


QUICK = [
    world("healthy", "HEALTHY", "PAID", "REPLIES_LOST", "LARGE", "ERRORS", N=3, CAP=3),
    world("healthy refresh", "HEALTHY", "REPLIES_LOST", "LARGE", "REFRESH", N=3, CAP=3),
    world("lapses", "TIMER", "EXPIRY", "EVICTION", N=3),
    world("forget", "TIMER", "EXPIRY", "FORGETS", F=2),
    world("hints", "TIMER", "HINTS_LOST", "LARGE", F=2, FORGETS=2),
    world("errors", "TIMER", "EXPIRY", "ERRORS", "ERRORS_END", "FORGETS"),
    world("errors again", "TIMER", "EXPIRY", "ERRORS", "ERRORS_END", F=2),
    world("refresh", "TIMER", "REFRESH", "REFUSALS", "FOREIGN", F=2),
    world("refresh lapses", "TIMER", "EXPIRY", "EVICTION", "REFRESH", "REFUSALS", "FOREIGN"),
    world("late", "TIMER", "EXPIRY", "LATE", "FORGETS", "REFRESH"),
    world("twice", "TIMER", "TWICE", FORGETS=2),
    world("spoilt", "TIMER", "EXPIRY", "TWICE", FORGETS=1, SPOILS=1),
    world("twice, errors", "TIMER", "TWICE", "ERRORS", FORGETS=1),
    world("away", "TIMER", "AWAY", "REPLIES_LOST", "ABANDON", "ERRORS", "FORGETS"),
    world("cleanup", "TIMER", "EXPIRY", "LATE", "ABANDON", "REFRESH"),
    world("deaths", "TIMER", "HINTS_LOST", "PERSISTS", N=3, CRASHES=2),
    world("way out", "TIMER", "HINTS_LOST", "PERSISTS", F=2, CRASHES=2, fair=True),
]
DEEP = [
    world("healthy, 3 x 2", "HEALTHY", "PAID", "REPLIES_LOST", "LARGE", "ERRORS", N=3, F=2, CAP=3),
    world("lapses, 3 and forget", "TIMER", "EXPIRY", "EVICTION", "FORGETS", N=3),
    world("all but eviction", "TIMER", "EXPIRY", "LATE", "AWAY", "FORGETS", "ABANDON", "ERRORS",
          "ERRORS_END", "REFRESH", "REPLIES_LOST"),
    world("late, twice", "TIMER", "EXPIRY", "EVICTION", "LATE", "AWAY", "FORGETS", "ABANDON",
          "REPLIES_LOST", "HINTS_LOST", "LARGE", CRASHES=1),
    world("refresh, 2 x 2", "TIMER", "EXPIRY", "EVICTION", "FORGETS", "REFRESH", F=2),
    world("way out, 3", "TIMER", "HINTS_LOST", "PERSISTS", N=3, CRASHES=2, fair=True),
]  # fmt: skip

MUTANTS = [
    Mutant("COMMIT_ANY_LEASE", "COMMIT does not compare the token", "lapses",
           "one_generation_per_lease"),
    Mutant("COMMIT_ANY_STAMP", "COMMIT does not compare the stamp", "lapses",
           "newer_value_kept"),
    Mutant("COMMIT_OVER_TOMB", "COMMIT does not look for the tombstone", "forget",
           "forgotten_stays_away"),
    Mutant("SPOILT_IGNORED", "COMMIT takes what is no tombstone of ours for none", "spoilt",
           "forgotten_stays_away"),
    Mutant("EPOCH_IGNORED", "COMMIT under the lease does not compare the epoch", "twice",
           "forgotten_stays_away"),
    Mutant("FAIL_OVER_TOMB", "FAIL does not compare the epoch", "twice, errors",
           "forgotten_stays_away"),
    Mutant("FORGET_SAME_EPOCH", "FORGET leaves the epoch of the one before", "twice",
           "forgotten_stays_away"),
    Mutant("REFUSED_KEEPS_LEASE", "a refused COMMIT leaves its lease", "cleanup",
           "no_lease_left"),
    Mutant("COMMIT_KEEPS_LEASE", "COMMIT does not free the lease", "healthy", "no_lease_left"),
    Mutant("COMMIT_SILENT", "COMMIT does not publish", "healthy", "invalid end state"),
    Mutant("COMMIT_TWICE_REFUSED", "COMMIT does not know its own stamp", "healthy",
           "paid_is_stored"),
    Mutant("FAIL_ANY_LEASE", "FAIL does not compare the token", "errors",
           "forgotten_stays_away"),
    Mutant("FAIL_SILENT", "FAIL does not publish", "healthy", "invalid end state"),
    Mutant("RELEASE_ANY_LEASE", "RELEASE does not compare the token", "cleanup",
           "own_lease_freed_only"),
    Mutant("NO_LEASE", "ACQUIRE takes no lease", "healthy", "one_call_in_the_air",
           {"PAID": 0, "REFRESH": 1}),
    Mutant("OWN_TOKEN_UNKNOWN", "ACQUIRE does not know its own token", "healthy",
           "invalid end state"),
    Mutant("ERROR_IGNORED", "ACQUIRE does not look at the error", "healthy", "one_call"),
    Mutant("SEEN_IGNORED", "ACQUIRE does not compare the stamp that was seen", "refresh",
           "refused_not_given_again"),
    Mutant("ETERNAL_LEASE", "ACQUIRE waits for a lease without a TTL", "way out",
           "acceptance cycle"),
    Mutant("FORGET_NO_TOMB", "FORGET leaves no tombstone", "forget", "forgotten_stays_away"),
    Mutant("SHORT_TOMB", "the tombstone ends before the flights it stands for", "forget",
           "forgotten_stays_away"),
    Mutant("NO_SECOND_LOOK", "a waiter does not look again once it is subscribed", "healthy",
           "invalid end state"),
    Mutant("NO_TIMER", "a waiter looks only when it is rung", "deaths", "invalid end state"),
    Mutant("RIDES_ANY", "a waiter takes any entry that rides in a message", "hints",
           "forgotten_stays_away"),
    Mutant("REFRESH_TAKES_OLD", "a refresh that waits does not note what is there", "refresh",
           "refresh_is_newer", {"REFUSALS": 0, "FOREIGN": 0}),
    Mutant("FINGERPRINT", "the fingerprint is not compared", "refresh", "right_answer"),
    Mutant("NO_RELEASE", "no RELEASE on abandonment", "cleanup", "no_lease_left"),
    Mutant("LATE_UNSETTLED", "the lease of a late ACQUIRE is not released", "cleanup",
           "no_lease_left"),
    Mutant("ALONE_TRUSTS_LEASE", "who called without a lease commits under one that came late",
           "late", "newer_value_kept"),
]  # fmt: skip
