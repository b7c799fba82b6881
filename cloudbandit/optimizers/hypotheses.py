"""An exact Gaussian process whose covariance and prior mean are hypotheses, weighed by evidence.

A hypothesis is a pair of a covariance (`cloudbandit.optimizers.kernels.Kernels`) and an offset: what something claims the target
to be beforehand (`cloudbandit.optimizers.claims`). The offset is subtracted, the rest is modelled with a constant mean (flat
prior) and a signal variance (inverse-gamma prior, at its mode), and it is added back; pairs are weighted by their prior and
marginal likelihood, to the power of the share of observations that were news: neighbours that repeat one another's value say the
same thing twice. An offset that does not fit loses its say, however it was arrived at.

Per covariance only L⁻¹ of the observed is kept, grown by a row per observation in O(n²). What is predicted is worked out afresh
for the pairs that matter, in pieces: nothing of size covariances × n × candidates is ever held.
Sources: as of `cloudbandit.optimizers.gaussian_process`; averaging over models: Hoeting et al., Statistical Science 14(4), 1999.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cloudbandit.optimizers.columns import Points
from cloudbandit.optimizers.gaussian_process import Posterior
from cloudbandit.optimizers.kernels import Chosen, Kernels

Array = np.ndarray[Any, np.dtype[np.float64]]
Positions = np.ndarray[Any, np.dtype[np.intp]]

_JITTER = 1e-4
_PRIOR_SHAPE = 1.0  # of the inverse-gamma on the signal variance; its scale is the targets' variance
_LEAST_WEIGHT = 1e-2  # relative to the heaviest pair's
_MOST_PAIRS = 32
_CELLS = 250_000  # kernel evaluations a prediction may take; beyond, fewer kernels are used, but at least
_LEAST_KERNELS = 4
_PIECE = 1_000_000  # of them held at once
_MOST_ROOM = 128  # made at once
_LARGE = 5_000  # candidates; beyond, single precision


class Fit(NamedTuple):
    """What the data say of one target: P pairs, kernel and offset of each, their weights, and what predicting takes."""

    kernel: Positions
    offset: Positions
    weight: Array
    level: Array
    residual: Array
    variance: Array
    precision: Array
    centre: float
    scale: float


class HypothesesGP:
    """See the module's text.

    Args:
        kernels: the covariances, S of them.
        capacity: how many observations to make room for at first; it grows.
    """

    def __init__(self, kernels: Kernels | Chosen, capacity: int = 32) -> None:
        self._kernels = kernels
        count = len(kernels)
        self._inverse = np.zeros((count, capacity, capacity))
        self._log_det = np.zeros((capacity + 1, count))
        self._ones = np.zeros((count, capacity))  # L⁻¹1
        self._points: Points | None = None
        self.noise: list[float] = []

    def __len__(self) -> int:
        return len(self.noise)

    @property
    def points(self) -> Points:
        """What was observed, in order; there must be something."""
        assert self._points is not None
        return self._points

    def add(self, point: Points, noise: float = 0.0) -> None:
        """Observe one candidate, maybe once more (targets come later, in `fit`).

        Args:
            noise: variance of the observation's error, as a share of the prior variance.
        """
        n = len(self)
        if n == self._inverse.shape[1]:
            self._grow()
        inverse = self._inverse[:, :n, :n]
        if self._points is None:
            self._points, row = point, np.zeros((len(self._kernels), 0))
        else:
            row = np.matmul(inverse, self._kernels.between(self._points, point))[:, :, 0]  # L⁻¹k(X, x)
            self._points = self._points.and_(point)
        pivot = np.sqrt(np.maximum(1.0 + _JITTER + noise - np.einsum("sn,sn->s", row, row), _JITTER * 0.5))
        self._inverse[:, n, :n] = -np.matmul(row[:, None, :], inverse)[:, 0] / pivot[:, None]
        self._inverse[:, n, n] = 1.0 / pivot
        self._log_det[n + 1] = self._log_det[n] + 2.0 * np.log(pivot)
        self._ones[:, n] = (1.0 - np.einsum("sn,sn->s", row, self._ones[:, :n])) / pivot
        self.noise.append(noise)

    def pop(self) -> None:
        """Forget the latest observation."""
        self.noise.pop()
        n = len(self)
        self._points = self.points.at(slice(0, n)) if n else None
        self._inverse[:, n] = 0.0

    def _grow(self) -> None:
        count, n, _ = self._inverse.shape
        room = n + min(n, _MOST_ROOM)
        inverse, ones = np.zeros((count, room, room)), np.zeros((count, room))
        log_det = np.zeros((room + 1, count))
        inverse[:, :n, :n], log_det[: n + 1], ones[:, :n] = self._inverse, self._log_det, self._ones
        self._inverse, self._log_det, self._ones = inverse, log_det, ones

    def fit(
        self,
        targets: Array,
        weight: Array,
        offsets: Array,
        candidates: int,
        level: float | None = None,
    ) -> Fit:
        """Weigh all pairs.

        Args:
            targets: ``(n,)``, n ≥ 1, in the order added.
            weight: ``(H,)``, prior weights of the offsets.
            offsets: ``(H, n)``.
            candidates: how many will be predicted; the more, the fewer kernels are kept.
            level: the constant mean, where it is known.
        """
        n = len(self)
        spread = float(targets.std())
        scale = spread if spread > 0 else 1.0
        centre = float(targets.mean())
        y = ((targets - centre - offsets) / scale).T
        white = self._inverse[:, :n, :n] @ y  # L⁻¹y, (S, n, H)
        ones = self._ones[:, :n]
        precision = np.einsum("sn,sn->s", ones, ones)
        mean = np.einsum("sn,snh->sh", ones, white) / precision[:, None]  # RW eq. 2.43 with a flat prior
        if level is not None:
            mean, precision = np.full_like(mean, (level - centre) / scale), np.full_like(precision, np.inf)
        residual = white - ones[:, :, None] * mean[:, None, :]
        square = np.einsum("snh,snh->sh", residual, residual)
        shape = _PRIOR_SHAPE + 0.5 * (n - 1)
        informative = self._informative()
        counted = _PRIOR_SHAPE + 0.5 * (informative - 1.0)[:, None]
        variance = (_PRIOR_SHAPE + 0.5 * square) / (counted + 1.0) if n > 1 else np.ones_like(square)
        of_kernel = -0.5 * (self._log_det[n] + (np.log(precision) if level is None else 0.0))
        likelihood = of_kernel[:, None] - shape * np.log(_PRIOR_SHAPE + 0.5 * square)
        evidence = np.log(weight) + likelihood * float(informative.mean()) / n
        kernel, offset = self._kept(evidence, candidates)
        kept = np.exp(evidence[kernel, offset] - evidence.max())
        return Fit(
            kernel,
            offset,
            kept / kept.sum(),
            mean[kernel, offset],
            residual[kernel, :, offset],
            variance[kernel, offset],
            precision[kernel],
            centre,
            scale,
        )

    def _informative(self) -> Array:
        """How many observations were news, shape ``(S,)``: each counts by the share of its variance that those before it left. A
        plateau's equal values are no evidence of a small variance."""
        n = len(self)
        pivots = 1.0 / np.einsum("snn->sn", self._inverse[:, :n, :n])
        return np.asarray(np.minimum(pivots * pivots / (1.0 + np.array(self.noise)), 1.0).sum(axis=1))

    def _kept(self, evidence: Array, candidates: int) -> tuple[Positions, Positions]:
        """Kernels and offsets of the pairs that matter: the heaviest, of no more kernels than is affordable."""
        offsets = evidence.shape[1]
        flat = evidence.ravel()
        order = np.argsort(-flat, kind="stable")[:_MOST_PAIRS]
        order = order[flat[order] >= flat[order[0]] + math.log(_LEAST_WEIGHT)]
        most = max(_LEAST_KERNELS, _CELLS // max(1, len(self) * candidates))
        kernels = list(dict.fromkeys((order // offsets).tolist()))[:most]
        order = np.sort(order[np.isin(order // offsets, kernels)])
        return order // offsets, order % offsets

    def predict(self, points: Points, fits: Sequence[Fit], offsets: Sequence[Array]) -> list[Posterior]:
        """At the points, of what is measured, without noise.

        Args:
            fits: one per target.
            offsets: ``(H, N)`` of each target at the points.
        """
        n, total = len(self), len(points)
        kernels = np.unique(np.concatenate([f.kernel for f in fits]))
        kind = np.float32 if total > _LARGE else np.float64
        out = [
            Posterior(
                f.weight.astype(kind), np.empty((len(f.weight), total), kind), np.empty((len(f.weight), total), kind)
            )
            for f in fits
        ]
        inverse, ones = self._inverse[kernels, :n, :n].astype(kind), self._ones[kernels, None, :n].astype(kind)
        step = max(1, _PIECE // (n * len(kernels)))
        for start in range(0, total, step):
            piece = slice(start, start + step)
            some = points.at(piece)
            cross = self._kernels.between(self.points, some.halved() if kind is np.float32 else some, kernels)
            v = np.matmul(inverse, cross)  # (k, n, c)
            left = np.maximum(1.0 - np.einsum("knc,knc->kc", v, v), 0.0)
            missing = (1.0 - np.matmul(ones, v)[:, 0]) ** 2
            for f, offset, p in zip(fits, offsets, out, strict=True):
                at = np.searchsorted(kernels, f.kernel)
                for k in np.unique(at).tolist():
                    rows = np.flatnonzero(at == k)
                    p.mean[rows, piece] = f.residual[rows].astype(kind) @ v[k]
                p.mean[:, piece] = f.centre + f.scale * (f.level[:, None] + p.mean[:, piece]) + offset[f.offset, piece]
                share = np.maximum(left[at] + missing[at] / f.precision[:, None], 1e-12)
                p.sd[:, piece] = f.scale * np.sqrt(f.variance[:, None] * share)
        return out

    def covariances(self, points: Points, kernels: Positions, flat: bool = True) -> Array:
        """Of what the chosen kernels leave unknown at the points, as shares of the prior variance, shape ``(k, N, N)``.

        Args:
            flat: whether the constant mean is unknown.
        """
        n = len(self)
        v = np.matmul(self._inverse[kernels, :n, :n], self._kernels.between(self.points, points, kernels))
        left = self._kernels.between(points, points, kernels) - np.matmul(v.transpose(0, 2, 1), v)
        if flat:
            ones = self._ones[kernels, :n]
            missing = (1.0 - np.einsum("kn,knc->kc", ones, v)) / np.sqrt(np.einsum("kn,kn->k", ones, ones))[:, None]
            left += missing[:, :, None] * missing[:, None, :]
        return np.asarray(left)
