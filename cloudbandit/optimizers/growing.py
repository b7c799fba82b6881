"""A process over a list of observations that grows: of many, only the covariances that explain the first of them best go on.

All covariances of a thousand observations would take half a gigabyte, and by then evidence has long chosen. What is chosen
follows from the first observations alone, so that a resumed search chooses alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cloudbandit.optimizers.columns import Points
from cloudbandit.optimizers.hypotheses import Fit, HypothesesGP
from cloudbandit.optimizers.kernels import Chosen, Kernels

Weigh = Callable[[HypothesesGP, int], Fit]
"""Fits a process to the first n values."""

_MANY = 150
_FEW = 8


class Growing:
    """The process, and what it holds.

    Args:
        kernels: all covariances.
    """

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self._all = _Held(HypothesesGP(kernels))
        self._few = _Held(HypothesesGP(Chosen(kernels, np.empty(0, np.intp))))
        self._which: tuple[int, ...] = ()

    def bring(
        self, rows: Sequence[int], noise: Sequence[float], points: Sequence[Points], weigh: Weigh
    ) -> HypothesesGP:
        """The process of these observations.

        Args:
            rows: positions of what is observed, in order.
            noise, points: of every position.
        """
        self._all.update(list(rows[:_MANY]), noise, points, lambda: HypothesesGP(self._kernels))
        if len(rows) <= _MANY:
            return self._all.process
        which = self._heaviest(weigh(self._all.process, _MANY))
        if which != self._which:
            self._which, self._few = which, _Held(self._of_few(which))
        self._few.update(list(rows), noise, points, lambda: self._of_few(which))
        return self._few.process

    def _of_few(self, which: tuple[int, ...]) -> HypothesesGP:
        return HypothesesGP(Chosen(self._kernels, np.array(which, np.intp)), 2 * _MANY)

    @staticmethod
    def _heaviest(fit: Fit) -> tuple[int, ...]:
        weight = np.bincount(fit.kernel, fit.weight)
        order = np.argsort(-weight, kind="stable")[:_FEW]
        return tuple(sorted(int(k) for k in order if weight[k] > 0))


class _Held:
    """A process and the positions that it has observed."""

    def __init__(self, process: HypothesesGP) -> None:
        self.process, self._rows = process, list[int]()

    def update(
        self, rows: list[int], noise: Sequence[float], points: Sequence[Points], anew: Callable[[], HypothesesGP]
    ) -> None:
        """Noise is relative to all that is known, so that it may have to begin anew."""
        held = self._rows
        if held != rows[: len(held)] or self.process.noise != [noise[i] for i in held]:
            self.process, held = anew(), []
        for i in rows[len(held) :]:
            self.process.add(points[i], noise[i])
        self._rows = rows


def fitted(values: Any, weight: Any, offsets: Any, level: float | None = None) -> Weigh:
    """The first n of these values; see `HypothesesGP.fit`."""
    return lambda process, n: process.fit(values[:n], weight, offsets[:, :n], 1, level)
