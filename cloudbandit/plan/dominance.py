"""Pools that need not be looked at: another one does all they can, for no more money and within the same limits."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cloudbandit.plan.pools import Pool
from cloudbandit.plan.problem import Problem

_MOST_FOR_ONE = 16


def needed(problem: Problem, pools: Sequence[Pool]) -> list[Pool]:
    """Without those of which every machine could be replaced by k ≥ 1 machines of another pool of the same workload: at no higher
    price, with as much capacity, for the same sources, in the same way bought, and with no more of any quota."""
    out: list[Pool] = []
    for i, pool in enumerate(pools):
        rivals = ((j, q) for j, q in enumerate(pools) if j != i and q.workload == pool.workload)
        if not any(_replaces(problem, q, pool, j < i) for j, q in rivals):
            out.append(pool)
    return out


def _replaces(problem: Problem, new: Pool, old: Pool, first: bool) -> bool:
    a, b = problem.rentals[new.rental], problem.rentals[old.rental]
    names = problem.workloads[old.workload].name, b.machine.name
    if a.reserved or b.reserved or a.machine.purchase != b.machine.purchase or (problem.running or {}).get(names):
        return False
    if a is b or len(new.lines) > 1 or len(old.lines) > 1 or new.lines[0][1] != 0 or old.lines[0][1] != 0:
        return False
    if not set(old.sources) <= set(new.sources) or a.most is not None or a.reclaimed > b.reclaimed:
        return False
    if a.start_s > b.start_s or a.min_bill_s > b.min_bill_s:
        return False
    if problem.policy.survive in ("region", "provider") and a.place != b.place:
        return False
    k = math.ceil(old.lines[0][0] / new.lines[0][0] * (1 - 1e-12))
    if k > _MOST_FOR_ONE or k * a.machine.usd_per_h > b.machine.usd_per_h * (1 + 1e-12):
        return False
    if any(k * q.weight(a.machine) > q.weight(b.machine) for q in problem.quotas):
        return False
    sources = problem.demand.sources
    if problem.workloads[old.workload].egress_gb and any(
        problem.network.egress(sources[s], a.place) > problem.network.egress(sources[s], b.place) for s in old.sources
    ):
        return False
    return first or not _equal(problem, new, old)


def _equal(problem: Problem, new: Pool, old: Pool) -> bool:
    """Each could replace the other: the first one stays."""
    return _replaces(problem, old, new, True)
