"""Why there is no plan, and what would cure it; and what each limit costs where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cloudbandit.core.errors import UsageError
from cloudbandit.plan.limits import add_limits, add_objective, lead_steps, limit_names
from cloudbandit.plan.plan import Plan
from cloudbandit.plan.planner import make_plan
from cloudbandit.plan.pools import pools_of
from cloudbandit.plan.problem import Problem
from cloudbandit.plan.program import Program
from cloudbandit.plan.solve import GAP, solve

UNMET = "unmet"
_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Cure:
    """One limit that, loosened alone, makes a plan possible.

    Args:
        limit: its name; ``unmet``: leaving load unserved.
        now, then: its value, and the least that will do (of ``unmet``: load × hours that stay unserved at least).
        text: for people.
    """

    limit: str
    now: float
    then: float
    text: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"limit": self.limit, "now": self.now, "then": self.then, "text": self.text}


def cures(problem: Problem, seconds: float = _SECONDS) -> list[Cure]:
    """Every limit of an infeasible problem that, loosened alone, would make it feasible, with the least change that does; and how
    much load is left unserved at least if none is. Empty: no single limit is to blame.

    Args:
        seconds: for each limit.
    """
    out = [cure for name in limit_names(problem) if (cure := _cure(problem, name, seconds)) is not None]
    unmet = _cure(problem, UNMET, seconds)
    return [*out, *([unmet] if unmet else [])]


def loosened(problem: Problem, name: str) -> Problem:
    """Without one limit, for what could be of use then."""
    kind, _, of = name.partition(" ")
    if kind == "quota":
        return replace(problem, quotas=[q for q in problem.quotas if q.name != of])
    if kind == "most":
        return replace(problem, rentals=[replace(r, most=None) if r.machine.name == of else r for r in problem.rentals])
    if name == "survive":
        return replace(problem, policy=replace(problem.policy, survive="nothing"))
    if name == "spot_share":
        return replace(problem, policy=replace(problem.policy, spot_share=1.0))
    if name == "most_kinds":
        return replace(problem, policy=replace(problem.policy, most_kinds=None))
    return replace(problem, workloads=[replace(w, unmet_usd=w.unmet_usd or 1.0) for w in problem.workloads])


def _cure(problem: Problem, name: str, seconds: float) -> Cure | None:
    free = loosened(problem, name)
    try:
        pools = pools_of(free)[0]
    except UsageError:
        return None
    machine = name == "survive" and problem.policy.survive == "machine"
    program = Program(free if machine or name == UNMET else problem, pools, elastic={name})
    add_limits(program, without={name} if machine else ())
    slack = program.unmet if name == UNMET else program.slacks.get(name)
    if slack is None:
        add_objective(program)
    else:
        program.model.add_objective((1 * slack).sum())
    found = solve(program.model, GAP, seconds)
    if not found.outcome.has_plan:
        return None
    return _said(problem, name, max(0.0, found.objective) * (problem.demand.step_h if name == UNMET else 1.0))


def _said(problem: Problem, name: str, by: float) -> Cure:
    kind, _, of = name.partition(" ")
    if kind == "quota":
        quota = next(q for q in problem.quotas if q.name == of)
        then = float(np.ceil(quota.most + by - 1e-6))
        return Cure(name, quota.most, then, f"raise the quota {of} from {quota.most:g} to {then:g} {quota.counts}")
    if kind == "most":
        most = next(float(r.most or 0) for r in problem.rentals if r.machine.name == of)
        then = float(np.ceil(most + by - 1e-6))
        return Cure(name, most, then, f"allow {then:g} machines of {of}, not {most:g}")
    policy = problem.policy
    if name == "spot_share":
        then = min(1.0, float(np.ceil(1000 * (policy.spot_share + by) - 1e-3)) / 1000)
        return Cure(
            name,
            policy.spot_share,
            then,
            f"let spot machines serve {100 * then:g} % of a load, not {100 * policy.spot_share:g} %",
        )
    if name == "most_kinds":
        most = float(policy.most_kinds or 0)
        return Cure(name, most, most + by, f"allow {most + by:g} instance types per workload, not {most:g}")
    if name == "survive":
        return Cure(name, 1.0, 0.0, f"do not survive the loss of a {policy.survive}")
    return Cure(
        UNMET, 0.0, by, f"leave {by:.4g} units of load × hours unserved, and give it a price (unmet_usd_per_unit_h)"
    )


@dataclass(frozen=True, slots=True)
class Price:
    """What a limit costs: how much less a plan without it costs.

    Args:
        usd: the difference of the two plans.
        least, most: between which it is, by both plans' bounds.
    """

    limit: str
    usd: float
    least: float
    most: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"limit": self.limit, "usd": self.usd, "least_usd": self.least, "most_usd": self.most}


def prices(plan: Plan, *, gap: float = GAP, seconds: float = _SECONDS, seed: int = 0) -> list[Price]:
    """What each limit that binds costs, dearest first; each solved again without it.

    Args:
        seconds: for each limit.
    """
    out = []
    for name in binding(plan):
        other = make_plan(loosened(plan.problem, name), gap=gap, seconds=seconds, seed=seed)
        if isinstance(other, Plan):
            low, high = max(0.0, plan.bound - other.usd), max(0.0, plan.usd - other.bound)
            out.append(Price(name, min(max(plan.usd - other.usd, 0.0), high), low, high))
    return sorted(out, key=lambda p: (-p.usd, p.limit))


def binding(plan: Plan) -> Sequence[str]:
    """Limits that one more of some machine they count would break at some step; of the others all that there are."""
    problem, out = plan.problem, []
    for name in limit_names(problem):
        kind, _, of = name.partition(" ")
        if kind == "quota":
            quota = next(q for q in problem.quotas if q.name == of)
            used = np.zeros(len(problem.demand))
            for w, r in plan.groups:
                used += quota.weight(problem.rentals[r].machine) * _busy(plan, w, r)
            weights = [v for r in problem.rentals if (v := quota.weight(r.machine))]
            if used.max() + max(weights, default=0.0) > quota.most:
                out.append(name)
        elif kind == "most":
            r, rental = next((i, x) for i, x in enumerate(problem.rentals) if x.machine.name == of)
            used = sum((_busy(plan, w, q) for w, q in plan.groups if q == r), np.zeros(len(problem.demand)))
            top = int(used.max())
            if max(top, plan.reserved.get(of, 0)) >= (rental.most or 0):
                out.append(name)
        else:
            out.append(name)
    return out


def _busy(plan: Plan, workload: int, rental: int) -> Any:
    """Machines that serve or start, per step: what limits count."""
    out = plan.groups[workload, rental].astype(float)
    for k in range(1, min(lead_steps(plan.problem, rental), len(out) - 1) + 1):
        out[:-k] += plan.starts[workload, rental][k:]
    return out
