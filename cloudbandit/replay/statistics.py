"""The few statistics a comparison needs. Tasks (workloads), not runs, are what is resampled: runs of one task are alike.
Where there is one task, its seeds are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_RESAMPLES = 2_000


def _draws(tasks: int, seed: int) -> Array:
    return np.asarray(np.random.default_rng(seed).integers(tasks, size=(_RESAMPLES, tasks)))


def bootstrap_ci95(task_means: Array, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap of the mean over tasks; ``task_means`` has shape ``(tasks,)``."""
    low, high = np.percentile(task_means[_draws(len(task_means), seed)].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def paired_ci95(a: Array, b: Array, seed: int = 0) -> tuple[float, float]:
    """Bootstrap of mean(a) − mean(b) over the same tasks, shapes ``(tasks,)``."""
    return bootstrap_ci95(a - b, seed)


def mean_ranks(task_means: Array) -> Array:
    """Mean rank of each method over tasks, 1 is best, ties share; ``(methods, tasks)`` → ``(methods,)``."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(np.round(task_means, 9), axis=0).mean(axis=1))


def critical_difference(methods: int, tasks: int, alpha: float = 0.05) -> float:
    """Nemenyi's: mean ranks that differ by less are not told apart (Demšar, JMLR 2006, section 3.2.2); 0 for one method."""
    if methods < 2:
        return 0.0
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - alpha, methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6.0 * tasks))
