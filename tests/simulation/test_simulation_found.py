"""What the simulation found in the real code: each plan broke a promise once."""

from __future__ import annotations

import pytest
from sim_invariants import judge
from sim_plan import Event, Plan, Rates
from sim_world import run


def put_by(cleared: float, joined: float) -> Plan:
    """#1a is too old for #4, whose flight puts it by, and which #12 joins after a clear."""
    return Plan(
        70031529,
        "bells",
        (1.0, 1.0, 1.0),
        False,
        Rates(bell=0.2377126967302511),
        0.5,
        0.0,
        (
            Event(0.7419649655705051, "ask", 0, "n0/a", abandon=True, name=1),
            Event(1.3973992289440302, "ask", 1, "n0/a", abandon=True, max_age=0.1, name=4),
            Event(cleared, "clear", 0, "n0/a", name=11),
            Event(joined, "ask", 1, "n0/a", abandon=True, name=12),
        ),
    )


FOUND = {
    # p1 dies with a lease of 6 s; p0 waits for one of 1 s at most, but its clock runs a little
    # faster than the store's, which looked like renewals of the dead one's lease
    "a clock that runs faster is no sign of life": Plan(
        103068,
        "all",
        (1.0, 6.0),
        True,
        Rates(lose=0.0058, slow=0.0066, twice=0.0095),
        0.0,
        0.0,
        (
            Event(0.2043, "ask", 1, "n0/a", cancel=0.13, ttl=2.0, name=2),
            Event(1.1508, "crash", 1, "n0/a", name=3),
            Event(1.1996, "ask", 0, "n0/a", abandon=True, ttl=2.0, name=4),
        ),
    ),
    # p2 is stopped for longer than it would wait for a sign of life, while the reply that tells of
    # the living leader p0 is on its way to it
    "a leader that lives is not deposed by who slept": Plan(
        4080,
        "jump",
        (2.0, 2.0, 2.0),
        True,
        Rates(),
        0.5,
        0.0,
        (
            Event(3.6355, "ask", 0, "n0/a", abandon=True, name=6),
            Event(3.6369, "ask", 2, "n0/a", mode="refresh", abandon=True, name=7),
            Event(3.6474, "jump", 2, "n0/a", 5.0, name=8),
        ),
    ),
    # #1a of p2 fails after a clear: p1 refuses that error by its generation, over and over, and
    # calls alone in the end, although nothing is wrong
    "an error of before a clear is refused once": Plan(
        4090255,
        "store",
        (1.0, 1.0, 1.0, 1.0),
        False,
        Rates(),
        0.5,
        0.0,
        (
            Event(1.2016, "ask", 2, "n0/a", name=1),
            Event(1.2422, "clear", 1, "n0/a", name=2),
            Event(1.3971, "ask", 1, "n0/a", name=3),
            Event(2.6436, "ask", 0, "n0/a", name=4),
            Event(2.6636, "ask", 3, "n0/a", name=5),
        ),
    ),
    # p0 is cut off and closed: a timer a hair too early, and the loop that waits for what is on its
    # way went round and round for the rest of that hair
    "closing ends when its time is over": Plan(
        5008200,
        "net",
        (1.0, 1.0),
        False,
        Rates(
            lose=0.03651761977164621, slow=0.013126855474765432, twice=0.04363926345955729, bell=0.3
        ),
        0.5,
        0.0,
        (
            Event(1.6013408727004044, "ask", 0, "n0/a", name=1),
            Event(3.042810408746551, "cut", 0, "n0/a", 0.570301807849642, name=6),
            Event(3.0430238468192057, "close", 0, "n0/a", name=7),
        ),
    ),
    # #12's ACQUIRE is lost as its cache is closed; its call, made alone, ends after that, and the
    # RELEASE that it owes was put off for as long as the closed store's breaker stood open
    "a call that outlives its cache owes nothing": Plan(
        60069921,
        "all",
        (1.0, 1.0, 1.0),
        True,
        Rates(lose=0.19302818860431553, slow=0.1258104635561136, twice=0.011082583312339979),
        0.0,
        0.0,
        (
            Event(0.5166, "ask", 2, "n0/a", name=5),
            Event(
                0.9625,
                "ask",
                2,
                "n0/a",
                mode="refresh",
                wait=0.10888950098283032,
                abandon=True,
                ttl=2.0,
                name=12,
            ),
            Event(1.1924, "close", 2, "n0/a", name=14),
        ),
    ),
    # #12 got #1a when the call failed, although p1 had heard of the clear by then
    "what was put by is forgotten, too": put_by(2.135089101289021, 2.3932679903812026),
}

UNDERSTOOD = {
    # the same, but the call fails before p1 can have heard of the clear
    "who joins in time has what was put by": put_by(3.6, 3.86),
    # p0's ACQUIRE is carried out a second time: a lease that nobody holds. The refresh #7 waits for
    # its end, and then refuses by its stamp what was there when it asked
    "a refresh that waited refuses what it found": Plan(
        70065711,
        "all",
        (0.6, 0.6),
        True,
        Rates(lose=0.06971545938576651, slow=0.04305229996244935, twice=0.12126053636819056),
        0.0,
        0.0,
        (
            Event(0.23064884546335956, "ask", 0, "n0/c", mode="refresh", name=3),
            Event(0.5999199334870668, "ask", 1, "n0/c", mode="refresh", name=5),
            Event(0.769924658444042, "ask", 1, "n0/c", mode="refresh", name=7),
        ),
    ),
}


@pytest.mark.parametrize("what", FOUND)
def test_found(what: str):
    history = judge(run(FOUND[what]))
    assert history.violations == [], history.readable()
    assert len(history.paid) > 0


@pytest.mark.parametrize("what", UNDERSTOOD)
def test_understood(what: str):
    """These look like breaches, and are none: the invariants know why."""
    history = judge(run(UNDERSTOOD[what]))
    assert history.violations == [], history.readable()
    assert len(history.paid) > 0
