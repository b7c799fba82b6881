"""The mean shape of other workloads: what a config does to a metric, whatever the workload's own level.

Mixed model of what earlier studies observed: y = level of the study + m(config) + error, with a flat prior on levels and a
Gaussian process m over the columns that the earlier candidates share with the present domain. Its covariance, and the size of the
error, are those of the largest restricted marginal likelihood. Studies may have tried whatever they liked: that a search went
where it was cheap is no bias, since each has a level of its own.
Sources: Patterson & Thompson, Biometrika 58(3), 1971 (restricted likelihood); Bardenet et al., "Collaborative hyperparameter
tuning", ICML 2013 (a model over several problems, each with its own level); both second-hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cloudbandit.core.known import Fact
from cloudbandit.optimizers.columns import Points
from cloudbandit.optimizers.kernels import Kernels

Array = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]
Positions = np.ndarray[Any, np.dtype[np.intp]]

_ERRORS = (0.1, 0.4, 1.5)  # variances of the error as shares of m's
_WORK = 4e8  # operations that trying covariances may take
_LEAST_KERNELS = 2
_MOST_CONFIGS = 1_000  # the most often observed ones
_PIECE = 4_000_000
_LEAST_SPREAD = 0.1


class Remembered(NamedTuple):
    """n observations of earlier studies: the different configs, ``(U,)`` points; of each observation its config, its study, its
    value on the modelled scale, and the facts of its candidate."""

    points: Points
    config: Positions
    study: Positions
    values: Array
    facts: Sequence[Mapping[str, Fact]]

    def cut(self) -> Remembered:
        """At most so many configs as are affordable."""
        counts = np.bincount(self.config, minlength=len(self.points))
        kept = np.sort(np.argsort(-counts, kind="stable")[:_MOST_CONFIGS])
        if len(kept) == len(counts):
            return self
        rows = np.flatnonzero(np.isin(self.config, kept))
        return Remembered(
            self.points.at(kept),
            np.searchsorted(kept, self.config[rows]),
            self.study[rows],
            self.values[rows],
            [self.facts[i] for i in rows.tolist()],
        )


class MeanShape:
    """See the module's text.

    Attributes:
        level, spread: of a study's own level, mean and deviation, the latter with what m leaves unexplained.
    """

    def __init__(self, kernels: Kernels, told: Remembered) -> None:
        told = told.cut()
        self._kernels = kernels
        self._unseen = ~told.points.active.any(axis=0)
        self._elsewhere = bool((told.points.arms < 0).all())
        self._points = self._comparable(told.points)
        config, values, count = told.config, told.values, len(told.points)
        _, study = np.unique(told.study, return_inverse=True)
        sizes = np.bincount(study)
        incidence = np.zeros((count, len(sizes)))
        np.add.at(incidence, (config, study), 1.0)
        centred = values - (np.bincount(study, values) / sizes)[study]
        laplacian = np.diag(incidence.sum(axis=1)) - (incidence / sizes) @ incidence.T
        self._kernel, self._pull = np.array([0]), np.zeros(count)
        freedom = len(values) - len(sizes)
        if freedom > 0 and np.ptp(centred) > 0:
            self._learn(laplacian, np.bincount(config, centred, count).astype(float), float(centred @ centred), freedom)
        rest = values - self.at(told.points)[config]
        levels = np.bincount(study, rest) / sizes
        self.level = float(levels.mean())
        self.spread = max(_LEAST_SPREAD, float(np.sqrt(levels.var() + (rest - levels[study]).var())))

    def _learn(self, laplacian: Array, pull: Array, total: float, freedom: int) -> None:
        """Of the covariances and errors the likeliest. With A the Laplacian of which configs were compared, b what they were
        pulled by, K the covariance and r the error's share: m = K(I + AK/r)⁻¹b/r."""
        count = len(pull)
        tried = int(np.clip(_WORK / count**3, _LEAST_KERNELS, len(self._kernels)))
        best = -np.inf
        for kernel in np.unique(np.linspace(0, len(self._kernels) - 1, tried).astype(int)):
            covariance = self._kernels.between(self._points, self._points, np.array([kernel]))[0]
            product = laplacian @ covariance
            for error in _ERRORS:
                system = np.eye(count) + product / error
                solved = np.linalg.solve(system, pull) / error
                left = max(total - float(pull @ covariance @ solved), 1e-12 * total) / error
                log_det = float(np.linalg.slogdet(system)[1])
                evidence = -0.5 * (freedom * np.log(left) + log_det + freedom * np.log(error))
                if evidence > best:
                    best, self._kernel, self._pull = evidence, np.array([kernel]), solved

    def at(self, points: Points) -> Array:
        """m at the points, shape ``(N,)``."""
        out = np.empty(len(points))
        step = max(1, _PIECE // len(self._points))
        for start in range(0, len(points), step):
            piece = slice(start, start + step)
            some = self._comparable(points.at(piece))
            out[piece] = self._pull @ self._kernels.between(self._points, some, self._kernel)[0]
        return out

    def _comparable(self, points: Points) -> Points:
        """Without what earlier candidates do not have: it would only make all of them equally unlike all of these."""
        if not self._unseen.any() and not self._elsewhere:
            return points
        blank = np.array(self._unseen)
        if self._elsewhere:
            blank[: self._kernels.of_arms] = True
        features, active = points.features.copy(), points.active.copy()
        features[:, blank[self._kernels.groups]] = 0.0
        active[:, blank] = True
        return Points(features, np.zeros_like(points.arms) if self._elsewhere else points.arms, active)
