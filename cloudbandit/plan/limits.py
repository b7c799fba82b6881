"""The limits that a user sets, as named constraints of a program, and its objective."""

from __future__ import annotations

import math
from collections.abc import Collection
from itertools import combinations
from typing import Any

import numpy as np

from cloudbandit.core.errors import UsageError
from cloudbandit.plan.capacity import kind_of
from cloudbandit.plan.problem import Problem
from cloudbandit.plan.program import Program

_MOST_SOURCES = 10


def limit_names(problem: Problem) -> list[str]:
    """Of every limit of the user's, as `add_limits` knows them."""
    policy = problem.policy
    return [
        *(f"quota {q.name}" for q in problem.quotas),
        *(f"most {r.machine.name}" for r in problem.rentals if r.most is not None),
        *(["spot_share"] if policy.spot_share < 1 and any(r.spot for r in problem.rentals) else []),
        *(["most_kinds"] if policy.most_kinds is not None else []),
        *(["survive"] if policy.survive != "nothing" else []),
    ]


def lead_steps(problem: Problem, rental: int) -> int:
    """Steps before a machine serves in which it already starts, and is counted by quotas."""
    return math.ceil(problem.rentals[rental].start_s / problem.demand.step_s - 1e-9)


def add_limits(program: Program, without: Collection[str] = ()) -> None:
    """Every limit but those left out."""
    problem = program.problem
    busy = _occupied(program)
    _rented(program, busy, without)
    for quota in problem.quotas:
        if f"quota {quota.name}" not in without:
            weights = np.array([quota.weight(problem.rentals[r].machine) for _, r in program.groups])
            if weights.any():
                used = (program.array(weights, program.group) * busy).sum("group")
                _at_most(program, used, quota.most, f"quota {quota.name}")
    if "spot_share" not in without:
        _spot(program)
    if "most_kinds" not in without and problem.policy.most_kinds is not None:
        _kinds(program, problem.policy.most_kinds)
    if "survive" not in without and problem.policy.survive in ("region", "provider"):
        _survive(program)
    _first_steps(program)
    _minimum_billing(program)


def _at_most(program: Program, used: Any, most: float, name: str) -> None:
    slack = program.slack(name)
    program.add((used if slack is None else used - slack) <= most, name)


def _occupied(program: Program) -> Any:
    """(group, time): machines that serve or start."""
    out = 1 * program.in_group
    leads = [lead_steps(program.problem, r) for _, r in program.groups]
    for k in range(1, min(max(leads), program.steps - 1) + 1):
        counted = program.array([float(lead >= k) for lead in leads], program.group)
        out = out + counted * program.moved(program.start, -k)
    return out


def _rented(program: Program, busy: Any, without: Collection[str]) -> None:
    """Machines of an offer over all its workloads: as many as there may be, or as are reserved."""
    problem = program.problem
    for r, rental in enumerate(problem.rentals):
        mine = [program.group_name(w, g) for w, g in program.groups if g == r]
        name = f"most {rental.machine.name}"
        if r in program.reserves:
            assert program.reserved is not None
            held = 1 * program.reserved.sel(reserved=rental.machine.name)
            if mine:
                program.add(busy.sel(group=mine).sum("group") - held <= 0, f"reserved {rental.machine.name}")
            if rental.most is not None and name not in without:
                _at_most(program, held, float(rental.most), name)
        elif mine and rental.most is not None and name not in without:
            _at_most(program, busy.sel(group=mine).sum("group"), float(rental.most), name)


def _spot(program: Program) -> None:
    """Of each workload that cannot wait, at most a share is served by spot machines."""
    problem = program.problem
    if problem.policy.spot_share >= 1:
        return
    slack = None
    for w, workload in enumerate(problem.workloads):
        mine = [
            program.link[k]
            for k, (i, _) in enumerate(program.links)
            if program.pools[i].workload == w and problem.rentals[program.pools[i].rental].spot
        ]
        if mine and workload.deadline_h is None:
            total = problem.demand.of(workload.name, problem.demand.sources).sum(0)
            used = (1 * program.y).sel(link=mine).sum("link")
            slack = program.slack("spot_share")
            rows = used if slack is None else used - program.array(total, program.time) * slack
            program.add(
                rows <= program.array(total * problem.policy.spot_share, program.time), f"spot_share {workload.name}"
            )


def _kinds(program: Program, most_kinds: int) -> None:
    """So many instance types per workload."""
    problem = program.problem
    pairs = list(dict.fromkeys((p.workload, kind_of(problem.rentals[p.rental].machine)) for p in program.pools))
    axis = program.names("kind", (f"{problem.workloads[w].name} @ {k}" for w, k in pairs))
    bounds: dict[str, Any] = {} if program.whole else {"lower": 0, "upper": 1}
    used = program.model.add_variables(coords=[axis], binary=program.whole, name="kind", **bounds)
    for i, p in enumerate(program.pools):
        label = axis[pairs.index((p.workload, kind_of(problem.rentals[p.rental].machine)))]
        rows = (1 * program.x).sel(pool=program.pool[i]) - float(p.most) * used.sel(kind=label)
        program.add(rows <= 0, f"most_kinds {i}")
    for w, workload in enumerate(problem.workloads):
        mine = [axis[k] for k, (v, _) in enumerate(pairs) if v == w]
        if mine:
            slack = program.slack("most_kinds")
            count = (1 * used).sel(kind=mine).sum("kind")
            program.add((count if slack is None else count - slack) <= float(most_kinds), f"most_kinds {workload.name}")


def domains(problem: Problem) -> dict[str, set[int]]:
    """What may fail at once, by name → rentals."""
    out: dict[str, set[int]] = {}
    for r, rental in enumerate(problem.rentals):
        name = rental.place if problem.policy.survive == "region" else rental.machine.provider
        out.setdefault(name, set()).add(r)
    return out


def _survive(program: Program) -> None:
    """Whatever fails, the rest has room for every set of sources: then, and only then, all of it can be routed (Gale 1957).

    Raises:
        UsageError: more sources than sets can be told.
    """
    problem = program.problem
    if len(problem.demand.sources) > _MOST_SOURCES:
        raise UsageError(
            f"survive = {problem.policy.survive!r} takes at most {_MOST_SOURCES} sources, and there are "
            f"{len(problem.demand.sources)}; cure: put sources together"
        )
    for name, lost in domains(problem).items():
        for w, workload in enumerate(problem.workloads):
            asked = [s for v, s in program.asks if v == w]
            if workload.deadline_h is None:
                for size in range(1, len(asked) + 1):
                    for some in combinations(asked, size):
                        _left(program, name, lost, w, some)


def _left(program: Program, name: str, lost: set[int], w: int, some: tuple[int, ...]) -> None:
    problem = program.problem
    demand = problem.demand.of(problem.workloads[w].name, [problem.demand.sources[s] for s in some]).sum(0)
    mine = [
        program.pool[i]
        for i, p in enumerate(program.pools)
        if p.workload == w and p.rental not in lost and set(p.sources) & set(some)
    ]
    terms = [(1 * program.room).sel(pool=mine).sum("pool")] if mine else []
    missed = [program.ask[a] for a in program.may_miss if program.asks[a][0] == w and program.asks[a][1] in some]
    terms += [(1 * program.unmet).sel(ask=missed).sum("ask")] if missed else []
    slack = program.slack("survive", program.time)
    terms += [1 * slack] if slack is not None else []
    if not terms:
        raise UsageError(
            f'without {name} nothing serves {problem.workloads[w].name}; cure: offers elsewhere, or survive = "nothing"'
        )
    rows = terms[0]
    for term in terms[1:]:
        rows = rows + term
    where = "+".join(problem.demand.sources[s] for s in some)
    program.add(rows >= program.array(demand, program.time), f"survive {name}: {problem.workloads[w].name} < {where}")


def _first_steps(program: Program) -> None:
    """What is ordered when the plan begins serves only once it has started."""
    problem = program.problem
    if problem.running is None or problem.ahead:
        return
    for w, r in program.groups:
        steps = min(lead_steps(problem, r), program.steps)
        if steps:
            now = float(problem.running.get((problem.workloads[w].name, problem.rentals[r].machine.name), 0))
            label = program.group_name(w, r)
            rows = program.in_group.sel(group=label).isel(time=slice(None, steps))
            program.add(rows <= now, f"starting {label}")


def _minimum_billing(program: Program) -> None:
    """A machine that is billed for several steps stays up for them: it costs the same."""
    problem = program.problem
    for w, r in program.groups:
        rental = problem.rentals[r]
        steps = math.ceil(rental.min_bill_s / problem.demand.step_s - 1e-9)
        if steps > 1 and not rental.reserved:
            label = program.group_name(w, r)
            up = program.in_group.sel(group=label)
            recent = np.array([[0 <= t - s < steps for s in range(program.steps)] for t in range(program.steps)])
            until = program.names("until", program.time)
            began = (program.array(recent.astype(float), until, program.time) * program.start.sel(group=label)).sum(
                "time"
            )
            program.add(up.rename(time="until") - began >= 0, f"min_bill {label}")


def add_objective(program: Program) -> None:
    """USD over the horizon: machines, reservations, starts, egress, what is left unserved."""
    program.model.add_objective(cost(program))


def cost(program: Program) -> Any:
    """The objective's expression."""
    problem, h = program.problem, program.step_h
    rentals = problem.rentals
    hourly = [0.0 if rentals[p.rental].reserved else rentals[p.rental].machine.usd_per_h * h for p in program.pools]
    starts = [
        0.0 if rentals[r].reserved else rentals[r].machine.usd_per_h * rentals[r].start_s / 3600
        for _, r in program.groups
    ]
    total = (program.array(hourly, program.pool) * program.x).sum()
    total = total + (program.array(starts, program.group) * program.start).sum()
    if program.reserved is not None:
        prices = [rentals[r].machine.usd_per_h * h * program.steps for r in program.reserves]
        axis = program.names("reserved", (rentals[r].machine.name for r in program.reserves))
        total = total + (program.array(prices, axis) * program.reserved).sum()
    gb = np.array(
        [
            problem.workloads[program.pools[i].workload].egress_gb
            * problem.network.egress(problem.demand.sources[s], rentals[program.pools[i].rental].place)
            for i, s in program.links
        ]
    )
    if gb.any():
        total = total + (program.array(gb * h, program.link) * program.y).sum()
    if program.unmet is not None:
        usd = [(problem.workloads[program.asks[a][0]].unmet_usd or 0.0) * h for a in program.may_miss]
        axis = program.names("ask", (program.ask[a] for a in program.may_miss))
        total = total + (program.array(usd, axis) * program.unmet).sum()
    return total
