"""A cell of a comparison: one optimizer on one workload, all budgets and seeds."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from cloudbandit.core.goal import SLO, best
from cloudbandit.core.profit import Profit
from cloudbandit.core.trial import Observation
from cloudbandit.replay.methods import Method
from cloudbandit.replay.task import Task, study_of
from cloudbandit.tables.recorded import Failures
from cloudbandit.tables.table import Table

NEAR_PERCENT = 5.0
"""Within this of the optimum counts as found; the published table's repeats differ by that much."""


@dataclass(frozen=True, slots=True)
class Run:
    """One study of one objective, read off at one budget."""

    budget: int
    regret: float
    answer_regret: float
    savings: float | None
    right_arm: bool
    evaluations_to_near: float
    usd_to_near: float
    evaluations: int = 0


@dataclass(frozen=True, slots=True)
class FrontRun:
    """One study of several objectives, read off at one budget."""

    budget: int
    hypervolume_share: float
    front_points: int
    true_front_points: int


@dataclass(frozen=True, slots=True)
class Cell:
    """What to run; everything a result depends on, but for the table's content."""

    table: str
    workload: str
    minimize: tuple[str, ...]
    maximize: tuple[str, ...]
    slos: tuple[SLO, ...]
    failures: Failures
    method: Method
    budgets: tuple[int, ...]
    seeds: int
    facts: str | tuple[str, ...]
    production_runs: int
    stop: Profit | None = None

    def run(self, table: Table) -> Outcome:
        """Every seed; where suggestions do not depend on the budget, the smaller ones are read off the longest run."""
        return _run(self, table)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a cell."""

    runs: tuple[Run | FrontRun, ...]
    suggest_s: float


@functools.lru_cache(maxsize=4)
def task_of(
    table: Table,
    workload: str,
    minimize: tuple[str, ...],
    maximize: tuple[str, ...],
    slos: tuple[SLO, ...],
    failures: Failures,
) -> Task:
    """Kept for a while: what it works out about a large table takes longer than a study."""
    return Task(table, workload, minimize, slos, failures, maximize)


def _run(cell: Cell, table: Table) -> Outcome:
    task = task_of(table, cell.workload, cell.minimize, cell.maximize, cell.slos, cell.failures)
    runs: list[Run | FrontRun] = []
    asks: list[float] = []
    for seed in range(cell.seeds):
        anytime = True
        for budget in reversed(cell.budgets):
            if budget != cell.budgets[-1] and anytime:
                continue  # read off the longest run below
            study = study_of(task, cell.method, budget, seed, cell.facts, stop=cell.stop)
            report = study.run()
            anytime = getattr(study.optimizer, "anytime", True)
            asks.extend(report.ask_seconds)
            for level in cell.budgets if anytime else (budget,):
                runs.append(read_off(task, report.observations, level, cell.production_runs))
    return Outcome(tuple(runs), median(asks) if asks else 0.0)


def read_off(task: Task, observations: Sequence[Observation], budget: int, production_runs: int) -> Run | FrontRun:
    """What a study's first informative trials were worth."""
    tried = [o for o in observations if o.score is not None][:budget]
    if task.several:
        return FrontRun(budget, task.hypervolume_share(tried), task.front_points(tried), len(task.front))
    answer = best(tried)
    usd, evaluations_to_near, usd_to_near = 0.0, math.inf, math.inf
    for n, o in enumerate(tried, start=1):
        usd += o.result.spent_usd
        if o.score is not None and o.score.feasible and task.regret_percent(task.values[o.candidate]) <= NEAR_PERCENT:
            evaluations_to_near, usd_to_near = n, usd
            break
    return Run(
        budget,
        task.regret_percent(task.best_tried_value(tried)),
        task.regret_percent(task.answer_value(tried)),
        task.savings_percent(tried, production_runs),
        answer is not None and answer.candidate.arm[0] == task.optimum.arm[0],
        evaluations_to_near,
        usd_to_near,
        len(tried),
    )
