"""What a comparison says: one row per optimizer and budget, summed up over workloads and seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

import numpy as np

from cloudbandit.replay.cells import FrontRun, Outcome
from cloudbandit.replay.methods import Method
from cloudbandit.replay.statistics import bootstrap_ci95, mean_ranks, paired_ci95


@dataclass(frozen=True, slots=True)
class CompareRow:
    """One optimizer at one budget, over all tasks and seeds.

    Attributes:
        mean_regret_percent: of the best value among a run's trials, a failed one's charge included (the protocol of published
            comparisons; where a charge beats the best success it can be slightly negative).
        mean_answer_regret_percent: of the returned, successful incumbent.
        ci95: of the mean regret, bootstrap over tasks; over seeds where there is only one task, and then it speaks of that
            task alone.
        mean_savings_percent, savings_ci95: and its interval; None where nothing is saved, because the metric is maximised.
        n: runs (tasks × seeds).
        right_arm_percent: share of runs whose answer lies in the optimum's arm.
        near_percent: share of runs that came within 5 % of the optimum.
        median_evaluations_to_near, median_usd_to_near: trials and USD until then; None where the median run did not.
        mean_rank: over tasks, 1 is best, among the optimizers of this comparison at this budget.
        difference_percent, difference_ci95: mean regret minus the baseline's, paired by task (by seed where there is one task).
        mean_evaluations: informative trials; fewer than the budget where a rule stopped the study, or nothing was left to try.
        learns_from: ``others`` or ``itself`` where the method was told of recorded workloads beforehand; such rows are upper
            limits or controls, not competitors.
    """

    optimizer: str
    budget: int
    mean_regret_percent: float
    median_regret_percent: float
    mean_answer_regret_percent: float
    ci95: tuple[float, float]
    mean_savings_percent: float | None
    savings_ci95: tuple[float, float] | None
    suggest_ms_median: float
    n: int
    right_arm_percent: float
    near_percent: float
    median_evaluations_to_near: float | None
    median_usd_to_near: float | None
    mean_rank: float
    difference_percent: float
    difference_ci95: tuple[float, float]
    mean_evaluations: float
    learns_from: str

    def to_dict(self) -> dict[str, Any]:
        intervals = {k: list(v) for k, v in asdict(self).items() if isinstance(v, tuple)}
        return {**asdict(self), **intervals}


@dataclass(frozen=True, slots=True)
class FrontRow:
    """One optimizer at one budget where there are several objectives; what is not listed is as in `CompareRow`.

    Attributes:
        mean_hypervolume_share: of the true front's, in [0, 1]; see `cloudbandit.replay.front.TrueFront`.
        ci95, difference, difference_ci95: of that mean, and of it minus the baseline's.
        mean_front_points: so many points of the true front were among the trials.
        mean_true_front_points: so many it has.
    """

    optimizer: str
    budget: int
    mean_hypervolume_share: float
    median_hypervolume_share: float
    ci95: tuple[float, float]
    mean_front_points: float
    mean_true_front_points: float
    suggest_ms_median: float
    n: int
    mean_rank: float
    difference: float
    difference_ci95: tuple[float, float]
    learns_from: str

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ci95": list(self.ci95), "difference_ci95": list(self.difference_ci95)}


Row = CompareRow | FrontRow


def summed_up(
    methods: Sequence[Method], budgets: Sequence[int], outcomes: Sequence[Outcome], tasks: int, baseline: int
) -> list[Row]:
    """Rows by method, then by budget.

    Args:
        outcomes: by method, then by task: ``len(methods) × tasks``.
        baseline: the position of the method that differences are taken to.
    """
    grouped = [outcomes[i : i + tasks] for i in range(0, len(outcomes), tasks)]
    levels = [_at(methods, grouped, budget, baseline) for budget in budgets]
    return [level[i] for i in range(len(methods)) for level in levels]


def _at(methods: Sequence[Method], grouped: Sequence[Sequence[Outcome]], budget: int, baseline: int) -> list[Row]:
    """One row per method at one budget."""
    runs = [[[r for r in outcome.runs if r.budget == budget] for outcome in some] for some in grouped]
    several = isinstance(runs[0][0][0], FrontRun)
    figure: Callable[[Any], float] = (lambda r: r.hypervolume_share) if several else (lambda r: r.regret)
    means = np.array([[fmean(map(figure, task)) for task in some] for some in runs])  # (optimizers, tasks)
    ranks = mean_ranks(-means if several else means)
    # one task cannot be resampled: its mean would come out as known exactly
    sampled = means if means.shape[1] > 1 else np.array([list(map(figure, some[0])) for some in runs])
    rows: list[Row] = []
    for i, method in enumerate(methods):
        every: list[Any] = [r for task in runs[i] for r in task]
        mean, middle = fmean(map(figure, every)), median(map(figure, every))
        difference = float(means[i].mean() - means[baseline].mean())
        shared: dict[str, Any] = {
            "optimizer": method.label,
            "budget": budget,
            "ci95": bootstrap_ci95(sampled[i]),
            "suggest_ms_median": 1e3 * median(outcome.suggest_s for outcome in grouped[i]),
            "n": len(every),
            "mean_rank": float(ranks[i]),
            "difference_ci95": paired_ci95(sampled[i], sampled[baseline]),
            "learns_from": method.history,
        }
        if several:
            row: Row = FrontRow(
                mean_hypervolume_share=mean,
                median_hypervolume_share=middle,
                mean_front_points=fmean(r.front_points for r in every),
                mean_true_front_points=fmean(r.true_front_points for r in every),
                difference=difference,
                **shared,
            )
        else:
            row = CompareRow(
                mean_regret_percent=mean,
                median_regret_percent=middle,
                mean_answer_regret_percent=fmean(r.answer_regret for r in every),
                mean_savings_percent=_mean([r.savings for r in every]),
                savings_ci95=_savings_ci95(runs[i]),
                right_arm_percent=100 * fmean(r.right_arm for r in every),
                near_percent=100 * fmean(math.isfinite(r.evaluations_to_near) for r in every),
                median_evaluations_to_near=_finite(median(r.evaluations_to_near for r in every)),
                median_usd_to_near=_finite(median(r.usd_to_near for r in every)),
                difference_percent=difference,
                mean_evaluations=fmean(r.evaluations for r in every),
                **shared,
            )
        rows.append(row)
    return rows


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return fmean(known) if len(known) == len(values) else None


def _savings_ci95(runs: Sequence[Sequence[Any]]) -> tuple[float, float] | None:
    """Of one optimizer: ``runs`` by task. As for the regret, one task's seeds are what is resampled."""
    if any(r.savings is None for task in runs for r in task):
        return None
    per_task = [fmean(r.savings for r in task) for task in runs]
    return bootstrap_ci95(np.array(per_task if len(per_task) > 1 else [r.savings for r in runs[0]]))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
