"""Exhaustive search: every config once, in the domain's order; for several objectives in an order that is spread over it, because
the first part of a listing rarely holds much of the front."""

from __future__ import annotations

import numpy as np

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.errors import SpaceError
from cloudbandit.core.protocols import Problem
from cloudbandit.core.trial import Candidate

_GOLDEN = (5**0.5 - 1) / 2


class Exhaustive(BaseOptimizer):
    """Needs a domain that can be enumerated."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        if not problem.domain.enumerable:
            raise SpaceError(
                "exhaustive search needs a domain that can be enumerated; cure: random-wor, or list the configs"
            )
        order = np.arange(len(problem.domain))
        self._rank = order if len(problem.goal.metrics) == 1 else np.argsort(np.argsort(order * _GOLDEN % 1.0))

    def _suggest(self) -> Candidate | None:
        free = self.free
        return self.domain.candidates[int(free[np.argmin(self._rank[free])])] if len(free) else None
