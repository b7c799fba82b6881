"""Point models of log metrics: gradient-boosted trees, extremely randomised trees, a Gaussian process.

Each is fitted on the physics features of load tests and predicts for a model and profile it may never have seen. None knows of
an SLO, so none is trained again when the SLO changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloudbandit.core.errors import UnknownNameError, need
from cloudbandit.surrogate.physics import FEATURES, GROWING

Floats = npt.NDArray[np.float64]

_EXTRA = "recommend"
_MODEL_FEATURES = [
    i
    for i, f in enumerate(FEATURES)
    if f in ("log_kv_mb_per_token", "log_layers", "encoder_decoder", "flash", "log_d_model", "log_parameters")
]
_LOAD_FEATURES = list(range(GROWING))
_OTHER_FEATURES = [i for i in range(len(FEATURES)) if i not in (*_MODEL_FEATURES, *_LOAD_FEATURES)]


@dataclass(frozen=True)
class Training:
    """Points to learn from.

    Args:
        x: (n, features).
        y: (n, metrics), logarithms.
        llm, curve: (n,) which model, and which (model, profile), a point belongs to.
        monotone: (metrics,) whether a metric can only grow with users.
    """

    x: Floats
    y: Floats
    llm: npt.NDArray[np.int64]
    curve: npt.NDArray[np.int64]
    monotone: tuple[bool, ...]


Mean = Callable[[Floats], Floats]
"""A fitted point model: (n, features) → (n, metrics), logarithms."""


def boosted(training: Training, seed: int, like: Mean | None = None) -> Mean:
    """Histogram gradient boosting, monotone in what grows with users. 200 trees of 8 leaves, learning rate 0.05: chosen
    beforehand, not tuned."""
    ensemble = need("sklearn.ensemble", _EXTRA, "the recommender")
    fitted = []
    for k, grows in enumerate(training.monotone):
        model = ensemble.HistGradientBoostingRegressor(
            max_iter=200,
            max_leaf_nodes=8,
            learning_rate=0.05,
            min_samples_leaf=8,
            l2_regularization=1.0,
            monotonic_cst=[int(grows and i < GROWING) for i in range(training.x.shape[1])],
            early_stopping=False,
            random_state=seed,
        )
        fitted.append(model.fit(training.x, training.y[:, k]))
    return lambda x: np.column_stack([m.predict(x) for m in fitted])


def extra_trees(training: Training, seed: int, like: Mean | None = None) -> Mean:
    """Extremely randomised trees, 200 of them, at least two points per leaf, half of the features per split."""
    ensemble = need("sklearn.ensemble", _EXTRA, "the recommender")
    model = ensemble.ExtraTreesRegressor(200, min_samples_leaf=2, max_features=0.5, random_state=seed, n_jobs=1)
    columns = training.y.shape[1]
    model.fit(training.x, training.y if columns > 1 else training.y[:, 0])
    return lambda x: np.asarray(model.predict(x), float).reshape(len(x), columns)


class LatencyGP:
    """Linear part, squared exponential with one length scale each for model, hardware and load features, and random effects per
    LLM and per curve that a new LLM does not share.

    Args:
        thetas: hyperparameters per metric; None: by marginal likelihood.
    """

    def __init__(self, training: Training, thetas: Sequence[Floats] | None = None) -> None:
        scale = training.x.std(0)
        self._centre, self._scale = training.x.mean(0), np.where(scale > 1e-9, scale, 1.0)
        self._shift, self._spread = training.y.mean(0), training.y.std(0) + 1e-9
        x = (training.x - self._centre) / self._scale
        y = (training.y - self._shift) / self._spread
        kernel = _Kernel(x, training)
        self.thetas = [kernel.fit(y[:, k]) for k in range(y.shape[1])] if thetas is None else list(thetas)
        self._predict = [kernel.predictor(y[:, k], theta) for k, theta in enumerate(self.thetas)]

    def __call__(self, x: Floats) -> Floats:
        z = (x - self._centre) / self._scale
        out: Floats = np.column_stack([f(z) for f in self._predict]) * self._spread + self._shift
        return out


def gaussian_process(training: Training, seed: int, like: Mean | None = None) -> Mean:
    """A Gaussian process. ``like``: one fitted on a superset, whose hyperparameters are taken over."""
    return LatencyGP(training, like.thetas if isinstance(like, LatencyGP) else None)


_GROUPS = (_MODEL_FEATURES, _OTHER_FEATURES, _LOAD_FEATURES)
_GP_START = np.log([0.3, 0.5, 2.0, 2.0, 2.0, 0.1, 0.1, 0.05])
"""Variances of the linear part and the squared exponential, three length scales (per root of the group's size), variances of LLM,
curve and noise; also the centre of a weak prior (standard deviation 1.5 in the logarithm)."""


_JITTER = 1e-4


def inverse_of(lower: Floats) -> Floats:
    """The inverse of a symmetric matrix from its lower Cholesky factor (LAPACK ``potri``: a third of the work of solving)."""
    from scipy.linalg.lapack import dpotri

    out, info = dpotri(lower, lower=1)
    if info:
        raise np.linalg.LinAlgError(f"potri ended with {info}")
    full: Floats = np.tril(out)
    full += np.tril(out, -1).T
    return full


def _distances(a: Floats, b: Floats) -> list[Floats]:
    """Squared, one matrix per group of features."""
    out = []
    for group in _GROUPS:
        u, v = a[:, group], b[:, group]
        squared = (u**2).sum(1)[:, None] + (v**2).sum(1) - 2 * u @ v.T
        out.append(np.maximum(squared, 0.0) / len(group))
    return out


class _Kernel:
    def __init__(self, x: Floats, training: Training) -> None:
        self.x, self.d = x, x.shape[1]
        self.linear = x @ x.T / self.d + 1.0
        self.squared = _distances(x, x)
        self.same_llm = (training.llm[:, None] == training.llm).astype(float)
        self.same_curve = (training.curve[:, None] == training.curve).astype(float)
        self.eye = np.eye(len(x))

    def matrix(self, theta: Floats) -> tuple[Floats, Floats]:
        """The covariance of the training points, and its radial part."""
        v = np.exp(theta)
        radial = _radial(self.squared, v)
        k = v[0] * self.linear + radial + v[5] * self.same_llm + v[6] * self.same_curve + (v[7] + _JITTER) * self.eye
        return k, radial

    def fit(self, y: Floats) -> Floats:
        """Hyperparameters by penalised marginal likelihood."""
        from scipy.linalg import cho_factor, cho_solve
        from scipy.optimize import minimize

        def loss(theta: Floats) -> tuple[float, Floats]:
            k, radial = self.matrix(theta)
            factor = cho_factor(k, lower=True, overwrite_a=True, check_finite=False)
            alpha = cho_solve(factor, y, check_finite=False)
            value = 0.5 * float(y @ alpha) + float(np.log(np.diag(factor[0])).sum())
            w = inverse_of(factor[0])
            w -= np.outer(alpha, alpha)
            v = np.exp(theta)
            shaped = w * radial
            gradient = 0.5 * np.array(
                [
                    v[0] * np.vdot(w, self.linear),
                    shaped.sum(),
                    *(np.vdot(shaped, s) / length**2 for s, length in zip(self.squared, v[2:5], strict=True)),
                    v[5] * np.vdot(w, self.same_llm),
                    v[6] * np.vdot(w, self.same_curve),
                    v[7] * np.trace(w),
                ]
            )
            pull = (theta - _GP_START) / 1.5**2
            return value + 0.5 * float(pull @ (theta - _GP_START)), gradient + pull

        bounds = [(s - 5, s + 5) for s in _GP_START]
        options = {"maxiter": 60, "ftol": 1e-6}
        best = minimize(loss, _GP_START, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        theta: Floats = best.x
        return theta

    def predictor(self, y: Floats, theta: Floats) -> Callable[[Floats], Floats]:
        """For points of a new LLM, (n, features) → (n,)."""
        from scipy.linalg import cho_factor, cho_solve

        alpha = cho_solve(cho_factor(self.matrix(theta)[0], lower=True), y)
        v, x, d = np.exp(theta), self.x, self.d  # not the matrices: they are large

        def predict(z: Floats) -> Floats:
            out: Floats = (v[0] * (z @ x.T / d + 1.0) + _radial(_distances(z, x), v)) @ alpha
            return out

        return predict


def _radial(squared: Sequence[Floats], v: Floats) -> Floats:
    out = np.zeros_like(squared[0])
    for s, length in zip(squared, v[2:5], strict=True):
        out += s * (-0.5 / length**2)
    np.exp(out, out=out)
    out *= v[1]
    return out


MEANS: dict[str, Callable[[Training, int, Mean | None], Mean]] = {
    "boosted": boosted,
    "extra-trees": extra_trees,
    "gp": gaussian_process,
}


def components(name: str) -> list[str]:
    """``"boosted+gp"`` is the average of both, in logarithms.

    Raises:
        UnknownNameError: one of them is unknown.
    """
    parts = name.split("+")
    for part in parts:
        if part not in MEANS:
            raise UnknownNameError("surrogate", part, MEANS, "Several are averaged: boosted+extra-trees.")
    return parts


def fit_component(name: str, training: Training, seed: int = 0, like: Mean | None = None) -> Mean:
    """Fit one point model. ``like``: the same one fitted on a superset of the data; a Gaussian process takes over its
    hyperparameters, trees have no use for it."""
    return MEANS[name](training, seed, like)


def one_thread() -> AbstractContextManager[object]:
    """Numerical libraries in one thread: the work comes in pieces too small to share."""
    limits: AbstractContextManager[object] = need("threadpoolctl", _EXTRA, "the recommender").threadpool_limits(1)
    return limits


def isotonic(values: Floats) -> Floats:
    """The mean of the running maximum and the reverse running minimum along the last axis: monotone, without the upward bias of
    either alone."""
    up = np.maximum.accumulate(values, axis=-1)
    down = np.minimum.accumulate(values[..., ::-1], axis=-1)[..., ::-1]
    out: Floats = (up + down) / 2
    return out


def training_set(
    x: Floats, y: Floats, llms: Sequence[object], curves: Sequence[object], monotone: Sequence[bool]
) -> Training:
    """Arrays for `fit_mean`, names turned into numbers."""
    number = {name: i for i, name in enumerate(dict.fromkeys(llms))}
    lines = {name: i for i, name in enumerate(dict.fromkeys(curves))}
    return Training(x, y, np.array([number[n] for n in llms]), np.array([lines[c] for c in curves]), tuple(monotone))
