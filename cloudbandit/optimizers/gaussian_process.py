"""An exact Gaussian process over a list of candidates, updated one observation at a time.

For each of several length scales it keeps V = L⁻¹K(X, C), where LLᵀ = K(X, X) + jitter·I, C are all candidates and X the
observed ones. A new observation appends one row to V and one to L⁻¹ (a rank-one update of the posterior), which costs
O(n·N); nothing is ever refitted. The posterior covariance does not depend on the targets, so several targets (each
objective, each SLO's metric) share one V. An observation may be noisy, by a variance of its own, and a candidate observed
several times.

Model, per length scale: constant mean with a flat prior (generalised least squares), Matérn-5/2 kernel, signal variance
with an inverse-gamma prior integrated out by its mode; length scales are weighted by their marginal likelihood.
Length scales are shared by all columns, or, since most parameters matter little and one does not know which, also drawn per
group of columns (automatic relevance determination: RW section 5.1), as importance samples from a log-uniform prior.
Sources: Rasmussen & Williams, "Gaussian Processes for Machine Learning" (2006), eqs. 2.20 to 2.26, 2.41 to 2.43, 4.17,
5.1, 5.8; Snoek et al., NIPS 2012 (acquisition integrated over hyperparameters).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

Array = np.ndarray[Any, np.dtype[np.float64]]

LENGTH_SCALES = (0.3, 0.5, 0.8, 1.3, 2.0, 3.5)
"""In units of the encoding, where two labels lie at distance 1 and a number's range is 1."""

_RELEVANCE = (0.3, 10.0)  # the range of a group's own length scale; at the far end it hardly matters
_SAMPLES, _SAMPLES_LEAST, _SAMPLED_CELLS = 32, 8, 80_000  # V grows with samples × candidates

_LARGE = 10_000
"""Beyond so many candidates what is kept of each has single precision (half the memory and time, errors far below the jitter),
and length scales that hardly count are left out of the posterior."""
_LEAST_WEIGHT = 1e-3  # relative to the largest

_JITTER = 1e-4
_PRIOR_SHAPE = 1.0  # of the inverse-gamma on the signal variance; its scale is the targets' variance


def relevance_scales(groups: int, candidates: int) -> Array:
    """Length scales of each group, shape ``(S, groups)``: the shared ones, then always the same draws, fewer for many
    candidates."""
    draws = int(np.clip(_SAMPLED_CELLS // max(1, candidates), _SAMPLES_LEAST, _SAMPLES))
    low, high = np.log(_RELEVANCE)
    own = np.exp(np.random.default_rng(0).uniform(low, high, (draws, groups)))
    return np.vstack([np.repeat(np.array(LENGTH_SCALES)[:, None], groups, axis=1), own])


class Posterior(NamedTuple):
    """Per length scale (first axis, S of them): weights ``(S,)``, mean and standard deviation ``(S, N)`` of what is measured,
    without the noise."""

    weight: Array
    mean: Array
    sd: Array

    def expected(self) -> Array:
        """The mean over length scales, shape ``(N,)``."""
        return np.asarray(self.weight @ self.mean)

    def at(self, candidates: np.ndarray[Any, Any]) -> Posterior:
        """Of these candidates alone."""
        return Posterior(self.weight, self.mean[:, candidates], self.sd[:, candidates])


class CandidateGP:
    """See the module's text.

    Args:
        features: ``(N, d)``, the candidates.
        length_scales: ``(S, G)``, for each of G groups of columns; ``(S,)`` is one group of all.
        groups: ``(d,)``, the group of each column, 0 … G − 1.
        plateaus: equal values at neighbours are no evidence of a small variance. A cost that several parameters leave as it is
            repeats its values exactly; counted in full, these repeats make the model sure of what it has not seen.
        capacity: how many observations to make room for at first; it grows. Room that is not used takes no memory.
    """

    def __init__(
        self,
        features: Array,
        length_scales: ArrayLike = LENGTH_SCALES,
        groups: np.ndarray[Any, np.dtype[np.intp]] | None = None,
        capacity: int = 16,
        plateaus: bool = False,
    ) -> None:
        self._plateaus = plateaus
        self._large = len(features) > _LARGE
        self._kind: type[np.floating[Any]] = np.float32 if self._large else np.float64
        capacity = max(capacity, 64) if self._large else capacity  # growing copies
        features = np.ascontiguousarray(features, dtype=self._kind)
        self._scales = np.asarray(length_scales, dtype=float)
        if self._scales.ndim == 1:
            self._scales = self._scales[:, None]
        groups = np.zeros(features.shape[1], dtype=np.intp) if groups is None else groups
        self._parts = [np.ascontiguousarray(features[:, groups == g]) for g in range(self._scales.shape[1])]
        self._squares = [np.einsum("ij,ij->i", part, part) for part in self._parts]
        scales, total = len(self._scales), len(features)
        self._v = np.empty((scales, capacity, total), self._kind)
        self._inverse = np.zeros((scales, capacity, capacity))
        self._log_det = np.zeros((capacity + 1, scales))
        self._explained = np.zeros((scales, total), self._kind)  # Σ V² over the observations
        self._ones_v = np.zeros((scales, total), self._kind)  # 1ᵀL⁻ᵀV
        self._ones = np.zeros((scales, capacity))  # L⁻¹1
        self.observed: list[int] = []
        self.noise: list[float] = []

    def __len__(self) -> int:
        return len(self.observed)

    def add(self, candidate: int, noise: float = 0.0) -> None:
        """Observe candidate number ``candidate``, maybe once more (targets come later, in `posterior`).

        Args:
            noise: variance of the observation's error, as a share of the prior variance.
        """
        n = len(self.observed)
        if n == self._v.shape[1]:
            self._grow()
        r = self._distance(candidate)
        k = (1.0 + r + r * r / 3.0) * np.exp(-r)  # Matérn-5/2, RW eq. 4.17
        v, inverse = self._v[:, :n], self._inverse[:, :n, :n]
        row = v[:, :, candidate]  # L⁻¹k(X, x)
        exact: Array = row.astype(float, copy=False)  # a copy would be summed in another order
        pivot = np.sqrt(np.maximum(1.0 + _JITTER + noise - np.einsum("sn,sn->s", exact, exact), _JITTER * 0.5))
        new = (k - self._times_v(row, np.arange(len(row)))) / pivot[:, None].astype(self._kind)
        self._v[:, n] = new
        self._inverse[:, n, :n] = -np.matmul(exact[:, None, :], inverse)[:, 0] / pivot[:, None]
        self._inverse[:, n, n] = 1.0 / pivot
        self._log_det[n + 1] = self._log_det[n] + 2.0 * np.log(pivot)
        self._explained += new * new
        self._ones[:, n] = (1.0 - np.einsum("sn,sn->s", exact, self._ones[:, :n])) / pivot
        self._ones_v += self._ones[:, n, None].astype(self._kind) * new
        self.observed.append(candidate)
        self.noise.append(noise)

    def _distance(self, candidate: int) -> Array:
        """√5 times the scaled distance of every candidate from this one, shape ``(S, N)``."""
        squared = np.array(
            [
                np.maximum(square + square[candidate] - 2.0 * (part @ part[candidate]), 0.0)
                for part, square in zip(self._parts, self._squares, strict=True)
            ]
        )
        if len(squared) == 1:
            return np.asarray(np.sqrt(5.0 * squared) / self._scales.astype(self._kind))
        return np.asarray(np.sqrt(5.0 * ((self._scales**-2.0).astype(self._kind) @ squared)))

    def _times_v(self, left: np.ndarray[Any, Any], scales: np.ndarray[Any, np.dtype[np.intp]]) -> Array:
        """Of the chosen length scales, ``(k, n)`` times V: ``(k, N)``."""
        n = left.shape[1]
        if not self._large:  # where all are chosen
            return np.asarray(np.matmul(left[:, None, :], self._v[:, :n])[:, 0])
        out = np.empty((len(scales), self._v.shape[2]), self._kind)
        for i, scale in enumerate(scales.tolist()):  # each V is streamed once; BLAS is slower for so flat a product
            np.einsum("n,nc->c", left[i], self._v[scale, :n], out=out[i])
        return out

    def _informative(self) -> Array:
        """How many observations were news: each counts by the share of its variance, noise included, that those before it left,
        shape ``(S,)``."""
        n = len(self.observed)
        pivots = 1.0 / np.einsum("snn->sn", self._inverse[:, :n, :n])
        return np.asarray(np.minimum(pivots * pivots / (1.0 + np.array(self.noise)), 1.0).sum(axis=1))

    def pop(self) -> None:
        """Forget the latest observation."""
        self.observed.pop()
        self.noise.pop()
        n = len(self.observed)
        new = self._v[:, n]
        self._explained -= new * new
        self._ones_v -= self._ones[:, n, None].astype(self._kind) * new
        self._inverse[:, n] = 0.0

    def _grow(self) -> None:
        scales, n, total = self._v.shape
        v, inverse = np.empty((scales, 2 * n, total), self._kind), np.zeros((scales, 2 * n, 2 * n))
        v[:, :n], inverse[:, :n, :n] = self._v, self._inverse
        log_det, ones = np.zeros((2 * n + 1, scales)), np.zeros((scales, 2 * n))
        log_det[: n + 1], ones[:, :n] = self._log_det, self._ones
        self._v, self._inverse, self._log_det, self._ones = v, inverse, log_det, ones

    def posterior(self, targets: Array) -> Posterior:
        """Predictions for all candidates from targets ``(n,)`` in the order of `observed`; n ≥ 1."""
        n = len(self.observed)
        spread = float(targets.std())
        scale = spread if spread > 0 else 1.0
        centre = float(targets.mean())
        y = (targets - centre) / scale
        white = self._inverse[:, :n, :n] @ y  # L⁻¹y, (S, n)
        ones = self._ones[:, :n]
        precision = np.einsum("sn,sn->s", ones, ones)
        mean = (
            np.einsum("sn,sn->s", ones, white) / precision
        )  # generalised least squares, RW eq. 2.43 with a flat prior
        residual = white - mean[:, None] * ones
        fit = np.einsum("sn,sn->s", residual, residual)
        shape = _PRIOR_SHAPE + 0.5 * (n - 1)
        counted = _PRIOR_SHAPE + 0.5 * (self._informative() - 1.0) if self._plateaus else shape
        variance = (_PRIOR_SHAPE + 0.5 * fit) / (counted + 1.0) if n > 1 else np.ones_like(fit)
        evidence = -0.5 * self._log_det[n] - 0.5 * np.log(precision) - shape * np.log(_PRIOR_SHAPE + 0.5 * fit)
        weight = np.exp(evidence - evidence.max())
        explained, ones_v = self._explained, self._ones_v
        kept = np.arange(len(weight))
        if self._large:
            kept = np.flatnonzero(weight >= _LEAST_WEIGHT)
            weight, explained, ones_v = weight[kept], explained[kept], ones_v[kept]
            mean, variance, precision, residual = (
                a[kept].astype(np.float32) for a in (mean, variance, precision, residual)
            )
        prediction = mean[:, None] + self._times_v(residual, kept)
        unexplained = np.maximum(1.0 - explained, 0.0) + (1.0 - ones_v) ** 2 / precision[:, None]
        sd = np.sqrt(variance[:, None] * np.maximum(unexplained, 1e-12))
        return Posterior(weight / weight.sum(), centre + scale * prediction, scale * sd)
