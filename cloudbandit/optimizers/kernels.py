"""Covariances as hypotheses: how alike two candidates may be, said in several ways that evidence chooses among.

* Flat: one Matérn-5/2 over all columns, with length scales per group, as in ``gp-ard``.
* Hierarchical: a sum of what arms share (a main effect per group that several arms have, and all of these together) and what is
  particular to an arm (the arm itself, its own parameters, and all parameters within the arm), with drawn weights.

All have variance 1. The draws are always the same.
Sources: Duvenaud et al., "Additive Gaussian Processes", NIPS 2011 (sums over groups; second-hand); Rasmussen & Williams 2006,
section 5.1 and eq. 4.17.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cloudbandit.optimizers.columns import Columns, Points
from cloudbandit.optimizers.gaussian_process import LENGTH_SCALES, relevance_scales

Array = np.ndarray[Any, np.dtype[np.float64]]
Positions = np.ndarray[Any, np.dtype[np.intp]]

_HIERARCHICAL = 32
_OF_GROUP = (0.5, 2.0)  # length scales of a main effect
_WITHIN = (0.7, 1.5, 3.0)  # of all columns together
_SHAPES = (1.0, 0.35, 0.7, 0.5)  # of the gamma draws: arm, each main effect, within an arm, shared by arms
_ITS_OWN = (0.001, 0.3)  # the range of the share of what no other candidate tells
_LEAST_SHARE = 0.02
_SAME = 1e-6


class Kernels:
    """S covariances over the columns of one domain.

    Args:
        candidates: how many there are; of many fewer flat ones are drawn.
    """

    def __init__(self, columns: Columns, candidates: int) -> None:
        self.groups, self.of_arms = columns.groups, columns.of_arms
        self._groups = [np.flatnonzero(columns.groups == g) for g in range(len(columns.shared))]
        groups = len(self._groups)
        self._scales = relevance_scales(groups, candidates) if groups else np.array(LENGTH_SCALES)[:, None]
        self._inner = np.arange(columns.of_arms, groups)
        self._shared = np.flatnonzero(columns.shared)
        self._weights = self._drawn() if groups > 1 else np.empty((0, 0))
        low, high = np.log(_ITS_OWN)
        own = np.random.default_rng(2).uniform(low, high, len(self))
        self._own = np.exp(own)

    def __len__(self) -> int:
        return len(self._scales) + len(self._weights)

    def _drawn(self) -> Array:
        """Weights of the terms of `_terms`, shape ``(S, T)``."""
        rng = np.random.default_rng(1)
        arm, main, within, shared = _SHAPES
        shapes = [arm, *[main] * (len(_OF_GROUP) * len(self._inner)), *[within] * len(_WITHIN)]
        if 0 < len(self._shared) < len(self._inner):
            shapes += [shared] * len(_WITHIN)
        drawn = rng.gamma(np.array(shapes), size=(_HIERARCHICAL, len(shapes)))
        drawn /= drawn.sum(axis=1, keepdims=True)
        drawn[drawn < _LEAST_SHARE] = 0.0
        return np.asarray(drawn / drawn.sum(axis=1, keepdims=True))

    def between(self, a: Points, b: Points, which: Positions | None = None) -> Array:
        """Covariances, ``(k, len(a), len(b))``, of the k chosen kernels."""
        which = np.arange(len(self)) if which is None else which
        flat = which[which < len(self._scales)]
        deep = which[which >= len(self._scales)] - len(self._scales)
        squared = self._squared(a, b)
        kind = squared.dtype
        out = np.empty((len(which), squared.shape[1]), kind)
        if len(flat):
            out[: len(flat)] = _matern((self._scales[flat] ** -2.0).astype(kind) @ squared)
        if len(deep):
            weights = self._weights[deep].astype(kind)
            used = np.flatnonzero(weights.any(axis=0))
            out[len(flat) :] = weights[:, used] @ self._terms(a, b, squared, used)
        out *= (1.0 - self._own[which]).astype(kind)[:, None]
        out += self._own[which].astype(kind)[:, None] * (squared.sum(axis=0) <= _SAME)
        return out.reshape(len(which), len(a), len(b))

    def _squared(self, a: Points, b: Points) -> Array:
        """Squared distances per group, ``(G, len(a)·len(b))``."""
        kind = b.features.dtype
        out = np.zeros((max(1, len(self._groups)), len(a) * len(b)), kind)
        for g, columns in enumerate(self._groups):
            x, y = a.features[:, columns].astype(kind), b.features[:, columns]
            if len(columns) == 1:
                out[g] = ((x - y.T) ** 2).ravel()
            else:
                products = np.einsum("ij,ij->i", x, x)[:, None] + np.einsum("ij,ij->i", y, y) - 2.0 * (x @ y.T)
                out[g] = np.maximum(products, 0.0).ravel()
        return out

    def _terms(self, a: Points, b: Points, squared: Array, used: Positions) -> Array:
        """The chosen terms of the hierarchical kernels, ``(T, len(a)·len(b))``."""
        same_arm = (a.arms[:, None] == b.arms).ravel()
        out = np.empty((len(used), squared.shape[1]), squared.dtype)
        mains = 1 + len(_OF_GROUP) * len(self._inner)
        for row, term in enumerate(used.tolist()):
            if term == 0:
                out[row] = same_arm
            elif term < mains:
                g = int(self._inner[(term - 1) // len(_OF_GROUP)])
                x, y = a.active[:, g], b.active[:, g]
                both, neither = (x[:, None] & y).ravel(), ~(x[:, None] | y).ravel()
                near = _matern(squared[g] * _OF_GROUP[(term - 1) % len(_OF_GROUP)] ** -2.0)
                out[row] = np.where(both, near, neither & same_arm)
            elif term < mains + len(_WITHIN):
                out[row] = same_arm * _matern(squared[self._inner].sum(axis=0) * _WITHIN[term - mains] ** -2.0)
            else:
                scale = _WITHIN[term - mains - len(_WITHIN)]
                out[row] = _matern(squared[self._shared].sum(axis=0) * scale**-2.0)
        return out


class Chosen:
    """Some of the covariances, numbered anew."""

    def __init__(self, kernels: Kernels, which: Positions) -> None:
        self._kernels, self._which = kernels, which

    def __len__(self) -> int:
        return len(self._which)

    def between(self, a: Points, b: Points, which: Positions | None = None) -> Array:
        """See `Kernels.between`."""
        return self._kernels.between(a, b, self._which if which is None else self._which[which])


def _matern(squared: Array) -> Array:
    """Matérn-5/2 of squared scaled distances, RW eq. 4.17."""
    r = np.sqrt(5.0 * squared)
    return np.asarray((1.0 + r + r * r / 3.0) * np.exp(-r))
