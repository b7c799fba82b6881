"""One optimizer per arm, in turns: the "x3" variants of the CloudBandit paper's comparison, and rising bandits."""

from __future__ import annotations

import math

import numpy as np

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.errors import BudgetError
from cloudbandit.core.protocols import Factory, Optimizer, Problem
from cloudbandit.core.rest import rouse
from cloudbandit.core.trial import Candidate, Observation


class PerArm(BaseOptimizer):
    """Round robin over arms, each with its own optimizer, in a seeded order; an arm that ran dry is passed over.

    Source: Lazuka et al., IEEE CLOUD 2022 (a single-cloud method run once per provider, "x3").
    """

    def __init__(self, problem: Problem, inner: Factory) -> None:
        super().__init__(problem)
        names = problem.domain.names
        self._inner: dict[str, Optimizer] = {}
        for position, name in enumerate(names):
            seed = int(np.random.SeedSequence((problem.seed, position)).generate_state(1)[0])
            arm = problem.within(problem.domain.only(name), seed)
            self._inner[name] = inner(arm)
        order = self.rng(0, 6).permutation(len(names))
        self._rank = {names[i]: rank for rank, i in enumerate(order.tolist())}
        self._told = dict.fromkeys(names, 0)
        self.repeats = any(getattr(o, "repeats", False) for o in self._inner.values())
        self.exact_resume = all(getattr(o, "exact_resume", True) for o in self._inner.values())

    def _racing(self) -> list[str]:
        """The arms that may be pulled."""
        return list(self._inner)

    def _suggest(self) -> Candidate | None:
        waiting = dict.fromkeys(self._inner, 0)
        for candidate in self.pending:
            waiting[candidate.arm[0]] += 1
        arms = [arm for arm in self._racing() if arm not in self.resting]
        for arm in sorted(arms, key=lambda a: (self._told[a] + waiting[a], self._rank[a])):
            rouse(self._inner[arm], self._rests, self.domain.only(arm))
            asked = self._inner[arm].ask(1)
            if asked:
                return asked[0]
        return None

    def _learn(self, observation: Observation) -> None:
        if observation.arm in self._inner:
            self._told[observation.arm] += 1
            self._inner[observation.arm].tell([observation])

    def _give_back(self, observation: Observation) -> None:
        if observation.arm in self._inner:
            self._inner[observation.arm].tell([observation])


class RisingBandits(PerArm):
    """Eliminates an arm when even its optimistic extrapolation cannot reach another arm's best.

    With y_a(t) the best value of arm a after t pulls (larger is better: minus the log of the loss), ω_a its slope over the
    last ``window`` pulls, and R the pulls that would be left if it had them all, the upper bound is y_a + ω_a·R; arm a goes
    when some other arm's y is at least that. Growth is assumed to slow down, which makes ω_a optimistic.

    Source: Li et al., "Efficient Automatic CASH via Rising Bandits", AAAI 2020, Algorithm 1 (second-hand: the abstract and a
    reproduction study; the log scale and the round robin are this file's).

    Args:
        budget: informative evaluations in all; the bound needs it.
        window: C, pulls per slope.
    """

    anytime = False
    objectives = "one"

    def __init__(self, problem: Problem, inner: Factory, budget: int | None = None, *, window: int = 3) -> None:
        super().__init__(problem, inner)
        if window < 1:
            raise BudgetError(f"rising bandits need a window ≥ 1, got {window}")
        self._budget, self._window = budget, window
        self._curve: dict[str, list[float]] = {arm: [] for arm in self._inner}
        self._gone: set[str] = set()

    def _racing(self) -> list[str]:
        return [arm for arm in self._inner if arm not in self._gone]

    def _learn(self, observation: Observation) -> None:
        super()._learn(observation)
        losses = self.targets.losses.tolist()
        self._curve = {arm: [] for arm in self._inner}
        for told, loss in zip(self.observations, losses, strict=True):  # a loss is relative to all that is known
            curve = self._curve.get(told.arm, [])
            gain = -math.log(loss) if loss > 0 else -loss
            curve.append(max(gain, curve[-1]) if curve else gain)
        if observation.arm in self._curve:
            self._eliminate()

    def _eliminate(self) -> None:
        racing = self._racing()
        if self._budget is None or min(len(self._curve[arm]) for arm in racing) <= self._window:
            return
        left = self._budget - len(self.observations)
        upper = {}
        for arm in racing:
            curve = self._curve[arm]
            slope = (curve[-1] - curve[-1 - self._window]) / self._window
            upper[arm] = curve[-1] + slope * left
        leader = max(racing, key=lambda arm: (self._curve[arm][-1], -self._rank[arm]))
        self._gone |= {arm for arm in racing if arm != leader and upper[arm] <= self._curve[leader][-1]}
