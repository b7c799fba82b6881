"""Which candidate promises most: acquisition functions on posteriors that are mixtures over length scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cloudbandit.core.front import free_boxes
from cloudbandit.optimizers.gaussian_process import Posterior

Array = np.ndarray[Any, np.dtype[np.float64]]


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
    hypervolume improvement, exactly, for any number of objectives (Emmerich, Deutz & Klinkenberg, CEC 2011; the boxes: Yang et
    al., J. Global Optim. 75, 2019), and each objective's mixture over length scales is integrated by itself.

    Args:
        gains: per objective, what every candidate gains over a level c: shape ``(N,)``.
        front: ``(k, m)``, k ≥ 0; points behind the reference count for nothing.
        reference: ``(m,)``.
    """
    lower, upper = free_boxes(front, reference)
    volume: Array = np.ones(1)
    for gain, low, high in zip(gains, lower.T, upper.T, strict=True):
        levels, position = np.unique(np.concatenate([low, high]), return_inverse=True)
        gained = np.array([gain(c) if np.isfinite(c) else np.zeros_like(gain(float(high[0]))) for c in levels])
        volume = volume * np.maximum(gained[position[len(low) :]] - gained[position[: len(low)]], 0.0)
    return np.asarray(volume.sum(axis=0))
