"""Bayesian optimization with an exact Gaussian process over the listed configs.

The objective is modelled on a log scale where it is positive. Each SLO's metric has a model of its own on the same
covariance, and the acquisition is multiplied by the probability that every SLO is met (constrained expected improvement:
Schonlau et al. 1998; Gardner et al., ICML 2014). Whether a config fails without a value has a model too, of failures as 0 and 1
(hidden constraints, as in SCOOT, WWW 2025, which takes a random forest); a failure then says nothing of the value.
Evaluations in flight are taken to come out at their predicted mean (kriging believer: Ginsbourger et al. 2010). On a space
that cannot be listed, candidates are drawn anew for each suggestion: uniform ones, and neighbours of the best config so far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.errors import UsageError
from cloudbandit.core.goal import SLO, best, losses
from cloudbandit.core.protocols import Problem
from cloudbandit.core.trial import Candidate, Observation
from cloudbandit.optimizers.gaussian_process import (
    CandidateGP,
    expected_improvement,
    lower_confidence_bound,
    probability_below,
    relevance_scales,
)
from cloudbandit.optimizers.random_search import draw_nominal, draw_unseen

Array = np.ndarray[Any, np.dtype[np.float64]]

_SAMPLED = 1_200
_LEAST_CHANCE = 0.01


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
        self._initial = initial if initial is not None else (3 if len(problem.domain.names) > 1 else 1)
        self._acquisition, self._kappa, self._log, self._relevance = acquisition, kappa, log, relevance
        self._stop, self._stop_after = stop, stop_after
        self._listed = problem.domain.enumerable
        self._model: CandidateGP | None = None
        self._logged, self._gain = False, np.inf

    def _suggest(self) -> Candidate | None:
        if not self._listed:
            return self._suggest_sampled()
        free = self.free
        if not len(free):
            return None
        if self._knows_too_little():
            return draw_nominal(self, free)
        index = self.domain.index
        if self._model is None:
            self._model = self._new_model(self.domain.features)
        for o in self.observations[len(self._model) :]:
            self._model.add(index[o.candidate.key])
        value = self._value(self._model, [index[c.key] for c in self.pending])
        if self._stop is not None and len(self.observations) >= self._stop_after and self._gain <= self._stop:
            return None
        return self.domain.candidates[int(free[np.argmax(value[free])])]

    def _knows_too_little(self) -> bool:
        """Too few trials for a model; or all failed without a value, of which a model only learns that all is the same."""
        few = len(self.observations) + self._pending.total() < self._initial
        return few or not any(o.score is not None and o.score.values for o in self.observations)

    def _new_model(self, features: Array) -> CandidateGP:
        groups = self.domain.feature_groups
        if not self._relevance or not len(groups):
            return CandidateGP(features)
        scales = relevance_scales(int(groups[-1]) + 1, len(features))
        return CandidateGP(features, scales, groups, plateaus=True)

    def _suggest_sampled(self) -> Candidate | None:
        if self._knows_too_little():
            return draw_unseen(self)
        rng, pending = self.rng(), self.pending
        known = [o.candidate for o in self.observations]
        taken = {*known, *pending}
        drawn = dict.fromkeys(self.domain.sample(rng, _SAMPLED // 4) + self._neighbours(rng))
        fresh = [c for c in drawn if c not in taken and not self.rests(c)]
        if not fresh:
            return draw_unseen(self)
        model = self._new_model(self.domain.encode([*known, *pending, *fresh]))
        for position in range(len(known)):
            model.add(position)
        offset = len(known) + len(pending)
        value = self._value(model, list(range(len(known), offset)))
        return fresh[int(np.argmax(value[offset:]))]

    def _neighbours(self, rng: np.random.Generator) -> list[Candidate]:
        """Configs near the best one: one or two parameters taken from a random config of the same arm."""
        order = np.argsort(losses(self.observations), kind="stable")[:3]
        out: list[Candidate] = []
        for position in order:
            centre = self.observations[int(position)].candidate
            leaf = self.domain.leaves[centre.arm]
            for other in leaf.sample(rng, _SAMPLED // 40):
                shared = [k for k in centre.config if k in other]
                swap = rng.permutation(len(shared))[: int(rng.integers(1, 3))]
                config = {
                    **centre.config,
                    **{shared[i]: _between(centre.config[shared[i]], other[shared[i]], rng) for i in swap},
                }
                if leaf.why_not(config) is None:
                    out.append(Candidate(centre.arm, config))
        return out

    def _value(self, model: CandidateGP, pending: Sequence[int]) -> Array:
        """The acquisition of every candidate, shape ``(N,)``."""
        targets, incumbent = self._targets()
        failed = self._failed()
        for position in pending:
            p = model.posterior(targets)
            targets = np.append(targets, p.weight @ p.mean[:, position])
            if failed is not None:
                p = model.posterior(failed)
                failed = np.append(failed, p.weight @ p.mean[:, position])
            model.add(position)
        p = model.posterior(targets)
        ok: Array = np.ones(p.mean.shape[1])
        if failed is not None:
            risk = model.posterior(failed)
            ok = np.clip(1.0 - risk.weight @ risk.mean, _LEAST_CHANCE, 1.0)
        for slo in self.problem.goal.slos:
            metric, limit = self._metric(slo)
            if metric is not None:
                metric = np.append(metric, np.full(len(pending), np.median(metric)))
                ok = ok * probability_below(model.posterior(metric), limit)
        for _ in pending:
            model.pop()
        if self.problem.goal.slos and best(self.observations) is None:
            return ok  # nothing feasible yet: look for that first
        bound = lower_confidence_bound(p, self._kappa)
        if self._acquisition == "lcb" and self._stop is None:
            return np.asarray((bound - bound.min()) * ok)
        improvement = expected_improvement(p, incumbent)
        if self._stop is not None:
            self._gain = self._relative_gain(improvement, incumbent)
        value = improvement * ok
        # LCB on request, and where EI has underflown everywhere
        return value if self._acquisition == "ei" and value.max() > 1e-290 else (bound - bound.min()) * ok

    def _relative_gain(self, improvement: Array, incumbent: float) -> float:
        """The largest expected improvement over configs not tried, as a share of the best value. On the log scale an
        improvement is that share already, to first order."""
        largest = float(improvement[self.free].max()) if self._listed and len(self.free) else float(improvement.max())
        return largest if self._logged else largest / max(abs(incumbent), 1e-12)

    def _targets(self) -> tuple[Array, float]:
        """Targets of the objective, and the least feasible one (the least of all where none is feasible)."""
        y = np.array(
            [self._own_value(o, loss) for o, loss in zip(self.observations, losses(self.observations), strict=True)]
        )
        failed = self._failed()
        if failed is not None:
            y[failed == 1.0] = np.median(y[failed == 0.0])
        self._logged = self._log and bool(y.min() > 0)
        if self._logged:
            y = np.log(y)
        feasible = [i for i, o in enumerate(self.observations) if o.score is not None and o.score.feasible]
        return y, float(y[feasible].min() if feasible else y.min())

    def _failed(self) -> Array | None:
        """1 for each trial that failed without a value, else 0; None where all are the same."""
        failed = np.array([0.0 if o.score is not None and o.score.values else 1.0 for o in self.observations])
        return failed if failed.any() and not failed.all() else None

    def _own_value(self, o: Observation, loss: float) -> float:
        """An SLO-violating trial teaches its true value here: the SLOs have models of their own."""
        assert o.score is not None
        return o.score.values[0] if o.score.values else loss

    def _metric(self, slo: SLO) -> tuple[Array | None, float]:
        """Targets of an SLO's metric, signed so that small is good, and the limit; failed trials count as the worst."""
        seen = [o.result.metrics.get(slo.metric) for o in self.observations]
        known = [x for x in seen if x is not None]
        if not known:
            return None, 0.0
        sign = 1.0 if slo.at_most else -1.0
        worst = max(sign * x for x in known)
        signed = np.array([worst if x is None else sign * x for x in seen])
        if min(known) > 0 and slo.limit > 0:
            return sign * np.log(np.abs(signed)), sign * math.log(slo.limit)
        return signed, sign * slo.limit


def _between(a: Any, b: Any, rng: np.random.Generator) -> Any:
    """A float part of the way from a to b; anything else: b."""
    if isinstance(a, float) and isinstance(b, float):
        return a + (b - a) * 0.2 * float(rng.random())
    return b
