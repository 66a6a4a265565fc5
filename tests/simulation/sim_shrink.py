"""A failing plan with as few events as still fail in the same way."""

from __future__ import annotations

from sim_invariants import judge
from sim_plan import Plan
from sim_world import run

__all__ = ["shrink"]


def _kinds(plan: Plan) -> set[str]:
    return {breach.partition(":")[0] for breach in judge(run(plan)).violations}


def shrink(plan: Plan, runs: int = 400) -> Plan:
    """Take events out, half of them at a time and then one by one, while one breach stays."""
    wanted = _kinds(plan)
    size = max(1, len(plan.events) // 2)
    while wanted:
        smaller = False
        for start in range(0, len(plan.events), size):
            dropped = {event.name for event in plan.events[start : start + size]}
            without = plan.without(dropped)
            runs -= 1
            if runs < 0:
                return plan
            if _kinds(without) & wanted:
                plan, smaller = without, True
                break
        if not smaller:
            if size == 1:
                break
            size = max(1, size // 2)
    return plan
