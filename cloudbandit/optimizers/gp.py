"""Bayesian optimization with an exact Gaussian process over the listed configs.

The objective is modelled on a log scale where it is positive. Each SLO's metric has a model of its own on the same
covariance, and the acquisition is multiplied by the probability that every SLO is met (constrained expected improvement:
Schonlau et al. 1998; Gardner et al., ICML 2014). Whether a config fails without a value has a model too, of failures as 0 and 1
(hidden constraints, as in SCOOT, WWW 2025, which takes a random forest); a failure then says nothing of the value.
Evaluations in flight are taken to come out at their predicted mean (kriging believer: Ginsbourger et al. 2010).

Of several objectives each has a model, on the same covariance again, and the acquisition is the expected hypervolume
improvement over the front so far. Where trials are noisy (`cloudbandit.optimizers.modelled.Modelled.noise`), what is to be
improved on is what the model says of the configs tried, not their luckiest values. On a space that cannot be listed, candidates
are drawn anew for each suggestion.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.errors import UsageError
from cloudbandit.core.front import reference_behind
from cloudbandit.core.protocols import Problem
from cloudbandit.core.trial import Candidate
from cloudbandit.optimizers.acquisition import (
    expected_improvement,
    hypervolume_improvement,
    lower_confidence_bound,
    probability_below,
)
from cloudbandit.optimizers.gaussian_process import CandidateGP, Posterior, relevance_scales
from cloudbandit.optimizers.modelled import Modelled
from cloudbandit.optimizers.random_search import draw_nominal, draw_unseen
from cloudbandit.optimizers.sampling import sample_candidates

Array = np.ndarray[Any, np.dtype[np.float64]]

_LEAST_CHANCE = 0.01
_UNDERFLOW = 1e-290


class GPOptimizer(BaseOptimizer):
    """``gp``; ``gp-ard`` with ``relevance``.

    Args:
        relevance: also length scales per parameter, and plateaus are allowed for; see `CandidateGP`.
        initial: random points before the model is used, at most (one per arm is enough inside CloudBandit): by default 3,
            or 1 in a domain of one arm.
        acquisition: ``"ei"`` or ``"lcb"``.
        kappa: how many standard deviations ``lcb`` goes below the mean.
        log: model the logarithm where all values are positive.
        stop: finish when the largest expected improvement is below this share of the best value (CherryPick: 0.1), after
            ``stop_after`` observations.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        initial: int | None = None,
        acquisition: Literal["ei", "lcb"] = "ei",
        kappa: float = 2.0,
        log: bool = True,
        relevance: bool = False,
        stop: float | None = None,
        stop_after: int = 6,
    ) -> None:
        super().__init__(problem)
        if acquisition not in ("ei", "lcb"):
            raise UsageError(f"acquisition must be 'ei' or 'lcb', got {acquisition!r}")
        if stop is not None and len(problem.goal.metrics) > 1:
            raise UsageError(f"stop is a rule for one objective, and the goal has {', '.join(problem.goal.metrics)}")
        self._initial = initial if initial is not None else (3 if len(problem.domain.names) > 1 else 1)
        self._acquisition, self._kappa, self._log, self._relevance = acquisition, kappa, log, relevance
        self._stop, self._stop_after = stop, stop_after
        self._listed = problem.domain.enumerable
        self._model: CandidateGP | None = None
        self._gain = np.inf

    def _suggest(self) -> Candidate | None:
        if not self._listed:
            return self._suggest_sampled()
        free = self.free
        if not len(free):
            return None
        if self._knows_too_little():
            return draw_nominal(self, free)
        index = self.domain.index
        known = self._modelled()
        n = len(self._model) if self._model else 0
        if self._model is None or self._model.noise != known.noise[:n]:  # noise is relative to all that is known
            self._model, n = self._new_model(self.domain.features), 0
        for o, noise in zip(self.observations[n:], known.noise[n:], strict=True):
            self._model.add(index[o.candidate.key], noise)
        value = self._value(self._model, known, [index[c.key] for c in self.pending])
        if self._stop is not None and len(self.observations) >= self._stop_after and self._gain <= self._stop:
            return None
        return self.domain.candidates[int(free[np.argmax(value[free])])]

    def _suggest_sampled(self) -> Candidate | None:
        fresh = [] if self._knows_too_little() else sample_candidates(self)
        if not fresh:
            return draw_unseen(self)
        known, pending = self._modelled(), self.pending
        model = self._new_model(self.domain.encode([*(o.candidate for o in self.observations), *pending, *fresh]))
        for position, noise in enumerate(known.noise):
            model.add(position, noise)
        offset = len(model) + len(pending)
        value = self._value(model, known, range(len(model), offset))
        return fresh[int(np.argmax(value[offset:]))]

    def _knows_too_little(self) -> bool:
        """Too few trials for a model; or all failed, and nothing was measured: a model would learn that all is the same, or
        where it crashes soonest."""
        few = len(self.observations) + self._pending.total() < self._initial
        return few or bool((np.isnan(self.targets.objectives[:, 0]) | self.targets.charged).all())

    def _modelled(self) -> Modelled:
        return Modelled.of(self.targets, [o.candidate for o in self.observations], self._log)

    def _new_model(self, features: Array) -> CandidateGP:
        groups = self.domain.feature_groups
        if not self._relevance or not len(groups):
            return CandidateGP(features)
        scales = relevance_scales(int(groups[-1]) + 1, len(features))
        return CandidateGP(features, scales, groups, plateaus=True)

    def _value(self, model: CandidateGP, known: Modelled, pending: Sequence[int]) -> Array:
        """The acquisition of every candidate, shape ``(N,)``."""
        objectives, failed = known.objectives, known.failed
        for position in pending:
            objectives = [_believed(model, y, position) for y in objectives]
            failed = None if failed is None else _believed(model, failed, position)
            model.add(position)
        posteriors = [model.posterior(y) for y in objectives]
        ok: Array = np.ones(posteriors[0].mean.shape[1])
        if failed is not None:
            ok = np.clip(1.0 - model.posterior(failed).expected(), _LEAST_CHANCE, 1.0)
        for metric, limit in known.slos:
            metric = np.append(metric, np.full(len(pending), np.median(metric)))
            ok = ok * probability_below(model.posterior(metric), limit)
        for _ in pending:
            model.pop()
        if (self.problem.goal.slos or known.slos) and not known.feasible.any():
            return ok  # nothing feasible yet: look for that first
        if len(posteriors) > 1:
            return self._value_of_several(posteriors, self._to_improve_on(model, known, posteriors)) * ok
        return self._value_of_one(posteriors[0], self._to_improve_on(model, known, posteriors).min(), ok, known.logged)

    def _to_improve_on(self, model: CandidateGP, known: Modelled, posteriors: Sequence[Posterior]) -> Array:
        """The objectives of the feasible trials (of all where none is), shape ``(k, m)``."""
        if any(known.noise):
            observed = model.observed[: len(known.noise)]
            values = np.array([p.expected()[observed] for p in posteriors]).T
        else:
            values = np.array(known.objectives).T
        return values[known.feasible] if known.feasible.any() else values

    def _value_of_one(self, p: Posterior, incumbent: float, ok: Array, logged: bool) -> Array:
        if self._acquisition == "lcb" and self._stop is None:
            return self._value_of_bound(p) * ok
        improvement = expected_improvement(p, incumbent)
        if self._stop is not None:
            self._gain = self._relative_gain(improvement, incumbent, logged)
        value = improvement * ok
        # LCB on request, and where EI has underflown everywhere
        return value if self._acquisition == "ei" and value.max() > _UNDERFLOW else self._value_of_bound(p) * ok

    def _value_of_bound(self, p: Posterior) -> Array:
        bound = lower_confidence_bound(p, self._kappa)
        return np.asarray(bound - bound.min())

    def _value_of_several(self, posteriors: Sequence[Posterior], values: Array) -> Array:
        """The improvement of the hypervolume behind which lies what is a little worse than the worst seen: expected, or of the
        confidence bounds."""
        reference = reference_behind(values)
        bounds = [lower_confidence_bound(p, self._kappa) for p in posteriors]
        if self._acquisition == "ei":
            value = hypervolume_improvement([partial(expected_improvement, p) for p in posteriors], values, reference)
        else:
            value = hypervolume_improvement([partial(_above, -bound) for bound in bounds], values, reference)
        return value if value.max() > _UNDERFLOW else sum(b - b.min() for b in bounds)

    def _relative_gain(self, improvement: Array, incumbent: float, logged: bool) -> float:
        """The largest expected improvement over configs not tried, as a share of the best value. On the log scale an
        improvement is that share already, to first order."""
        largest = float(improvement[self.free].max()) if self._listed and len(self.free) else float(improvement.max())
        return largest if logged else largest / max(abs(incumbent), 1e-12)


def _believed(model: CandidateGP, targets: Array, position: int) -> Array:
    """The targets, and what the model expects of one more candidate."""
    p = model.posterior(targets)
    return np.append(targets, p.weight @ p.mean[:, position])


def _above(bound: Array, level: float) -> Array:
    return np.maximum(level - bound, 0.0)
