"""A radial basis function optimizer over the listed configs, in the manner of RBFOpt.

A cubic RBF interpolant with a linear tail (a constant one while there are too few points) is fitted to the log of the values.
The next config minimises a weighted sum of the interpolant, scaled to [0, 1], and of the distance to the nearest tried config,
scaled and reversed; the weight cycles through 0.3, 0.5, 0.8, 0.95, from exploring to exploiting. Several objectives are one
number under weights that are drawn anew for each suggestion (`cloudbandit.core.targets.Targets.scalar`).

Sources: Regis & Shoemaker, "A stochastic radial basis function method for the global optimization of expensive functions",
INFORMS J. Comput. 19(4), 2007 (MSRSM and its weight cycle; second-hand); Gutmann 2001 (cubic interpolant);
Costa & Nannicini, RBFOpt, Math. Prog. Comp. 2018.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.protocols import Problem
from cloudbandit.core.targets import log_scale
from cloudbandit.core.trial import Candidate
from cloudbandit.optimizers.random_search import draw_nominal, draw_unseen

Array = np.ndarray[Any, np.dtype[np.float64]]

WEIGHTS = (0.3, 0.5, 0.8, 0.95)
_SAMPLED = 800


class RBFOptimizer(BaseOptimizer):
    """``rbf``.

    Args:
        initial: random points before the model is used; by default 3, or 2 in a domain of one arm.
    """

    def __init__(self, problem: Problem, *, initial: int | None = None) -> None:
        super().__init__(problem)
        self._initial = initial if initial is not None else (3 if len(problem.domain.names) > 1 else 2)

    def _suggest(self) -> Candidate | None:
        early = len(self.observations) + self._pending.total() < self._initial or not self.observations
        known = [o.candidate for o in self.observations]
        if not self.domain.enumerable:
            if early:
                return draw_unseen(self)
            taken = {*known, *self.pending}
            drawn = dict.fromkeys(self.domain.sample(self.rng(), _SAMPLED))
            options = [c for c in drawn if c not in taken and not self.rests(c)]
            if not options:
                return None
            x = self.domain.encode([*known, *self.pending])
            return options[int(np.argmin(self._merit(x, self.domain.encode(options))))]
        free = self.free
        if not len(free):
            return None
        if early:
            return draw_nominal(self, free)
        x = self.domain.features[[self.domain.index[c.key] for c in (*known, *self.pending)]]
        return self.domain.candidates[int(free[np.argmin(self._merit(x, self.domain.features[free]))])]

    def _merit(self, x: Array, options: Array) -> Array:
        """The merit of each option, smaller is better, shape ``(n,)``; the last rows of ``x`` are pending."""
        y = log_scale(self.targets.scalar(self.rng(self.turn, 11)))[0]
        y = np.minimum(
            y, np.median(y) + 3 * (np.median(y) - y.min()) + 1e-9
        )  # one terrible value must not bend the rest
        distance = np.sqrt(np.maximum(_squared(options, x), 0.0)).min(axis=1)
        value = _interpolate(x[: len(y)], y, options)
        weight = WEIGHTS[self.turn % len(WEIGHTS)]
        return weight * _scaled(value) + (1 - weight) * (1 - _scaled(distance))


def _squared(a: Array, b: Array) -> Array:
    return np.asarray((a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2.0 * a @ b.T)


def _scaled(values: Array) -> Array:
    spread = values.max() - values.min()
    return np.zeros_like(values) if spread <= 0 else (values - values.min()) / spread


def _interpolate(x: Array, y: Array, options: Array) -> Array:
    """The cubic interpolant at ``options``; solved in the least-squares sense where points repeat or the tail has more
    coefficients than there are points."""
    n, d = x.shape
    linear = n > d + 1
    tail, tail_options = (
        np.hstack([np.ones((len(a), 1)), a]) if linear else np.ones((len(a), 1)) for a in (x, options)
    )
    phi = np.maximum(_squared(x, x), 0.0) ** 1.5
    p = tail.shape[1]
    system = np.block([[phi, tail], [tail.T, np.zeros((p, p))]])
    solution = np.linalg.lstsq(system, np.concatenate([y, np.zeros(p)]), rcond=1e-10)[0]
    return np.asarray(np.maximum(_squared(options, x), 0.0) ** 1.5 @ solution[:n] + tail_options @ solution[n:])
