"""What one model of all arms expects of candidates: objectives, SLOs, and whether they run at all.

Trials that failed say nothing of any value; whether a config fails has a model of its own, of failures as 0 and 1 (hidden
constraints, as in SCOOT, WWW 2025, which takes a random forest). Evaluations in flight are taken to come out at their predicted
mean (kriging believer: Ginsbourger et al. 2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cloudbandit.core.goal import targets_of
from cloudbandit.core.protocols import Problem
from cloudbandit.core.targets import Targets
from cloudbandit.core.trial import Candidate, Observation
from cloudbandit.optimizers.acquisition import probability_below
from cloudbandit.optimizers.claims import Claims, Target
from cloudbandit.optimizers.columns import Columns, Points
from cloudbandit.optimizers.gaussian_process import Posterior
from cloudbandit.optimizers.growing import Growing, fitted
from cloudbandit.optimizers.hypotheses import Fit, HypothesesGP
from cloudbandit.optimizers.kernels import Kernels
from cloudbandit.optimizers.modelled import Modelled

Array = np.ndarray[Any, np.dtype[np.float64]]

_LEAST_CHANCE = 0.01
_RATE, _RATE_WEIGHT = 0.2, 2.0  # of failures, before there were any trials, and how many trials that is worth
_MOST_RATE = (
    0.5  # far from what was tried; else, where all failed so far, what failed would look no worse than anything else
)


class Field:
    """Candidates, and what is asked about them again and again."""

    def __init__(self, candidates: Sequence[Candidate], points: Points, claims: Claims) -> None:
        self.candidates, self.points, self._claims = candidates, points, claims
        self._offsets: dict[Target, Array] = {}

    def __len__(self) -> int:
        return len(self.candidates)

    def offsets(self, target: Target) -> Array:
        """``(H, n)``."""
        if target not in self._offsets:
            self._offsets[target] = self._claims.offsets(target, self.candidates, self.points)
        return self._offsets[target]

    @cached_property
    def failing(self) -> Array | None:
        """``(n,)``; see `Claims.failing`."""
        return self._claims.failing(self.points)


@dataclass
class Modelling:
    """One target's values so far, those of trials in flight as they are believed to come out."""

    target: Target
    values: Array
    offsets: Array


@dataclass(frozen=True)
class Outlook:
    """Of the candidates asked about, N of them.

    Attributes:
        objectives: per objective, on the modelled scale.
        meets: ``(N,)``, probability of running and of meeting every SLO.
        known: what was learnt from.
        rows: the positions, in ``known``, of the trials that have values.
        tried: the objectives of those, as modelled, shape ``(len(rows), m)``: what they measured, or where that is noisy, what
            the model makes of it.
        tried_sd: how sure the model is of the first of them, ``(len(rows),)``; 0 where trials are not noisy.
        fits: of the first objective and so on, then of SLOs.
    """

    objectives: list[Posterior]
    meets: Array
    known: Modelled
    rows: np.ndarray[Any, np.dtype[np.intp]]
    tried: Array
    tried_sd: Array
    fits: list[Fit]


class JointModel:
    """Learns from observations in the order told, and answers about fields of candidates."""

    def __init__(self, problem: Problem, columns: Columns, count: int) -> None:
        self._problem, self.columns = problem, columns
        self._kernels = Kernels(columns, count)
        self.claims = Claims(problem, columns, self._kernels)
        self.values = HypothesesGP(self._kernels)
        self._growing, self._failing = Growing(self._kernels), Growing(self._kernels)
        self.told: list[Observation] = []
        self._points: list[Points] = []
        self._offsets: dict[Target, list[Array]] = {}
        self._targets: Targets | None = None
        self._expected_failing: list[float] = []

    def field(self, candidates: Sequence[Candidate]) -> Field:
        return Field(candidates, self.columns.encode(candidates), self.claims)

    def learn(self, observation: Observation) -> None:
        """An informative one."""
        self.told.append(observation)
        point = self.columns.encode([observation.candidate])
        self._points.append(point)
        expected = self.claims.failing(point)
        self._expected_failing.append(0.0 if expected is None else float(expected[0]))
        self._targets = None

    @property
    def targets(self) -> Targets:
        if self._targets is None:
            self._targets = targets_of(self._problem.goal, self.told)
        return self._targets

    @property
    def valued(self) -> np.ndarray[Any, np.dtype[np.intp]]:
        """The positions of the trials that say something of the objectives."""
        if not self.told:
            return np.empty(0, np.intp)
        return np.flatnonzero(~(np.isnan(self.targets.objectives[:, 0]) | self.targets.charged))

    def target_of(self, slot: int, log: bool) -> Target:
        """Of the goal's objectives and then SLOs, number ``slot``; an SLO the goal only implies has no name that anything could
        claim to know."""
        goal = self._problem.goal
        m = len(goal.metrics)
        if slot < m:
            return Target(goal.metrics[slot], float(getattr(goal, "signs", (1.0,) * m)[slot]), log)
        if slot - m < len(goal.slos):
            slo = goal.slos[slot - m]
            return Target(slo.metric, 1.0 if slo.at_most else -1.0, log)
        return Target("", 1.0, log)

    def runs(self, field: Field, chosen: Any) -> Array:
        """Probability that each chosen candidate of the field runs, ``(N,)``."""
        expected = field.failing
        failed = np.ones(len(self.told))
        failed[self.valued] = 0.0
        if not len(failed) or (expected is None and not failed.any()):
            never = np.zeros(len(field)) if expected is None else expected
            return np.asarray(np.clip(1.0 - never[chosen], _LEAST_CHANCE, 1.0))
        rate = min(_MOST_RATE, (float(failed.sum()) + _RATE * _RATE_WEIGHT) / (len(failed) + _RATE_WEIGHT))
        claimed, here = np.zeros((1, len(failed))), np.zeros((1, len(field)))[:, chosen]
        if expected is not None:
            claimed = np.vstack([claimed, np.array(self._expected_failing) - rate])
            here = np.vstack([here, expected[chosen] - rate])
        weight = np.full(len(claimed), 1.0 / len(claimed))
        points = field.points.at(chosen)
        weigh = fitted(failed, weight, claimed, rate)
        process = self._failing.bring(range(len(failed)), np.zeros(len(failed)).tolist(), self._points, weigh)
        fit = process.fit(failed, weight, claimed, len(points), rate)
        (p,) = process.predict(points, [fit], [here])
        return np.asarray(np.clip(1.0 - p.expected(), _LEAST_CHANCE, 1.0))

    def outlook(self, field: Field, chosen: Any, pending: Sequence[Candidate] = ()) -> Outlook:
        """What is expected of the chosen candidates of the field. At least one trial must have values."""
        rows, known = self.valued, Modelled.of(self.targets, [o.candidate for o in self.told])
        modelled = self._modelled(known, rows)
        first = modelled[0]
        weigh = fitted(first.values, self.claims.weights(first.target), first.offsets)
        self.values = self._growing.bring(rows.tolist(), known.noise, self._points, weigh)
        runs = self.runs(field, chosen)
        points = field.points.at(chosen)
        for candidate in pending:
            self._believe(candidate, modelled)
        fits = [self.values.fit(t.values, self.claims.weights(t.target), t.offsets, len(points)) for t in modelled]
        posteriors = self.values.predict(points, fits, [field.offsets(t.target)[:, chosen] for t in modelled])
        count = len(known.objectives)
        tried, tried_sd = self._tried(known, rows, modelled[:count], fits[:count])
        for _ in pending:
            self.values.pop()
        for (_, limit), p in zip(known.slos, posteriors[count:], strict=True):
            runs = runs * probability_below(p, limit)
        return Outlook(posteriors[:count], runs, known, rows, tried, tried_sd, fits)

    def _modelled(self, known: Modelled, rows: np.ndarray[Any, np.dtype[np.intp]]) -> list[Modelling]:
        columns = [
            (y, self.target_of(j, log)) for j, (y, log) in enumerate(zip(known.objectives, known.logs, strict=True))
        ]
        for (y, _), (k, log) in zip(known.slos, known.slo_columns, strict=True):
            columns.append((y, self.target_of(len(known.objectives) + k, log)))
        return [Modelling(target, y[rows], self._claimed(target, rows)) for y, target in columns]

    def _claimed(self, target: Target, rows: np.ndarray[Any, np.dtype[np.intp]]) -> Array:
        """The offsets of observed candidates, ``(H, len(rows))``."""
        held = self._offsets.setdefault(target, [])
        for o, point in zip(self.told[len(held) :], self._points[len(held) :], strict=True):
            held.append(self.claims.offsets(target, [o.candidate], point)[:, 0])
        return np.array([held[i] for i in rows.tolist()]).T

    def _believe(self, candidate: Candidate, modelled: list[Modelling]) -> None:
        """One more trial, as it is expected to come out."""
        point = self.columns.encode([candidate])
        claimed = [self.claims.offsets(t.target, [candidate], point) for t in modelled]
        fits = [self.values.fit(t.values, self.claims.weights(t.target), t.offsets, 1) for t in modelled]
        for t, p, offsets in zip(modelled, self.values.predict(point, fits, claimed), claimed, strict=True):
            t.values, t.offsets = np.append(t.values, p.expected()[0]), np.hstack([t.offsets, offsets])
        self.values.add(point)

    def _tried(
        self,
        known: Modelled,
        rows: np.ndarray[Any, np.dtype[np.intp]],
        modelled: list[Modelling],
        fits: list[Fit],
    ) -> tuple[Array, Array]:
        if not any(self.values.noise):
            return np.array([y[rows] for y in known.objectives]).T, np.zeros(len(rows))
        posteriors = self.values.predict(self.values.points, fits, [t.offsets for t in modelled])
        means = np.array([p.expected()[: len(rows)] for p in posteriors]).T
        first = posteriors[0]
        second = first.weight @ (first.sd**2 + first.mean**2) - first.expected() ** 2
        return means, np.sqrt(np.maximum(second, 0.0))[: len(rows)]
