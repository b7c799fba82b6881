"""Pools that need not be looked at: another one does all they can, for no more money and within the same limits."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cloudbandit.plan.pools import Pool
from cloudbandit.plan.problem import Problem
from cloudbandit.plan.terms import Rental

_MOST_FOR_ONE = 16


def needed(problem: Problem, pools: Sequence[Pool]) -> list[Pool]:
    """Without those of which every machine could be replaced by k ≥ 1 machines of another pool of the same workload: at no higher
    price, with as much capacity, for the same sources, in the same way bought, and with no more of any quota. A reserved offer,
    which workloads share, must be replaced for all of them at once."""
    out: list[Pool] = []
    pools = _without_reserved(problem, pools)
    for i, pool in enumerate(pools):
        rivals = ((j, q) for j, q in enumerate(pools) if j != i and q.workload == pool.workload)
        if not any(_replaces(problem, q, pool, j < i) for j, q in rivals):
            out.append(pool)
    return out


def _replaces(problem: Problem, new: Pool, old: Pool, first: bool) -> bool:
    a, b = problem.rentals[new.rental], problem.rentals[old.rental]
    if a.reserved or b.reserved:
        return False
    k = _machines_for_one(problem, new, old)
    return k is not None and _no_dearer(problem, a, b, k) and (first or not _equal(problem, new, old))


def _machines_for_one(problem: Problem, new: Pool, old: Pool) -> int | None:
    """How many machines of one pool do all that one of the other can; None: no number does."""
    a, b = problem.rentals[new.rental], problem.rentals[old.rental]
    names, sources = (problem.workloads[old.workload].name, b.machine.name), problem.demand.sources
    straight = all(len(p.lines) == 1 and p.lines[0][1] == 0 for p in (new, old))
    if a is b or not straight or not set(old.sources) <= set(new.sources) or (problem.running or {}).get(names):
        return None
    if problem.policy.survive in ("region", "provider") and a.place != b.place:
        return None
    if problem.workloads[old.workload].egress_gb and any(
        problem.network.egress(sources[s], a.place) > problem.network.egress(sources[s], b.place) for s in old.sources
    ):
        return None
    k = math.ceil(old.lines[0][0] / new.lines[0][0] * (1 - 1e-12))
    return k if k <= _MOST_FOR_ONE else None


def _no_dearer(problem: Problem, a: Rental, b: Rental, k: int) -> bool:
    """Whether k of one offer may always be rented instead of one of the other, for no more money."""
    return (
        a.machine.purchase == b.machine.purchase
        and a.most is None
        and a.reclaimed <= b.reclaimed
        and a.start_s <= b.start_s
        and a.min_bill_s <= b.min_bill_s
        and k * a.machine.usd_per_h <= b.machine.usd_per_h * (1 + 1e-12)
        and all(k * q.weight(a.machine) <= q.weight(b.machine) for q in problem.quotas)
    )


def _without_reserved(problem: Problem, pools: Sequence[Pool]) -> list[Pool]:
    """Without reserved offers that another one replaces for every workload."""
    by: dict[int, list[Pool]] = {}
    for p in pools:
        if problem.rentals[p.rental].reserved:
            by.setdefault(p.rental, []).append(p)
    dropped: set[int] = set()
    for b, old in by.items():
        for a, new in by.items():
            if a == b or a in dropped or problem.rentals[b].least:
                continue
            counts = []
            for p in old:
                known = [_machines_for_one(problem, q, p) for q in new if q.workload == p.workload]
                counts.append(min((k for k in known if k is not None), default=0))
            if all(counts) and _no_dearer(problem, problem.rentals[a], problem.rentals[b], max(counts)):
                dropped.add(b)
                break
    return [p for p in pools if p.rental not in dropped]


def _equal(problem: Problem, new: Pool, old: Pool) -> bool:
    """Each could replace the other: the first one stays."""
    return _replaces(problem, old, new, True)
