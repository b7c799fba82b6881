"""What an optimizer learns from: everything a goal makes of the trials told, as arrays of one row per trial.

The law: a trial that failed or violates an SLO never looks better than one that served, in whatever order they are told.

* ``feasible`` marks those that served, and the others have ``failed`` or a ``violation`` > 0.
* `Targets.tchebycheff` puts every trial that did not serve behind all that did.
* `Targets.losses` puts a violating trial, and a failed one without a charge, behind all that served. A failed trial's charge,
  where the objective is in USD or seconds, is what it did cost; it stands, but never as better than the median of the trials
  that ran: a config that crashes at once is no cheap one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cloudbandit.core.errors import UsageError
from cloudbandit.core.trial import Observation, Status

Array = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

_RHO = 0.05  # of the augmented Tchebycheff function, as in ParEGO
_MOST_VIOLATION = 1e3


class Limit(Protocol):
    """A limit on a metric: what `cloudbandit.core.goal.SLO` is."""

    @property
    def metric(self) -> str: ...

    @property
    def limit(self) -> float: ...

    @property
    def at_most(self) -> bool: ...


def measured(observation: Observation) -> Mapping[str, float]:
    """The metrics that SLOs are about, by default."""
    return observation.result.metrics


@dataclass(frozen=True)
class Targets:
    """See the module's text. n trials in the order told, m objectives, k SLOs; smaller is better throughout.

    Attributes:
        objectives: ``(n, m)``; NaN where a trial has no value.
        signs: ``(m,)``, −1 for a maximised metric, whose values are negated here.
        stderr: ``(n, m)``, standard errors of the objectives; NaN where unknown.
        slos: ``(n, k)``, the SLOs' metrics; a trial without the metric counts as the worst seen; NaN where none has it.
        limits: ``(k,)``; an SLO is met where its column is at most this.
        slo_signs: ``(k,)``, −1 for "at least", whose metrics and limits are negated here.
        violation: ``(n,)``, the sum of relative excesses over the limits; 0 where all are met.
        failed: ``(n,)``, whether the trial ended otherwise than ``ok``.
        charged: ``(n,)``, whether it failed and its value is a charge, not a measurement.
        reasons: per trial the stable code of a bad end, else ``""``.
        censored: ``(n,)``, whether it was cut short as hopeless: its values are lower bounds.
    """

    objectives: Array
    signs: Array
    stderr: Array
    slos: Array
    limits: Array
    slo_signs: Array
    violation: Array
    failed: Flags
    charged: Flags
    reasons: tuple[str, ...]
    censored: Flags

    @classmethod
    def of(
        cls,
        observations: Sequence[Observation],
        metrics: Sequence[str],
        slos: Sequence[Limit] = (),
        signs: Sequence[float] | None = None,
        measured: Callable[[Observation], Mapping[str, float]] = measured,
    ) -> Targets:
        """From scores, and from what was measured of the SLOs' metrics.

        Args:
            metrics: names of the objectives, as in the scores' values.
            signs: one per metric, −1 where it is maximised; by default all are minimised.
            measured: a trial's metrics that the SLOs limit.

        Raises:
            UsageError: an uninformative observation, or a score with another number of values.
        """
        n, m = len(observations), len(metrics)
        unknown = (np.nan,) * m
        rows = []
        for o in observations:
            score, status = o.score, o.result.status
            if score is None:
                raise UsageError(f"trial {o.trial.number} ended {status}, which teaches an optimizer nothing")
            values = score.values or unknown
            if len(values) != m:
                raise UsageError(f"a score of {len(values)} values for {m} objectives: {', '.join(metrics)}")
            lacking = score.rank > 0 and not all(metric in o.result.metrics for metric in metrics)
            rows.append(
                (*values, score.violation, score.rank, bool(score.values) and lacking, status is Status.STOPPED)
            )
        table = np.array(rows, float).reshape(n, m + 4)  # one array at once: this is done for every suggestion
        stderr = np.full((n, m), np.nan)
        for row, o in enumerate(observations):
            if o.result.stderr:
                stderr[row] = [o.result.stderr.get(metric, np.nan) for metric in metrics]
        slo_signs = np.array([1.0 if slo.at_most else -1.0 for slo in slos])
        return cls(
            table[:, :m],
            np.array([1.0] * m if signs is None else signs),
            stderr,
            _limited([measured(o) for o in observations], slos) * slo_signs if slos else np.empty((n, 0)),
            slo_signs * [slo.limit for slo in slos],
            slo_signs,
            table[:, m],
            table[:, m + 1] > 0,
            table[:, m + 2] > 0,
            tuple([o.result.reason for o in observations]),
            table[:, m + 3] > 0,
        )

    def __len__(self) -> int:
        return len(self.objectives)

    @functools.cached_property
    def feasible(self) -> Flags:
        """Which trials ran and met every SLO, shape ``(n,)``."""
        return np.asarray(~self.failed & (self.violation == 0))

    def served(self) -> Array:
        """The objectives of the feasible trials, each on its log scale where it has one, shape ``(feasible, m)``."""
        columns = zip(self.objectives[self.feasible].T, self.signs.tolist(), strict=True)
        return np.array([log_scale(values, sign)[0] for values, sign in columns]).T

    @functools.cached_property
    def losses(self) -> Array:
        """One number per trial for a method that knows one objective, shape ``(n,)``.

        A feasible trial has its value. One that violates SLOs has the largest value of those that ran times (1 + violation). A
        failed one has its charge, or the median of those that ran if that is worse; without a charge, the worst of all (0 where
        nothing is known). One cut short has its bound, or the worst of those that ran. The order of telling has no part in it.

        Raises:
            UsageError: there are several objectives; see `scalar`.
        """
        if self.objectives.shape[1] != 1:
            raise UsageError(
                f"{self.objectives.shape[1]} objectives have no one loss; cure: Targets.scalar(rng) draws a weight for each"
            )
        out = self.objectives[:, 0].copy()
        unknown = np.isnan(out)
        ran = ~self.failed & ~unknown
        if ran.any():
            largest = out[ran].max()
            violating = ran & (self.violation > 0)
            out[violating] = largest + abs(largest) * np.minimum(self.violation[violating], _MOST_VIOLATION)
            out[self.charged] = np.maximum(out[self.charged], np.median(out[ran]))
            cut = self.censored & ~unknown
            out[cut] = np.maximum(out[cut], out[ran].max())
        out[unknown] = out[~unknown].max(initial=-np.inf) if not unknown.all() else 0.0
        return out

    def scalar(self, rng: np.random.Generator) -> Array:
        """One number per trial for a method that knows one, shape ``(n,)``: `losses` where there is one objective; of several,
        `tchebycheff` with weights drawn uniformly from the simplex, so that suggestion by suggestion the whole front is searched.
        """
        m = self.objectives.shape[1]
        return self.losses if m == 1 else self.tchebycheff(rng.dirichlet(np.ones(m)))

    def tchebycheff(self, weights: Array) -> Array:
        """The augmented Tchebycheff function of the objectives, shape ``(n,)``: max wⱼfⱼ + 0.05·Σ wⱼfⱼ, each objective scaled to
        [0, 1] among the trials that served, on the log scale where it is positive. Trials that violate SLOs follow, by their
        violation, then those that failed. (Knowles, "ParEGO", IEEE TEC 10(1), 2006; second-hand.)

        Args:
            weights: ``(m,)``, ≥ 0.
        """
        served, values = self.feasible, self.served()
        out = np.zeros(len(self))
        if len(values):
            low, high = values.min(axis=0), values.max(axis=0)
            weighted = weights * (values - low) / np.where(high > low, high - low, 1.0)
            out[served] = weighted.max(axis=1) + _RHO * weighted.sum(axis=1)
        worst = out.max(initial=0.0)
        ran = ~self.failed & ~served
        out[ran] = worst + 0.1 * np.minimum(self.violation[ran], 1.0)
        out[self.failed] = worst + 0.1
        return out


def _limited(measured: Sequence[Mapping[str, float]], slos: Sequence[Limit]) -> Array:
    """The SLOs' metrics, ``(n, k)``, in their own sign."""
    values = [[metrics.get(slo.metric, np.nan) for slo in slos] for metrics in measured]
    columns = np.array(values, float).reshape(len(measured), len(slos))
    for slo, column in zip(slos, columns.T, strict=True):
        unknown = np.isnan(column)
        if unknown.any() and not unknown.all():
            column[unknown] = column[~unknown].max() if slo.at_most else column[~unknown].min()
    return columns


def log_scale(values: Array, sign: float = 1.0) -> tuple[Array, bool]:
    """The values on the scale on which they are modelled, and whether that is a log scale: log f for a positive metric, −log f
    for one that is maximised (``sign`` −1: ``values`` are −f); raw values for any that is not positive everywhere."""
    if sign > 0:
        positive = bool(np.fmin.reduce(values, initial=np.inf) > 0)
        return (np.log(values), True) if positive else (values, False)
    positive = bool(np.fmax.reduce(values, initial=-np.inf) < 0)
    return (-np.log(-values), True) if positive else (values, False)
