"""NSGA-II (Deb et al., IEEE TEC 6(2), 2002): pymoo's on a unit cube, and a steady-state one that plans trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.front import nondominated
from cloudbandit.core.protocols import Problem
from cloudbandit.core.trial import Candidate
from cloudbandit.optimizers.repair import Repair

Array = np.ndarray[Any, np.dtype[np.float64]]

Judge = Callable[[Array], tuple[Array, Array]]
"""Points ``(n, d)`` of the unit cube → objectives ``(n, m)`` and constraints ``(n, k)``, which hold where ≤ 0."""


def nsga2_front(judge: Judge, width: int, population: int, generations: int, seed: int, starts: Array) -> Array:
    """The last generation's front, ``(n, width)``; empty where nothing met the constraints. Needs pymoo.

    Args:
        starts: ``(k, width)``, points to begin with beside random ones.
    """
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem as PymooProblem
    from pymoo.optimize import minimize

    rng = np.random.default_rng(seed)
    first = np.vstack([starts.reshape(-1, width)[:population], rng.random((population, width))])[:population]
    objectives, constraints = judge(first[:1])

    class Judged(PymooProblem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(width, objectives.shape[1], constraints.shape[1], xl=0.0, xu=1.0)

        def _evaluate(self, x: Array, out: dict[str, Array], *args: Any, **kwargs: Any) -> None:
            out["F"], out["G"] = judge(x)

    found = minimize(
        Judged(), NSGA2(pop_size=population, sampling=first), ("n_gen", generations), seed=seed, verbose=False
    )
    return np.empty((0, width)) if found.X is None else np.atleast_2d(found.X)


class NSGA2Optimizer(BaseOptimizer):
    """``nsga2``: steady state. The best trials by rank and crowding are the parents; each trial after the first is a child of two
    of them: every parameter from one or the other, one or a few drawn anew, repaired to the nearest config not tried.

    Args:
        population: so many trials are random, and so many are parents.
    """

    def __init__(self, problem: Problem, *, population: int = 8) -> None:
        super().__init__(problem)
        self._population = population
        self._repair = Repair(self)

    def _suggest(self) -> Candidate | None:
        if self.domain.enumerable and not len(self.free):
            return None
        rng = self.rng(self.turn, 45)
        if len(self.observations) + self._pending.total() < self._population or not self.observations:
            return self._repair.free(self._repair.decode(rng.random(self._repair.width).tolist()))
        parents = self._parents()
        chosen = [parents[int(min(rng.integers(len(parents), size=2)))] for _ in range(2)]
        a, b = (self._repair.encode(self.observations[i].candidate) for i in chosen)
        child = np.where(rng.random(len(a)) < 0.5, a, b)
        anew = rng.random(len(a)) < 1.0 / len(a)
        anew[int(rng.integers(len(a)))] = True
        child = np.where(anew, rng.random(len(a)), child)
        return self._repair.free(self._repair.decode(child.tolist()))

    def _parents(self) -> list[int]:
        """The best first. A trial that failed or violates an SLO is behind all that served (Deb's constrained domination)."""
        targets = self.targets
        served = np.flatnonzero(targets.feasible).tolist()
        order: list[int] = []
        while served and len(order) < self._population:
            values = targets.objectives[served]
            front = np.flatnonzero(nondominated(values))
            crowded = crowding(values[front])
            order += [served[int(i)] for i in front[np.argsort(-crowded, kind="stable")]]
            served = [i for i in served if i not in order]
        rest = np.flatnonzero(~targets.feasible)
        order += rest[np.lexsort((targets.violation[rest], targets.failed[rest]))].tolist()
        return order[: self._population]


def crowding(values: Array) -> Array:
    """How lonely each point of a front is, ``(n,)``: the sum over objectives of the gap between its neighbours, as a share of the
    range; infinite at the ends."""
    out = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        gaps = np.full(len(values), np.inf)
        if len(values) > 2:
            gaps[1:-1] = (column[order][2:] - column[order][:-2]) / (np.ptp(column) or 1.0)
        out[order] += gaps
    return out
