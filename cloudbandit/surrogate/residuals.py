"""How wrong the point model is for an LLM it has never seen, and what a measurement tells about the rest.

The residuals of a leave-one-LLM-out fit are a sample of just those errors. They are modelled as a Gaussian process over the
points of one LLM: an effect of the LLM as a whole, one that neighbouring profiles share, one of the load, one of the curve,
noise. Given measurements of the new LLM, the same process is conditioned on them (few-shot).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloudbandit.catalogue.gpus import Profile
from cloudbandit.surrogate.means import inverse_of

Floats = npt.NDArray[np.float64]

_START = np.log([0.2, 0.2, 0.15, 0.2, 0.15, 0.1, 1.0, 2.0])
"""Standard deviations of LLM, profile, load, curve, curve × load and noise; length scales over profiles and over log2 users. Also
the centre of a weak prior: standard deviation 1 in the logarithm."""
_MEASURED_SD = 0.01
"""What is left of the noise at a measured point, in log units."""


def profile_coordinates(profiles: Sequence[Profile]) -> Floats:
    """Where a profile lies among others: log2 of its bandwidth, compute, memory and number of GPUs."""
    rows = [
        (
            p.gpus * p.gpu.bandwidth_gb_per_s,
            p.gpus * p.gpu.fp16_dense_tflops,
            p.memory_gib,
            p.gpus,
        )
        for p in profiles
    ]
    out: Floats = np.log2(np.array(rows, float).reshape(len(rows), 4)) / 2
    return out


@dataclass(frozen=True)
class Points:
    """Points of one LLM: a profile each (coordinates and an identity) and a load."""

    coordinates: Floats
    curve: npt.NDArray[np.int64]
    log2_users: Floats

    def __len__(self) -> int:
        return len(self.curve)

    def __getitem__(self, which: npt.NDArray[np.int64]) -> Points:
        return Points(self.coordinates[which], self.curve[which], self.log2_users[which])


def grid(profiles: Sequence[Profile], loads: Sequence[int]) -> Points:
    """Every profile at every load, profile by profile."""
    here = profile_coordinates(profiles)
    return Points(
        np.repeat(here, len(loads), axis=0),
        np.repeat(np.arange(len(profiles)), len(loads)),
        np.tile(np.log2(np.array(loads, float)), len(profiles)),
    )


@dataclass(frozen=True)
class Covariance:
    """Of the residuals at points of one LLM."""

    theta: Floats

    def between(self, a: Points, b: Points) -> Floats:
        """(len(a), len(b)); noise left out."""
        sd = np.exp(self.theta)
        near = ((a.coordinates[:, None, :] - b.coordinates[None, :, :]) ** 2).sum(-1)
        load = np.exp(-0.5 * (a.log2_users[:, None] - b.log2_users) ** 2 / sd[7] ** 2)
        curve = a.curve[:, None] == b.curve
        out: Floats = (
            sd[0] ** 2
            + sd[1] ** 2 * np.exp(-0.5 * near / sd[6] ** 2)
            + sd[2] ** 2 * load
            + curve * (sd[3] ** 2 + sd[4] ** 2 * load)
        )
        return out

    @property
    def noise(self) -> float:
        """Variance."""
        return float(np.exp(2 * self.theta[5]))


def fit_covariance(blocks: Sequence[tuple[Points, Floats]]) -> Covariance:
    """By penalised marginal likelihood; one block of residuals per LLM."""
    from scipy.linalg import cho_factor, cho_solve
    from scipy.optimize import minimize

    fixed = []
    for points, residual in blocks:
        near = ((points.coordinates[:, None, :] - points.coordinates[None, :, :]) ** 2).sum(-1)
        load = (points.log2_users[:, None] - points.log2_users) ** 2
        fixed.append((near, load, (points.curve[:, None] == points.curve).astype(float), np.eye(len(points)), residual))

    def loss(theta: Floats) -> tuple[float, Floats]:
        v = np.exp(2 * theta[:6])
        ll = np.exp(2 * theta[6:])
        value, gradient = 0.0, np.zeros(8)
        for near, load, curve, eye, residual in fixed:
            k_near = v[1] * np.exp(near * (-0.5 / ll[0]))
            k_load = np.exp(load * (-0.5 / ll[1]))
            own = v[4] * curve * k_load
            shared = v[2] * k_load
            k = v[0] + k_near + shared + v[3] * curve + own + (v[5] + 1e-6) * eye
            factor = cho_factor(k, lower=True, overwrite_a=True, check_finite=False)
            alpha = cho_solve(factor, residual, check_finite=False)
            value += 0.5 * float(residual @ alpha) + float(np.log(np.diag(factor[0])).sum())
            w = inverse_of(factor[0])
            w -= np.outer(alpha, alpha)
            w_near = w * k_near
            gradient += [
                v[0] * w.sum(),
                w_near.sum(),
                np.vdot(w, shared),
                v[3] * np.vdot(w, curve),
                np.vdot(w, own),
                v[5] * np.trace(w),
                0.5 * np.vdot(w_near, near) / ll[0],
                0.5 * np.vdot(w * load, shared + own) / ll[1],
            ]
        pull = theta - _START
        return value + 0.5 * float(pull @ pull), gradient + pull

    bounds = [(s - 4, s + 4) for s in _START]
    best = minimize(loss, _START, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60, "ftol": 1e-6})
    return Covariance(best.x)


@dataclass(frozen=True)
class Belief:
    """What is believed of a metric's logarithm at points: Gaussian."""

    mean: Floats
    covariance: Floats

    def samples(self, normal: Floats) -> Floats:
        """(samples, points) from standard normal draws of that shape."""
        n = len(self.mean)
        jitter = 1e-9 * (1.0 + float(np.trace(self.covariance)) / n)
        root = np.linalg.cholesky(self.covariance + jitter * np.eye(n))
        out: Floats = self.mean + normal @ root.T
        return out


def condition(
    prior: Floats, covariance: Covariance, points: Points, known: npt.NDArray[np.int64], values: Floats
) -> Belief:
    """The belief after measuring the log metric at some of the points.

    Args:
        prior: (points,) the point model's prediction.
        known: indices of measured points, ``values`` what was measured there.
    """
    k = covariance.between(points, points) + covariance.noise * np.eye(len(points))
    if not len(known):
        return Belief(prior, k)
    from scipy.linalg import cho_factor, cho_solve

    across = k[:, known]
    factor = cho_factor(k[np.ix_(known, known)] + _MEASURED_SD**2 * np.eye(len(known)), lower=True)
    mean = prior + across @ cho_solve(factor, values - prior[known])
    left = k - across @ cho_solve(factor, across.T)
    return Belief(mean, (left + left.T) / 2)
