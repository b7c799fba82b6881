"""Which candidate promises most: acquisition functions on posteriors that are mixtures over length scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cloudbandit.core.front import free_boxes
from cloudbandit.optimizers.gaussian_process import Posterior

Array = np.ndarray[Any, np.dtype[np.float64]]

_CELLS = 1_000_000  # boxes × candidates at once


def expected_improvement(p: Posterior, incumbent: float) -> Array:
    """EI of a minimisation, integrated over length scales, shape ``(N,)`` (Jones et al. 1998, eq. 15)."""
    from scipy.special import ndtr

    z = (incumbent - p.mean) / p.sd
    density = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    return np.asarray(p.weight @ (p.sd * (z * ndtr(z) + density)))


def lower_confidence_bound(p: Posterior, kappa: float) -> Array:
    """κ·sd − mean, averaged over length scales, shape ``(N,)``; larger is better (Srinivas et al. 2010)."""
    return np.asarray(p.weight @ (kappa * p.sd - p.mean))


def probability_below(p: Posterior, limit: float) -> Array:
    """P(target ≤ limit), shape ``(N,)``."""
    from scipy.special import ndtr

    return np.asarray(p.weight @ ndtr((limit - p.mean) / p.sd))


def hypervolume_improvement(gains: Sequence[Callable[[float], Array]], front: Array, reference: Array) -> Array:
    """By how much each candidate widens what a front dominates, shape ``(N,)``.

    The part of space that the front leaves free is cut into boxes; what a point gains of one is, per objective, its gain over the
    box's upper end less that over its lower end. With ``gains`` E[max(c − Y, 0)] of independent objectives this is the expected
    hypervolume improvement, exactly, for any number of objectives, and each objective's mixture over length scales is integrated
    by itself (Emmerich, Deutz & Klinkenberg, CEC 2011; box by box: Zhao, Arróyave & Qian, arXiv:1812.07692, 2018, and Yang et
    al., J. Global Optim. 75, 2019; second-hand).

    Args:
        gains: per objective, what every candidate gains over a level c: shape ``(N,)``.
        front: ``(k, m)``, k ≥ 0; points behind the reference count for nothing.
        reference: ``(m,)``.
    """
    lower, upper = free_boxes(front, reference)
    tables = []  # per objective: gains over its levels (levels, N), and each box's lower and upper level
    for gain, ends in zip(gains, np.stack([lower, upper]).transpose(2, 0, 1), strict=True):
        levels, position = np.unique(ends, return_inverse=True)
        finite = np.array([gain(level) for level in levels[np.isfinite(levels)]])
        nothing = np.zeros((len(levels) - len(finite), finite.shape[1]))  # is gained over −∞
        tables.append((np.vstack([nothing, finite]), *position.reshape(ends.shape)))
    total = np.zeros(finite.shape[1])
    step = max(1, _CELLS // len(total))
    for some in (slice(start, start + step) for start in range(0, len(lower), step)):
        parts = [np.maximum(gained[high[some]] - gained[low[some]], 0.0) for gained, low, high in tables]
        total += np.prod(parts, axis=0).sum(axis=0)
    return total
