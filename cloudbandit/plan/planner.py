"""From a problem to a plan: pools, program, solver, whole machines, every constraint checked again."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cloudbandit.plan.check import check
from cloudbandit.plan.dominance import needed
from cloudbandit.plan.limits import add_limits, add_objective
from cloudbandit.plan.parts import parts
from cloudbandit.plan.plan import Floats, Plan
from cloudbandit.plan.pools import Pool, pools_of
from cloudbandit.plan.problem import Problem
from cloudbandit.plan.program import Program
from cloudbandit.plan.solve import GAP, SECONDS, Outcome, Solution, solve

_PROOF = 1e-4
"""Relative: what the solver's tolerances may take off a cost."""


@dataclass(frozen=True)
class NoPlan:
    """There is none, and why: infeasible, unbounded, or the time was too short."""

    problem: Problem
    pools: Sequence[Pool]
    outcome: Outcome
    bound: float
    notes: Sequence[str] = ()
    cpu_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        bound = self.bound if math.isfinite(self.bound) else None
        return {"outcome": str(self.outcome), "bound_usd": bound, "notes": list(self.notes), "cpu_s": self.cpu_s}


def make_plan(
    problem: Problem, *, gap: float = GAP, seconds: float = SECONDS, seed: int = 0, without: Collection[str] = ()
) -> Plan | NoPlan:
    """The cheapest plan, to a gap.

    Args:
        gap: relative to the whole cost.
        seconds: wall time of the solver at most.
        without: limits to leave out, by the names of `cloudbandit.plan.limits.limit_names`.

    Raises:
        UsageError: the problem contradicts itself, or no offer serves a workload.
        MissingExtraError: linopy or highspy is not installed.
        AssertionError: the solver's plan breaks a constraint: a bug.
    """
    every, notes = pools_of(problem)
    pools = needed(problem, every)
    notes = [*problem.demand.notes, *notes]
    plan = empty(problem, pools, notes)
    left = seconds
    some = parts(problem, pools, without)
    for i, workloads in enumerate(some):
        if not any(p.workload in workloads for p in pools):
            plan = _unserved(plan, workloads)
            continue
        program = Program(problem, pools, workloads)
        add_limits(program, without)
        add_objective(program)
        began = time.monotonic()
        found = solve(program.model, gap, max(left / (len(some) - i), 0.1), seed)
        left -= time.monotonic() - began
        if not found.outcome.has_plan:
            return NoPlan(problem, pools, found.outcome, plan.bound + found.bound, notes, plan.cpu_s + found.cpu_s)
        plan = filled(plan, program, found)
    plan = replace(plan, outcome=overall(plan, gap))
    wrong = check(plan, without)
    assert not wrong, wrong
    return plan


def overall(plan: Plan, gap: float) -> Outcome:
    """How good it is, by its own cost and the solver's bound.

    Raises:
        AssertionError: it costs less than was proved to be the least: the program counts something else than the plan does.
    """
    assert plan.usd >= plan.bound - _PROOF * max(abs(plan.bound), 1.0), (plan.usd, plan.bound)
    if plan.gap <= 1e-9:
        return Outcome.OPTIMAL
    return Outcome.WITHIN_GAP if plan.gap <= gap * (1 + 1e-6) else Outcome.BEYOND_GAP


def empty(problem: Problem, pools: Sequence[Pool], notes: Sequence[str]) -> Plan:
    """Nothing but what is reserved anyway."""
    steps, sources = len(problem.demand), len(problem.demand.sources)
    reserved = {r.machine.name: r.least for r in problem.rentals if r.reserved}
    free = [r for i, r in enumerate(problem.rentals) if r.reserved and not any(p.rental == i for p in pools)]
    bound = sum(r.least * r.machine.usd_per_h * problem.demand.step_h * steps for r in free)
    return Plan(
        problem,
        pools,
        np.zeros((len(pools), steps), np.int64),
        np.zeros((len(pools), sources, steps)),
        np.zeros((len(problem.workloads), sources, steps)),
        reserved,
        bound,
        Outcome.OPTIMAL,
        tuple(notes),
    )


def _unserved(plan: Plan, workloads: Sequence[int]) -> Plan:
    """With all the load of workloads that nothing serves left unserved, as it comes."""
    problem, unmet, usd = plan.problem, plan.unmet.copy(), 0.0
    for w in workloads:
        workload = problem.workloads[w]
        unmet[w] = problem.demand.of(workload.name, problem.demand.sources)
        for s, source in enumerate(problem.demand.sources):
            unmet[w, s, 0] += sum(problem.waiting.get((workload.name, source), ()))
        usd += float(unmet[w].sum()) * (workload.unmet_usd or 0.0) * problem.demand.step_h
    return replace(plan, unmet=unmet, bound=plan.bound + usd)


def filled(plan: Plan, program: Program, found: Solution) -> Plan:
    """A plan with what the solver says of some workloads: whole machines, and routes that add up to the demand exactly."""
    problem, place = plan.problem, {p.name: i for i, p in enumerate(plan.pools)}
    machines, routed, unmet = plan.machines.copy(), plan.routed.copy(), plan.unmet.copy()
    rows = [place[p.name] for p in program.pools]
    if rows:
        machines[rows] = np.round(found.of(program.x)).astype(np.int64)
    for k, (i, s) in enumerate(program.links):
        routed[rows[i], s] = np.maximum(0.0, found.of(program.y)[k])
    for row, a in enumerate(program.may_miss):
        w, s = program.asks[a]
        unmet[w, s] = np.maximum(0.0, found.of(program.unmet)[row])
    routed[routed < 1e-9] = 0.0
    unmet[unmet < 1e-9] = 0.0
    _add_up(problem, plan.pools, routed, unmet)
    reserved = dict(plan.reserved)
    if program.reserved is not None:
        held = np.round(found.of(program.reserved)).astype(int)
        reserved |= {problem.rentals[r].machine.name: int(n) for r, n in zip(program.reserves, held, strict=True)}
    return replace(
        plan,
        machines=machines,
        routed=routed,
        unmet=unmet,
        reserved=reserved,
        bound=plan.bound + found.bound,
        cpu_s=plan.cpu_s + found.cpu_s,
    )


def _add_up(problem: Problem, pools: Sequence[Pool], routed: Floats, unmet: Floats) -> None:
    """Takes out what the solver's tolerance left: interactive load is what was asked, to the last digit."""
    for w, workload in enumerate(problem.workloads):
        if workload.deadline_h is None:
            mine = [i for i, p in enumerate(pools) if p.workload == w]
            asked = problem.demand.of(workload.name, problem.demand.sources)
            total = routed[mine].sum(0) + unmet[w]
            factor = np.divide(asked, total, out=np.ones_like(total), where=total > 0)
            routed[mine] *= factor
            unmet[w] *= factor
