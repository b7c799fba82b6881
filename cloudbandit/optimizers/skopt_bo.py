"""scikit-optimize's surrogates and acquisition functions (extra ``skopt``).

Its ``Optimizer`` proposes points that were evaluated before, which here would be paid for twice. So its parts are used:
its estimator is fitted to what was observed, its expected improvement ranks the configs not tried yet. The fit starts
anew for each suggestion, which makes resuming exact.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.errors import UnknownNameError, need
from cloudbandit.core.protocols import Problem
from cloudbandit.core.targets import log_scale
from cloudbandit.core.trial import Candidate
from cloudbandit.optimizers.random_search import draw_nominal, draw_unseen

_SAMPLED = 1_000
_MAX_SCORED = 5_000


class SkoptOptimizer(BaseOptimizer):
    """``skopt`` (Gaussian process), ``skopt-forest`` (random forest), and ``bilal``, which picks the surrogate by the goal.

    Args:
        estimator: ``"GP"``, ``"RF"``, ``"ET"`` or ``"GBRT"``, as in scikit-optimize.
        initial: random points before the model is used; by default 3, or 1 in a domain of one arm.
    """

    objectives = "one"

    def __init__(
        self, problem: Problem, *, estimator: Literal["GP", "RF", "ET", "GBRT"] = "GP", initial: int | None = None
    ) -> None:
        super().__init__(problem)
        if estimator not in ("GP", "RF", "ET", "GBRT"):
            raise UnknownNameError("estimator of scikit-optimize", estimator, ("GP", "RF", "ET", "GBRT"))
        self._estimator = estimator
        self._initial = initial if initial is not None else (3 if len(problem.domain.names) > 1 else 1)
        self._skopt = need("skopt", "skopt", "the optimizer skopt")
        need("skopt.learning", "skopt", "the optimizer skopt")

    def _suggest(self) -> Candidate | None:
        early = len(self.observations) + self._pending.total() < self._initial or not self.observations
        if not self.domain.enumerable:
            if early:
                return draw_unseen(self)
            taken = {*(o.candidate for o in self.observations), *self.pending}
            drawn = dict.fromkeys(self.domain.sample(self.rng(), _SAMPLED))
            options = [c for c in drawn if c not in taken and not self.rests(c)]
            if not options:
                return None
            return options[int(np.argmax(self._improvement(self.domain.encode(options))))]
        free = self.free
        if not len(free):
            return None
        if early:
            return draw_nominal(self, free)
        if len(free) > _MAX_SCORED:
            free = np.sort(self.rng().choice(free, _MAX_SCORED, replace=False))
        return self.domain.candidates[int(free[np.argmax(self._improvement(self.domain.features[free]))])]

    def _improvement(self, options: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Expected improvement of each row of features, shape ``(n,)``."""
        from skopt.acquisition import gaussian_ei
        from skopt.utils import cook_estimator

        y = log_scale(self.targets.losses)[0]
        known = [o.candidate for o in self.observations]
        if self._pending:  # a constant liar: what is in flight comes out average
            known = [*known, *self.pending]
            y = np.append(y, np.full(len(known) - len(y), y.mean()))
        space = self._skopt.space.Space([(0.0, 1.0)] * max(1, options.shape[1]))
        seed = int(self.rng(self.turn, 3).integers(2**31))
        if self._estimator == "GBRT":
            model: Any = _QuantileBoosting(seed)
        else:
            model = cook_estimator(self._estimator, space=space, random_state=seed)
        x = self.domain.encode(known)
        if x.shape[1] == 0:
            return np.zeros(len(options))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a length scale at its bound is no news on ten points
            model.fit(x, y)
            return np.asarray(gaussian_ei(options, model, y_opt=float(y.min())))


class _QuantileBoosting:
    """Gradient boosting of the quantiles 0.16, 0.5 and 0.84, as scikit-optimize's own (whose prediction fails with
    numpy ≥ 2.4)."""

    def __init__(self, seed: int) -> None:
        from sklearn.ensemble import GradientBoostingRegressor

        self._models = [
            GradientBoostingRegressor(loss="quantile", alpha=q, n_estimators=30, random_state=seed)
            for q in (0.16, 0.5, 0.84)
        ]

    def fit(self, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> None:
        for model in self._models:
            model.fit(x, y)

    def predict(self, x: np.ndarray[Any, Any], return_std: bool = True) -> tuple[Any, Any]:
        low, middle, high = (model.predict(x) for model in self._models)
        return middle, np.maximum((high - low) / 2.0, 1e-6)


def bilal(problem: Problem) -> SkoptOptimizer:
    """Bilal et al., "Do the Best Cloud Configurations Grow on Trees?", PVLDB 13(11), 2020: Bayesian optimization with trees
    in place of a Gaussian process; gradient boosting for cost, a random forest for time. (Second-hand: the choice per
    objective is as the CloudBandit paper's comparison is described to use it.)"""
    money = any("usd" in metric or "cost" in metric for metric in problem.goal.metrics)
    return SkoptOptimizer(problem, estimator="GBRT" if money else "RF")
