"""How much of a known front a search has found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cloudbandit.core.front import hypervolume, nondominated

Array = np.ndarray[Any, np.dtype[np.float64]]

_BEYOND = 0.01
"""The reference lies beyond the worst values by this share of their range."""


class TrueFront:
    """The front of everything that was recorded, and the hypervolume of a part of it as a share of the whole
    (Zitzler & Thiele, PPSN 1998).

    An objective whose values are all positive counts by its logarithm, so that a unit changes nothing and 10 → 5 USD weighs as
    much as 100 → 50. The reference is the worst feasible value per objective, moved away by 1 % of the range: a point that is the
    worst in one objective and the best in another would count for nothing otherwise.

    Args:
        values: ``(n, m)``, finite, n ≥ 1: what is feasible, in the metrics' own signs.
        signs: ``(m,)``, 1 where an objective is minimised, −1 where it is maximised.
    """

    def __init__(self, values: npt.ArrayLike, signs: Sequence[float]) -> None:
        own = np.asarray(values, float)
        self._signs = np.asarray(signs, float)
        self._log = (own > 0).all(0)
        points = self._scaled(own)
        self.mask = nondominated(points)
        """Which of the values are on the front, equal ones all included, shape ``(n,)``."""
        span = np.ptp(points, axis=0)
        self._reference = points.max(0) + np.where(span > 0, _BEYOND * span, 1.0)
        self._whole = hypervolume(points[self.mask], self._reference)

    def share(self, values: npt.ArrayLike) -> float:
        """The hypervolume of some of the values (``(k, m)``, in their own signs) as a share of all, in [0, 1]."""
        some = np.asarray(values, float).reshape(-1, len(self._signs))
        return min(1.0, hypervolume(self._scaled(some), self._reference) / self._whole)

    def _scaled(self, own: Array) -> Array:
        """Smaller is better, on the scale that counts."""
        logs = np.log(own, out=own.copy(), where=np.broadcast_to(self._log, own.shape))
        return np.asarray(self._signs * logs)
