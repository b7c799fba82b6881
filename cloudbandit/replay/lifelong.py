"""A table's workloads in one order after another, each search told only what earlier searches of the same method paid for.

The first search of an order is a cold start. Nothing is known of a workload but what its own search and those before it tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import fmean, median

import numpy as np

from cloudbandit.core.errors import UsageError
from cloudbandit.core.goal import SLO
from cloudbandit.core.known import History
from cloudbandit.core.profit import Profit
from cloudbandit.replay.cells import FrontRun, Outcome, Run, read_off, task_of
from cloudbandit.replay.methods import Method
from cloudbandit.replay.rows import CompareRow, Row, summed_up
from cloudbandit.replay.task import study_of
from cloudbandit.tables.recorded import Failures
from cloudbandit.tables.table import Table


@dataclass(frozen=True, slots=True)
class Life:
    """One method through all workloads in one order, at one budget per workload; everything its result depends on, but for the
    table's content. It is what a checkpoint keeps."""

    table: str
    workloads: tuple[str, ...]
    minimize: tuple[str, ...]
    maximize: tuple[str, ...]
    slos: tuple[SLO, ...]
    failures: Failures
    method: Method
    budget: int
    seed: int
    facts: str | tuple[str, ...]
    production_runs: int
    stop: Profit | None = None

    @property
    def workload(self) -> str:
        """Where it begins."""
        return self.workloads[0]

    def run(self, table: Table) -> Outcome:
        """A run per workload, in order."""
        told: dict[str, History] = {}
        runs: list[Run | FrontRun] = []
        asks: list[float] = []
        for workload in self.workloads:
            task = task_of(table, workload, self.minimize, self.maximize, self.slos, self.failures)
            study = study_of(task, self.method, self.budget, self.seed, self.facts, history=dict(told), stop=self.stop)
            report = study.run()
            asks.extend(report.ask_seconds)
            runs.append(read_off(task, report.observations, self.budget, self.production_runs))
            tried = [o for o in report.observations if o.score is not None]
            told[workload] = History(tried, task.objective.facts, task.objective.units)
        return Outcome(tuple(runs), median(asks) if asks else 0.0)


def order_of(workloads: Sequence[str], seed: int) -> tuple[str, ...]:
    """The order of a seed: the same for every method and budget, whatever order the workloads are given in."""
    sorted_ = sorted(workloads)
    return tuple(sorted_[i] for i in np.random.default_rng((seed, 7)).permutation(len(sorted_)))


def check_methods(methods: Sequence[Method]) -> None:
    """Raises:
    UsageError: one must be told of recorded workloads beforehand, which nobody searched.
    """
    wrong = [m.label for m in methods if m.history]
    if wrong:
        raise UsageError(
            f"{', '.join(wrong)} must be told whole recorded workloads, and a lifelong comparison tells only what earlier "
            "searches paid for; cure: leave it out"
        )


@dataclass(frozen=True, slots=True)
class LifelongRow(CompareRow):
    """A row of a comparison where searches learn from one another; seeds are orders, so ``n`` counts workloads × orders.

    Attributes:
        cold_regret_percent: mean regret of the first search of each order, which was told nothing.
        last_third_regret_percent: of the last third of the searches of each order.
        regret_by_position_percent: by how many searches came before, from 0.
    """

    cold_regret_percent: float
    last_third_regret_percent: float
    regret_by_position_percent: tuple[float, ...]

    @classmethod
    def of(cls, row: CompareRow, outcomes: Sequence[Outcome]) -> LifelongRow:
        """From a method's lives at one budget."""
        regrets = np.array([[r.regret for r in o.runs if isinstance(r, Run)] for o in outcomes])  # (orders, positions)
        means = tuple(fmean(column) for column in regrets.T.tolist())
        known = {f.name: getattr(row, f.name) for f in fields(row)}
        return cls(
            **known,
            cold_regret_percent=means[0],
            last_third_regret_percent=fmean(means[-max(1, len(means) // 3) :]),
            regret_by_position_percent=means,
        )


def rows_of(
    methods: Sequence[Method], budgets: Sequence[int], lives: Sequence[Life], outcomes: Sequence[Outcome], baseline: int
) -> list[Row]:
    """Rows by method, then by budget, of lives in any order; with several objectives plain ones.

    Args:
        baseline: the position of the method that differences are taken to.
    """
    workloads = sorted(lives[0].workloads)
    merged = []
    for method in methods:
        mine = [(life, o) for life, o in zip(lives, outcomes, strict=True) if life.method == method]
        asked_s = median(o.suggest_s for _, o in mine)
        of = {w: tuple(o.runs[life.workloads.index(w)] for life, o in mine) for w in workloads}
        merged += [Outcome(of[w], asked_s) for w in workloads]
    rows: list[Row] = []
    for row in summed_up(methods, budgets, merged, len(workloads), baseline):
        same = [
            o
            for life, o in zip(lives, outcomes, strict=True)
            if (life.method.label, life.budget) == (row.optimizer, row.budget)
        ]
        rows.append(LifelongRow.of(row, same) if isinstance(row, CompareRow) else row)
    return rows
