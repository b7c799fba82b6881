"""Exhaustive search: every config once, in the domain's order."""

from __future__ import annotations

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.errors import SpaceError
from cloudbandit.core.protocols import Problem
from cloudbandit.core.trial import Candidate


class Exhaustive(BaseOptimizer):
    """Needs a domain that can be enumerated."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        if not problem.domain.enumerable:
            raise SpaceError(
                "exhaustive search needs a domain that can be enumerated; cure: random-wor, or list the configs"
            )

    def _suggest(self) -> Candidate | None:
        free = self.free
        return self.domain.candidates[int(free[0])] if len(free) else None
