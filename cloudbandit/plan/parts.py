"""Parts of a problem that nothing couples: they are solved by themselves."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cloudbandit.plan.pools import Pool
from cloudbandit.plan.problem import Problem


def parts(problem: Problem, pools: Sequence[Pool], without: Collection[str] = ()) -> list[list[int]]:
    """Workloads, by index, in parts that share no reserved offer, no limited one, and no quota that could bind."""
    parent = list(range(len(problem.workloads)))

    def root(w: int) -> int:
        while parent[w] != w:
            w = parent[w]
        return w

    for shared in _shared(problem, pools, without):
        first, *rest = sorted(shared)
        for w in rest:
            parent[root(w)] = root(first)
    out: dict[int, list[int]] = {}
    for w in range(len(problem.workloads)):
        out.setdefault(root(w), []).append(w)
    return list(out.values())


def _shared(problem: Problem, pools: Sequence[Pool], without: Collection[str]) -> list[set[int]]:
    """Workloads that one limit couples."""
    out = []
    for r, rental in enumerate(problem.rentals):
        mine = [p for p in pools if p.rental == r]
        limited = rental.most is not None and f"most {rental.machine.name}" not in without
        if rental.reserved or (limited and _want(mine) > (rental.most or 0)):
            out.append({p.workload for p in mine})
    for quota in problem.quotas:
        if f"quota {quota.name}" not in without:
            weights = {p.name: quota.weight(problem.rentals[p.rental].machine) for p in pools}
            mine = [p for p in pools if weights[p.name]]
            if sum(_most_of(p) * weights[p.name] for p in mine) > quota.most:
                out.append({p.workload for p in mine})
    return [shared for shared in out if len(shared) > 1]


def _want(pools: Sequence[Pool]) -> int:
    return sum(_most_of(p) for p in pools)


def _most_of(pool: Pool) -> int:
    """Machines that serve and start: those that start are never more than those that will serve."""
    return 2 * pool.most
