"""Long horizons a window at a time: each window is solved, its beginning kept, and the next one goes on from there."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cloudbandit.core.errors import UsageError
from cloudbandit.plan.check import check
from cloudbandit.plan.dominance import needed
from cloudbandit.plan.limits import add_limits, add_objective
from cloudbandit.plan.plan import Floats, Plan
from cloudbandit.plan.planner import NoPlan, empty, filled, overall
from cloudbandit.plan.pools import pools_of
from cloudbandit.plan.problem import Problem
from cloudbandit.plan.program import Program
from cloudbandit.plan.solve import GAP, SECONDS, Outcome, solve


def roll(
    problem: Problem, *, window: int = 24, keep: int = 12, gap: float = GAP, seconds: float = SECONDS, seed: int = 0
) -> Plan | NoPlan:
    """A plan for a long horizon. Its bound is the relaxation's over the whole of it, so its gap is an honest one.

    How many machines are reserved is decided first, by the relaxation, rounded to the nearest whole number; up, where no plan is
    found with that. A window without a plan is no proof that the whole has none: that is `Outcome.NO_PLAN`, with a note.

    Args:
        window: steps that are solved at once.
        keep: of these, those that are kept before the window moves on.
        gap, seconds: of each window; of all of them together.

    Raises:
        UsageError: a window shorter than what is kept of it; or the problem contradicts itself.
    """
    if not 1 <= keep <= window:
        raise UsageError(f"a window of {window} steps of which {keep} are kept: it must keep from 1 to all of them")
    every, notes = pools_of(problem)
    pools = needed(problem, every)
    began = time.monotonic()
    whole = Program(problem, pools, whole=False)
    add_limits(whole)
    add_objective(whole)
    relaxed = solve(whole.model, gap, seconds, seed)
    plan = empty(problem, pools, [*problem.demand.notes, *notes])
    if not relaxed.outcome.has_plan:
        return NoPlan(problem, pools, relaxed.outcome, relaxed.bound, notes, relaxed.cpu_s)
    held = {} if whole.reserved is None else dict(zip(whole.reserves, relaxed.of(whole.reserved), strict=True))
    plan = replace(plan, bound=plan.bound + relaxed.bound, cpu_s=relaxed.cpu_s)
    tried: dict[int, int] | None = None
    found: Plan | NoPlan | None = None
    for whole_number in (round, math.ceil):
        kept = {r: int(whole_number(round(float(n), 6))) for r, n in held.items()}
        if kept != tried and not isinstance(found, Plan):
            here = _reserving(problem, kept)
            reserved = {r.machine.name: r.least for r in here.rentals if r.reserved}
            spent = 0.0 if found is None else found.cpu_s
            tried, start = kept, replace(plan, problem=here, reserved=reserved, cpu_s=max(plan.cpu_s, spent))
            found = _windows(start, window, keep, gap, began + seconds, seed)
    assert found is not None
    return found


def _windows(plan: Plan, window: int, keep: int, gap: float, until: float, seed: int) -> Plan | NoPlan:
    """Window by window, on what a plan reserves."""
    problem = plan.problem
    back = max([1, *(_memory(problem, r) for r in range(len(problem.rentals)))])
    starts = range(0, len(problem.demand), keep)
    for i, first in enumerate(starts):
        a, end = max(0, first - back), min(first + window, len(problem.demand))
        part = _window(plan, a, end)
        program = Program(part, plan.pools)
        add_limits(program)
        if first > a:
            fixed = program.array(plan.machines[:, a:first].astype(float), program.pool, program.time[: first - a])
            program.add((1 * program.x).isel(time=slice(None, first - a)) == fixed, "kept")
        add_objective(program)
        left = max((until - time.monotonic()) / (len(starts) - i), 0.1)
        found = solve(program.model, gap, left, seed)
        if not found.outcome.has_plan:
            said = f"no plan for the window that begins at {problem.demand.time(first)}; cure: a longer one, or less of it kept"
            return NoPlan(
                problem, plan.pools, Outcome.NO_PLAN, plan.bound, (*plan.notes, said), plan.cpu_s + found.cpu_s
            )
        here = filled(empty(part, plan.pools, ()), program, found)
        upto = min(first + keep, end)
        machines, routed, unmet = plan.machines.copy(), plan.routed.copy(), plan.unmet.copy()
        machines[:, a:upto] = here.machines[:, : upto - a]
        routed[:, :, a:upto], unmet[:, :, a:upto] = here.routed[:, :, : upto - a], here.unmet[:, :, : upto - a]
        plan = replace(plan, machines=machines, routed=routed, unmet=unmet, cpu_s=plan.cpu_s + found.cpu_s)
    plan = replace(plan, outcome=overall(plan, gap))
    wrong = check(plan)
    assert not wrong, wrong
    return plan


def _reserving(problem: Problem, held: dict[int, int]) -> Problem:
    rentals = list(problem.rentals)
    for r, n in held.items():
        most = rentals[r].most
        kept = max(rentals[r].least, n if most is None else min(n, most))
        rentals[r] = replace(rentals[r], least=kept, most=kept)
    return replace(problem, rentals=rentals)


def _memory(problem: Problem, rental: int) -> int:
    """Steps that a step depends on: those in which a machine starts, and for which it is billed."""
    r = problem.rentals[rental]
    return math.ceil(max(r.start_s, r.min_bill_s) / problem.demand.step_s - 1e-9)


def _window(plan: Plan, a: int, end: int) -> Problem:
    """A part of the problem, with what runs and waits when it begins."""
    p = plan.problem
    running = p.running
    if a:
        running = {
            (p.workloads[w].name, p.rentals[r].machine.name): int(n[a - 1])
            for (w, r), n in plan.groups.items()
            if n[a - 1]
        }
    return replace(
        p,
        demand=p.demand.part(a, end),
        running=running,
        ahead=p.ahead or a > 0,
        waiting=_waiting(plan, a) if a else p.waiting,
        carry=p.carry or end < len(p.demand),
    )


def _waiting(plan: Plan, a: int) -> dict[tuple[str, str], Sequence[float]]:
    """Work that came before step a and is not done, by the step of the window at whose end it is due; first come first."""
    p = plan.problem
    out: dict[tuple[str, str], Sequence[float]] = {}
    for w, workload in enumerate(p.workloads):
        if workload.deadline_h is None:
            continue
        may = int(workload.deadline_h / p.demand.step_h + 1e-9) - 1
        mine = [i for i, q in enumerate(plan.pools) if q.workload == w]
        for s, source in enumerate(p.demand.sources):
            came = p.demand.of(workload.name, [source])[0][:a]
            due = [k + may for k in range(a)]
            old = p.waiting.get((workload.name, source), ())
            works = sorted([*zip(range(len(old)), old, strict=True), *zip(due, came, strict=True)])
            done = float(plan.routed[mine, s, :a].sum() + plan.unmet[w, s, :a].sum())
            left: Floats = np.zeros(max([due[-1], len(old), a]) - a + 1)
            for when, amount in works:
                rest = max(0.0, float(amount) - done)
                done = max(0.0, done - float(amount))
                left[max(when - a, 0)] += rest if rest > 1e-9 * max(float(came.max()), 1e-9) else 0.0
            out[workload.name, source] = tuple(left.tolist())
    return out
