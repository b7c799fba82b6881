"""Coordinate descent with random restarts.

From a random config, all values of one parameter are tried while the others stay; the best one is kept, and the next
parameter has its turn, in a seeded order that begins anew with each sweep. The arm is a coordinate like any other: in
another arm, parameters of the same name keep their value and the rest are drawn. A sweep without progress ends in a
restart at a random untried config. No config is tried twice.

Source: coordinate descent as the CloudBandit paper's baseline (IEEE CLOUD 2022, second-hand); the treatment
of arms and restarts is this file's.
"""

from __future__ import annotations

import numpy as np

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.errors import SpaceError
from cloudbandit.core.protocols import Problem
from cloudbandit.core.trial import Candidate, Observation

_ARM = ""  # the coordinate that stands for the arm


class CoordinateDescent(BaseOptimizer):
    """Needs a domain that can be enumerated."""

    objectives = "one"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        if not problem.domain.enumerable:
            raise SpaceError("coordinate descent needs a domain that can be enumerated; cure: gp or random-wor")
        self._known: dict[Candidate, float] = {}
        self._step = 0  # counts lines and restarts, so that each draws from a generator of its own
        self._at: Candidate | None = None
        self._line: list[Candidate] = []
        self._coordinates: list[str] = []
        self._began_at: Candidate | None = None  # where the last sweep over all coordinates began
        self._restart()

    def _suggest(self) -> Candidate | None:
        free = {self.domain.candidates[i] for i in self.free}
        return next((c for c in self._line if c in free), None) if self._line else None

    def _learn(self, observation: Observation) -> None:
        self._known = dict(zip((o.candidate for o in self.observations), self.targets.losses.tolist(), strict=True))
        self._move()

    def _give_back(self, observation: Observation) -> None:
        self._move()

    def _move(self) -> None:
        """Go on while every config of the line is known, or not to be had."""
        while self._line and all(c in self._known or self._not_to_be_had(c) for c in self._line):
            known = [c for c in self._line if c in self._known]
            if known:
                self._at = min(known, key=lambda c: (self._known[c], self.domain.index[c.key]))
            if self._at is None or self._at not in self._known:
                self._restart()
                continue
            if not self._coordinates:
                if self._began_at is not None and self._known[self._at] >= self._known[self._began_at]:
                    self._restart()
                    continue
                self._began_at = self._at
                self._coordinates = self._shuffled(self._at)
            self._line = self._along(self._coordinates.pop(0), self._at)

    def _not_to_be_had(self, candidate: Candidate) -> bool:
        return self.rests(candidate) or candidate in self._shunned

    def _shuffled(self, at: Candidate) -> list[str]:
        names = [*([_ARM] if len(self.domain.leaves) > 1 else []), *at.config]
        self._step += 1
        return [names[i] for i in self.rng(self._step, 2).permutation(len(names))]

    def _along(self, coordinate: str, at: Candidate) -> list[Candidate]:
        """Every config that differs from ``at`` in this coordinate alone, and ``at``."""
        if coordinate != _ARM:
            rest = {k: v for k, v in at.config.items() if k != coordinate}
            same_arm = (c for c in self.domain.candidates if c.arm == at.arm)
            return [c for c in same_arm if {k: v for k, v in c.config.items() if k != coordinate} == rest]
        self._step += 1
        rng = self.rng(self._step, 2)
        line = [at]
        for path, leaf in self.domain.leaves.items():
            if path == at.arm:
                continue
            configs = leaf.configs()
            agreement = np.array([sum(at.config.get(k) == v for k, v in config.items()) for config in configs])
            nearest = np.flatnonzero(agreement == agreement.max())
            line.append(Candidate(path, configs[int(rng.choice(nearest))]))
        return line

    def _restart(self) -> None:
        self._step += 1
        open_ = [c for c in self.domain.candidates if c not in self._known and not self._not_to_be_had(c)]
        self._began_at, self._coordinates, self._at = None, [], None
        self._line = [open_[int(self.rng(self._step, 2).integers(len(open_)))]] if open_ else []
