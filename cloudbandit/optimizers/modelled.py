"""Targets as a Gaussian process takes them: on the scale that is modelled, without gaps, and with their noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloudbandit.core.targets import Targets, log_scale
from cloudbandit.core.trial import Candidate

_AT_LIMIT = 0.25
"""So large a share of trials exactly at an SLO's limit, as where no request may fail, and whether it is met is modelled: a
bell curve around the limit would say of the best of configs that its chances are even."""

Array = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Modelled:
    """n trials; smaller is better.

    Attributes:
        objectives: one column ``(n,)`` per objective: log f where it is positive, −log f where a maximised one is, else raw. A
            trial that failed has its charge, or the median of those that ran if that is worse; without a charge, the median of
            the others. One that was cut short has its bound, or the median of those that were not if that is worse. None of
            them attracts.
        logged: whether every objective is on a log scale.
        slos: per SLO whose metric is known, its column ``(n,)`` and limit.
        logs: per objective, whether it is on a log scale.
        slo_columns: per entry of ``slos``, its column in `Targets.slos` (beyond all of them where 0 and 1 stand for met and not
            met: what nothing claims to know), and whether it is on a log scale.
        failed: 1 for each trial that failed without a value, else 0, ``(n,)``; None where all are the same.
        feasible: ``(n,)``.
        noise: ``(n,)``, variance of each trial's error as a share of the objective's variance (the mean over several objectives):
            from its standard error; where there is none, of the repeats of configs, pooled; where there are none, 0.
    """

    objectives: list[Array]
    logged: bool
    slos: list[tuple[Array, float]]
    failed: Array | None
    feasible: Flags
    noise: list[float]
    logs: list[bool]
    slo_columns: list[tuple[int, bool]]

    @classmethod
    def of(cls, targets: Targets, candidates: Sequence[Candidate], log: bool = True) -> Modelled:
        """``log``: whether to take logarithms. At least one trial must have values."""
        unvalued = np.isnan(targets.objectives[:, 0])  # a trial has all values or none
        any_unvalued, any_censored = bool(unvalued.any()), bool(targets.censored.any())
        any_charged, ran = bool(targets.charged.any()), ~(targets.failed | unvalued)
        served = ~(unvalued | targets.censored)
        noisy = len({c.key for c in candidates}) < len(candidates) or not np.isnan(targets.stderr).all()
        objectives, logs, noise = [], [], np.zeros(len(targets))
        for raw, sign, stderr in zip(targets.objectives.T, targets.signs.tolist(), targets.stderr.T, strict=True):
            y = np.where(unvalued, np.median(raw[~unvalued]), raw) if any_unvalued else raw
            if any_charged and ran.any():
                y = np.where(targets.charged, np.maximum(y, np.median(raw[ran])), y)
            y, is_log = log_scale(y, sign) if log else (y, False)
            if any_censored and served.any():
                y = np.where(targets.censored, np.maximum(y, np.median(y[served])), y)
            if noisy:
                errors = stderr / np.abs(raw) if is_log else stderr
                noise += _variances(y, errors, candidates, served) / (y.var() or 1.0)
            objectives.append(y)
            logs.append(is_log)
        slos, columns = [], []
        for k, (column, limit, sign) in enumerate(
            zip(targets.slos.T, targets.limits.tolist(), targets.slo_signs.tolist(), strict=True)
        ):
            if np.isnan(column).all():
                continue
            if (column == limit).mean() >= _AT_LIMIT and (column > limit).any():
                slos.append(((column > limit).astype(float), 0.5))
                columns.append((len(targets.limits), False))
            else:
                known, is_log = log_scale(column, sign) if sign * limit > 0 else (column, False)
                slos.append((known, sign * math.log(sign * limit) if is_log else limit))
                columns.append((k, is_log))
        failed = unvalued.astype(float) if any_unvalued and not unvalued.all() else None
        shares = (noise / len(objectives)).tolist()
        return cls(objectives, all(logs), slos, failed, targets.feasible, shares, logs, columns)


def _variances(y: Array, stderr: Array, candidates: Sequence[Candidate], served: Flags) -> Array:
    """Each trial's error variance, shape ``(n,)``."""
    groups: dict[str, list[int]] = {}
    for i in np.flatnonzero(served).tolist():
        groups.setdefault(candidates[i].key, []).append(i)
    repeated = [y[group] for group in groups.values() if len(group) > 1]
    freedom = sum(len(values) - 1 for values in repeated)
    pooled = sum(float(((values - values.mean()) ** 2).sum()) for values in repeated) / freedom if freedom else 0.0
    return np.where(np.isnan(stderr), pooled, stderr**2)
