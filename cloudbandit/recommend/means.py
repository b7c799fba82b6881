"""Point models of log metrics: gradient-boosted trees, extremely randomised trees, a Gaussian process.

Each is fitted on the physics features of load tests and predicts for a model and profile it may never have seen. None knows of
an SLO, so none is trained again when the SLO changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloudbandit.errors import UnknownNameError, need
from cloudbandit.recommend.physics import FEATURES, GROWING

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


def boosted(training: Training, seed: int) -> Mean:
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


def extra_trees(training: Training, seed: int) -> Mean:
    """Extremely randomised trees, 200 of them, at least two points per leaf, half of the features per split."""
    ensemble = need("sklearn.ensemble", _EXTRA, "the recommender")
    model = ensemble.ExtraTreesRegressor(200, min_samples_leaf=2, max_features=0.5, random_state=seed, n_jobs=1)
    columns = training.y.shape[1]
    model.fit(training.x, training.y if columns > 1 else training.y[:, 0])
    return lambda x: np.asarray(model.predict(x), float).reshape(len(x), columns)


def gaussian_process(training: Training, seed: int) -> Mean:
    """A Gaussian process: linear part, squared exponential with one length scale each for model, hardware and load features,
    and random effects per LLM and per curve that a new LLM does not share. Hyperparameters by marginal likelihood."""
    centre, scale = training.x.mean(0), training.x.std(0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    x = (training.x - centre) / scale
    shift, spread = training.y.mean(0), training.y.std(0) + 1e-9
    fitted = [_fit_gp(x, (training.y[:, k] - shift[k]) / spread[k], training) for k in range(training.y.shape[1])]

    def predict(new: Floats) -> Floats:
        z = (new - centre) / scale
        return np.column_stack([shift[k] + spread[k] * f(z) for k, f in enumerate(fitted)])

    return predict


_GROUPS = (_MODEL_FEATURES, _OTHER_FEATURES, _LOAD_FEATURES)
_GP_START = np.log([0.3, 0.5, 2.0, 2.0, 2.0, 0.1, 0.1, 0.05])
"""Variances of the linear part and the squared exponential, three length scales (per root of the group's size), variances of LLM,
curve and noise; also the centre of a weak prior (standard deviation 1.5 in the logarithm)."""


def _distances(a: Floats, b: Floats) -> list[Floats]:
    out = []
    for group in _GROUPS:
        difference = a[:, None, group] - b[None, :, group]
        out.append((difference**2).sum(-1) / len(group))
    return out


def _fit_gp(x: Floats, y: Floats, training: Training) -> Callable[[Floats], Floats]:
    from scipy.linalg import cho_factor, cho_solve
    from scipy.optimize import minimize

    n, d = x.shape
    linear = x @ x.T / d + 1.0
    squared = _distances(x, x)
    same_llm = (training.llm[:, None] == training.llm).astype(float)
    same_curve = (training.curve[:, None] == training.curve).astype(float)
    eye = np.eye(n)

    def parts(theta: Floats) -> tuple[Floats, list[Floats]]:
        v = np.exp(theta)
        radial = v[1] * np.exp(-0.5 * sum(s / length**2 for s, length in zip(squared, v[2:5], strict=True)))
        terms = [v[0] * linear, radial, *(radial * s / length**2 for s, length in zip(squared, v[2:5], strict=True))]
        terms += [v[5] * same_llm, v[6] * same_curve, (v[7] + 1e-4) * eye]
        return terms[0] + terms[1] + terms[5] + terms[6] + terms[7], terms

    def loss(theta: Floats) -> tuple[float, Floats]:
        k, terms = parts(theta)
        factor = cho_factor(k, lower=True)
        inverse = cho_solve(factor, eye)
        alpha = inverse @ y
        value = 0.5 * float(y @ alpha) + float(np.log(np.diag(factor[0])).sum())
        w = inverse - np.outer(alpha, alpha)
        gradient = np.array([0.5 * float((w * t).sum()) for t in terms])
        pull = (theta - _GP_START) / 1.5**2
        return value + 0.5 * float(pull @ (theta - _GP_START)), gradient + pull

    best = minimize(
        loss,
        _GP_START,
        jac=True,
        method="L-BFGS-B",
        bounds=[(s - 5, s + 5) for s in _GP_START],
        options={"maxiter": 60},
    )
    k, _ = parts(best.x)
    alpha = cho_solve(cho_factor(k, lower=True), y)
    v = np.exp(best.x)

    def predict(z: Floats) -> Floats:
        exponent = sum(s / length**2 for s, length in zip(_distances(z, x), v[2:5], strict=True))
        out: Floats = (v[0] * (z @ x.T / d + 1.0) + v[1] * np.exp(-0.5 * exponent)) @ alpha
        return out

    return predict


MEANS: dict[str, Callable[[Training, int], Mean]] = {
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


def fit_mean(name: str, training: Training, seed: int = 0) -> Mean:
    """Fit one point model, or the average of several."""
    fitted = [MEANS[part](training, seed) for part in components(name)]
    return lambda x: np.mean([f(x) for f in fitted], axis=0)


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
