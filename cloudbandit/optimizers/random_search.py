"""Random search, with and without replacement."""

from __future__ import annotations

from typing import Any

import numpy as np

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.protocols import Problem
from cloudbandit.core.trial import Candidate


class RandomSearch(BaseOptimizer):
    """With replacement: arm uniform, then uniform over the arm's nominal grid; a cell that is not in the space is
    redrawn free of charge, the arm too.

    Source: the notebook of the CloudBandit paper's data set (IBM/multi-cloud-configuration-dataset).
    """

    repeats = True

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._edges = np.cumsum(problem.domain.draw_weights) if problem.domain.enumerable else None

    def _suggest(self) -> Candidate | None:
        rng, resting = self.rng(), self._rests.offers
        if resting >= set(self.domain.leaves):
            return None
        while True:
            if self._edges is None:
                candidate = self.domain.sample(rng)[0]
            else:
                position = int(np.searchsorted(self._edges, rng.random() * self._edges[-1], side="right"))
                candidate = self.domain.candidates[position]
            if candidate.arm not in resting:
                return candidate


class RandomWithoutReplacement(BaseOptimizer):
    """Uniform over the configs not tried yet; on an infinite space, independent draws."""

    def _suggest(self) -> Candidate | None:
        if not self.domain.enumerable:
            return draw_unseen(self)
        free = self.free
        return self.domain.candidates[int(self.rng().choice(free))] if len(free) else None


def draw_unseen(optimizer: BaseOptimizer, attempts: int = 100) -> Candidate | None:
    """A draw from a space that cannot be listed, not tried before and not on a resting offer; None where 100 draws find
    none (a tiny space behind an unlistable description)."""
    taken = {o.candidate for o in optimizer.observations} | set(optimizer.pending)
    rng = optimizer.rng()
    draws = (c for batch in (1, attempts) for c in optimizer.domain.sample(rng, batch))
    return next((c for c in draws if c not in taken and not optimizer.rests(c)), None)


def draw_nominal(optimizer: BaseOptimizer, free: np.ndarray[Any, Any]) -> Candidate:
    """One of the configs at the positions ``free``, arm first: where a model has too little to go on."""
    weights = optimizer.domain.draw_weights[free]
    return optimizer.domain.candidates[int(optimizer.rng().choice(free, p=weights / weights.sum()))]
