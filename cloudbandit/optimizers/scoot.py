"""``scoot``: SCOOT (Cheng et al., WWW 2025), the tuner of serving engines, over this library's domains.

After the paper's abstract and its reference code; what could not be read in the paper's text is second-hand. As there:

* The first trial is the engine's default configuration: the study enqueues it (`cloudbandit.core.study.Study`), and what it
  measured is the reference of the hypervolume. Then a scrambled Sobol design, each point repaired to meet the known constraints,
  until 1 + d trials succeeded. Known constraints prune: what breaks them is no part of a domain.
* Hidden constraints: a random forest with an adaptive threshold (`cloudbandit.optimizers.hidden`). Trials that failed are not
  shown to the Gaussian processes.
* One objective: MACE (Lyu et al., ICML 2018), as in HEBO: the Pareto front of the confidence bound, log EI and log PI, and chance
  among its points. The process is fitted to power-transformed values.
* Several objectives: the front of the confidence bounds, and of its points the one of largest expected hypervolume improvement.
* Parallel suggestions are picked one after another, those in flight taken to come out as predicted.

Otherwise than there: on a domain that can be listed every config is looked at, not a population of NSGA-II; else pymoo's NSGA-II
searches (extra ``tune``). EHVI is exact (there: ten posterior samples). Input warping is left out: length scales per parameter
are integrated over. SLOs, which SCOOT has none of, are constraints: a config whose bound says it violates one is passed over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.errors import need
from cloudbandit.core.front import nondominated, reference_behind
from cloudbandit.core.protocols import Problem
from cloudbandit.core.trial import Candidate
from cloudbandit.optimizers.acquisition import (
    expected_improvement,
    hypervolume_improvement,
    lower_confidence_bound,
    probability_below,
)
from cloudbandit.optimizers.gaussian_process import CandidateGP, Posterior, relevance_scales
from cloudbandit.optimizers.hidden import forest, threshold
from cloudbandit.optimizers.repair import Repair

Array = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

_LEAST = 1e-300
_DELTA, _UPSI = 0.01, 0.5  # of HEBO's schedule of κ


@dataclass(frozen=True)
class _Seen:
    """What the models say of some candidates, N of them.

    Attributes:
        objectives, slos: posteriors, of the SLOs with their limits.
        values: ``(k, m)``, the objectives of what served, as modelled; the best so far of one objective is of those that meet
            the SLOs where any does.
        reference: ``(m,)``.
        served: ``(N,)``, the forest's word; None: there is none yet.
        delta: its threshold.
    """

    objectives: list[Posterior]
    slos: list[tuple[Posterior, float]]
    values: Array
    reference: Array
    served: Array | None
    delta: float


class Scoot(BaseOptimizer):
    """See the module's text.

    Args:
        initial: trials that must succeed before the models are used, by default 1 + d.
        hidden: whether failures are learnt from; False is what learning them is held against.
        population, generations: of NSGA-II, where the domain cannot be listed.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        initial: int | None = None,
        hidden: bool = True,
        population: int = 100,
        generations: int = 100,
    ) -> None:
        super().__init__(problem)
        need("sklearn.ensemble", "tune", "the optimizer scoot")
        self._repair = Repair(self)
        self._initial = 1 + self._repair.searched if initial is None else initial
        self._hidden, self._population, self._generations = hidden, population, generations
        self._listed = problem.domain.enumerable
        if not self._listed:
            need("pymoo", "tune", "the optimizer scoot on a domain that cannot be listed")

    def _suggest(self) -> Candidate | None:
        if self._listed and not len(self.free):
            return None
        if len(self._ran) + self._pending.total() < self._initial or not len(self._ran):
            return self._design()
        if not self._listed:
            return self._searched() or self._design()
        free = self.free
        seen = self._seen(self.domain.features, self._positions)
        chosen = self._pick(_at(seen, free))
        return self.domain.candidates[int(free[chosen])]

    # ── the design ──

    @property
    def _ran(self) -> np.ndarray[Any, np.dtype[np.intp]]:
        """The trials that succeeded."""
        if not self.observations:
            return np.empty(0, np.intp)
        return np.flatnonzero(~self.targets.failed)

    def _design(self) -> Candidate | None:
        """The Sobol point whose turn it is, repaired."""
        from scipy.stats.qmc import Sobol

        sobol = Sobol(self._repair.width, scramble=True, rng=np.random.default_rng((self.problem.seed, 40)))
        point = sobol.fast_forward(self.turn).random(1)[0] if self.turn else sobol.random(1)[0]
        return self._repair.free(self._repair.decode(point.tolist()))

    # ── the models ──

    @property
    def _positions(self) -> tuple[list[int], list[int]]:
        """Of the trials told and of those in flight, in the domain's list."""
        index = self.domain.index
        return [index[o.candidate.key] for o in self.observations], [index[c.key] for c in self.pending]

    def _seen(self, features: Array, positions: tuple[list[int], list[int]]) -> _Seen:
        """Of the candidates with these features, among which are the told and the pending ones."""
        told, pending = positions
        targets, ran = self.targets, self._ran
        groups = self.domain.feature_groups
        scales = relevance_scales(int(groups[-1]) + 1, len(features)) if len(groups) else np.ones((1, 1))
        model = CandidateGP(features, scales, groups if len(groups) else None, capacity=len(told) + len(pending) + 1)
        for row in ran.tolist():
            model.add(told[row])
        columns = [_gaussian(y) for y in targets.objectives[ran].T]
        values = np.array(columns).T
        limited = _limited(targets.slos[ran], targets.limits)
        everything = [*columns, *(column for column, _ in limited)]
        for position in pending:
            everything = [np.append(y, model.posterior(y).expected()[position]) for y in everything]
            model.add(position)
        posteriors = [model.posterior(y) for y in everything]
        m = len(columns)
        feasible = targets.feasible[ran]
        values = np.array(everything[:m]).T[: len(ran)]
        kept = values[feasible] if feasible.any() else values
        if pending and m > 1:
            kept = np.vstack([kept, np.array(everything[:m]).T[len(ran) :]])
        first = values[0] if len(ran) and ran[0] == 0 else None  # the default, where it ran
        reference = reference_behind(values) if first is None or m == 1 else _behind(first, values)
        served, delta = self._forest(features, told)
        slos = [(p, limit) for p, (_, limit) in zip(posteriors[m:], limited, strict=True)]
        return _Seen(posteriors[:m], slos, kept, reference, served, delta)

    def _forest(self, features: Array, told: list[int]) -> tuple[Array | None, float]:
        good = ~self.targets.failed
        if not self._hidden or good.all() or len(told) < self._repair.searched - 1:
            return None, 0.0
        design = int(np.searchsorted(np.cumsum(good), self._initial) + 1)  # so many trials were design
        seed = int(self.rng(self.problem.seed, 42).integers(2**31))
        word = forest(features[told], good.astype(float), seed).predict(features)
        return np.asarray(word), threshold(good[design:].tolist())

    # ── the choice ──

    def _pick(self, seen: _Seen) -> int:
        """The position of the candidate to try next."""
        allowed = self._allowed(seen)
        several = len(seen.objectives) > 1
        table = self._bounds(seen) if several else self._mace(seen)
        front = allowed[nondominated(table[allowed])]
        if not several:
            return int(self.rng(self.turn, 43).choice(front))
        gains = [partial(expected_improvement, p.at(front)) for p in seen.objectives]
        return int(front[np.argmax(hypervolume_improvement(gains, seen.values, seen.reference))])

    def _allowed(self, seen: _Seen) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Which candidates meet the constraints as far as is known; where none does, the likeliest."""
        count = seen.objectives[0].mean.shape[1]
        good = np.ones(count, bool) if seen.served is None else seen.served >= seen.delta
        if not good.any() and seen.served is not None:
            good = seen.served >= seen.served.max()
        meets = good.copy()
        for p, limit in seen.slos:
            meets &= -lower_confidence_bound(p, self._kappa) <= limit
        if not meets.any():
            chance = np.where(good, 1.0, 0.0)
            for p, limit in seen.slos:
                chance = chance * probability_below(p, limit)
            meets = chance >= chance.max()
        return np.flatnonzero(meets)

    @property
    def _kappa(self) -> float:
        """HEBO's schedule, after Srinivas et al. 2010."""
        n, d = max(1, len(self.observations)), self._repair.searched
        return math.sqrt(2 * _UPSI * ((2.0 + d / 2.0) * math.log(n) + math.log(3 * math.pi**2 / (3 * _DELTA))))

    def _bounds(self, seen: _Seen) -> Array:
        return np.array([-lower_confidence_bound(p, self._kappa) for p in seen.objectives]).T

    def _mace(self, seen: _Seen) -> Array:
        """The portfolio, ``(N, 3)``, smaller is better."""
        (p,) = seen.objectives
        best = float(seen.values.min())
        ei, pi = expected_improvement(p, best), probability_below(p, best)
        bound = -lower_confidence_bound(p, self._kappa)
        return np.array([bound, -np.log(np.maximum(ei, _LEAST)), -np.log(np.maximum(pi, _LEAST))]).T

    # ── domains that cannot be listed ──

    def _searched(self) -> Candidate | None:
        """By pymoo's NSGA-II on the portfolio, or on the bounds, with the constraints; its last front is picked from."""
        from cloudbandit.optimizers.evolution import nsga2_front

        taken = {*(o.candidate for o in self.observations), *self.pending}
        known = [*(o.candidate for o in self.observations), *self.pending]
        positions = list(range(len(self.observations))), list(range(len(self.observations), len(known)))

        def look(points: Array) -> tuple[list[Candidate], _Seen]:
            drawn = [self._repair.decode(point) for point in points.tolist()]
            features = self.domain.encode([*known, *drawn])
            return drawn, _at(self._seen(features, positions), np.arange(len(known), len(features)))

        def judge(points: Array) -> tuple[Array, Array]:
            drawn, seen = look(points)
            table = self._bounds(seen) if len(seen.objectives) > 1 else self._mace(seen)
            bad = [c in taken or self.rests(c) or self.domain.why_not(c) is not None for c in drawn]
            broken = [np.array(bad, float), *(-lower_confidence_bound(p, self._kappa) - x for p, x in seen.slos)]
            if seen.served is not None:
                broken.append(seen.delta - seen.served)
            return table, np.array(broken).T

        seed = int(self.rng(self.turn, 44).integers(2**31))
        starts = np.array([self._repair.encode(self.observations[i].candidate) for i in self._ran.tolist()])
        points = nsga2_front(judge, self._repair.width, self._population, self._generations, seed, starts)
        if not len(points):
            return None
        drawn, seen = look(points)
        allowed = [i for i, c in enumerate(drawn) if c not in taken and self.domain.why_not(c) is None]
        allowed = [i for i in allowed if not self.rests(drawn[i])]
        if not allowed:
            return None
        chosen = self._pick(_at(seen, np.array(allowed)))
        return drawn[allowed[chosen]]


def _at(seen: _Seen, some: np.ndarray[Any, Any]) -> _Seen:
    """Of some of the candidates."""
    slos = [(p.at(some), limit) for p, limit in seen.slos]
    served = None if seen.served is None else seen.served[some]
    return _Seen([p.at(some) for p in seen.objectives], slos, seen.values, seen.reference, served, seen.delta)


def _behind(first: Array, values: Array) -> Array:
    """The default's result; where it is on the front itself, what is a little worse, or nothing could improve on its best
    objective alone."""
    return np.asarray(np.maximum(first, values.min(axis=0) + 1e-6))


def _gaussian(y: Array) -> Array:
    """Power-transformed (Box & Cox 1964; Yeo & Johnson 2000 where some are not positive) and standardised; as it is where that
    cannot be fitted."""
    from scipy.stats import boxcox, yeojohnson

    if len(y) < 3 or np.ptp(y) <= 1e-12 * np.abs(y).max():
        return np.asarray(y - y.mean())
    z = (y - y.mean()) / y.std()
    made, _ = boxcox(y / y.std()) if (y > 0).all() else yeojohnson(z)
    if not np.isfinite(made).all() or made.std() < 1e-9:
        return np.asarray(z)
    return np.asarray((made - made.mean()) / made.std())


def _limited(slos: Array, limits: Array) -> list[tuple[Array, float]]:
    """Per SLO whose metric is known, what the trials had of it and its limit, scaled alike."""
    out = []
    for column, limit in zip(slos.T, limits.tolist(), strict=True):
        if not np.isnan(column).any():
            positive = bool((column > 0).all()) and limit > 0
            out.append((np.log(column), math.log(limit)) if positive else (column, limit))
    return out
