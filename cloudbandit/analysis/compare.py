"""Optimizers side by side on the workloads of a table."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

import numpy as np

from cloudbandit.errors import TableError, UsageError
from cloudbandit.goal import SLO
from cloudbandit.objectives.recorded import Failures
from cloudbandit.optimizers.registry import history_of, make_factory
from cloudbandit.replay import Task, replay
from cloudbandit.tables.registry import load_table
from cloudbandit.tables.table import Table
from cloudbandit.trial import Observation

_RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class CompareRow:
    """One optimizer at one budget, over all tasks and seeds.

    ``mean_regret_percent`` uses the least value among a run's trials, a failed one's charge included (the protocol of
    published comparisons; where a charge undercuts the best success it can be slightly negative);
    ``mean_answer_regret_percent`` uses the returned, successful incumbent. ``ci95``: of the mean regret, bootstrap over
    tasks. ``n``: runs (tasks × seeds).
    """

    optimizer: str
    budget: int
    mean_regret_percent: float
    median_regret_percent: float
    mean_answer_regret_percent: float
    ci95: tuple[float, float]
    mean_savings_percent: float
    suggest_ms_median: float
    n: int

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ci95": list(self.ci95)}


@dataclass(frozen=True, slots=True)
class _Run:
    """One study read off at one budget."""

    budget: int
    regret: float
    answer_regret: float
    savings: float


@dataclass(frozen=True, slots=True)
class _Cell:
    """One optimizer on one workload: the unit of work, and of parallelism."""

    table: str
    workload: str
    minimize: str
    slos: tuple[SLO, ...]
    failures: Failures
    optimizer: str
    budgets: tuple[int, ...]
    seeds: int


def compare(
    table: str,
    minimize: str,
    optimizers: Sequence[str],
    budgets: Sequence[int],
    seeds: int,
    *,
    slos: tuple[SLO, ...] = (),
    workloads: Sequence[str] | None = None,
    failures: Failures = "strict",
    jobs: int = 1,
    on_cell: Callable[[int, int], None] | None = None,
) -> list[CompareRow]:
    """Run every optimizer on every workload with seeds 0 … seeds−1.

    Under strict failures, workloads that never succeed are dropped. Results do not depend on ``jobs``.

    Args:
        table: a registered name or a folder.
        on_cell: told (cells done, cells in all).

    Raises:
        UnknownNameError, UsageError, TableError: before anything is run.
    """
    if seeds < 1 or jobs < 1 or not optimizers or not budgets or min(budgets) < 1:
        raise UsageError(
            f"compare needs seeds ≥ 1, jobs ≥ 1, an optimizer and budgets ≥ 1; got seeds={seeds}, jobs={jobs}, "
            f"optimizers={list(optimizers)}, budgets={list(budgets)}"
        )
    loaded = load_table(table)
    tasks = [Task(loaded, w, minimize, slos, failures) for w in workloads or loaded.workloads]
    tasks = [task for task in tasks if failures == "recorded" or task.succeeds]
    if not tasks:
        raise TableError(f"no workload of {table!r} ever succeeds under strict failures; nothing to compare")
    for task in tasks:
        _ = task.best_value  # impossible goals and bad optima are errors before hours of work
    levels = tuple(sorted(set(budgets)))
    cells = [
        _Cell(table, task.workload, minimize, slos, failures, name, levels, seeds)
        for name in optimizers
        for task in tasks
    ]
    _check_budgets(tasks, optimizers, levels)
    done: list[tuple[list[_Run], list[float]]] = []
    for position, outcome in enumerate(_map(cells, jobs, loaded), start=1):
        done.append(outcome)
        if on_cell is not None:
            on_cell(position, len(cells))
    by_optimizer = [done[i : i + len(tasks)] for i in range(0, len(done), len(tasks))]
    return [
        _row(name, budget, some, seeds)
        for name, some in zip(optimizers, by_optimizer, strict=True)
        for budget in levels
    ]


def _check_budgets(tasks: Sequence[Task], optimizers: Sequence[str], budgets: Sequence[int]) -> None:
    """Building the smallest study of each kind raises what a whole sweep would raise late."""
    from cloudbandit.protocols import Problem

    first = tasks[0]
    for name in optimizers:
        history = first.history(history_of(name))
        make_factory(name, min(budgets))(
            Problem(first.objective.domain, first.goal, facts=first.objective.facts, history=history)
        )


def _map(cells: Sequence[_Cell], jobs: int, table: Table) -> Iterator[tuple[list[_Run], list[float]]]:
    if jobs == 1:
        for cell in cells:
            yield _run_cell(cell, table)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as executor:
        try:
            yield from executor.map(_run_cell, cells)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


_loaded: dict[str, Table] = {}


def _run_cell(cell: _Cell, table: Table | None = None) -> tuple[list[_Run], list[float]]:
    if table is None:
        table = _loaded.get(cell.table) or _loaded.setdefault(cell.table, load_table(cell.table))
    task = Task(table, cell.workload, cell.minimize, cell.slos, cell.failures)
    runs: list[_Run] = []
    asks: list[float] = []
    for seed in range(cell.seeds):
        anytime = True
        for budget in reversed(cell.budgets):
            if budget != cell.budgets[-1] and anytime:
                continue  # read off the longest run below
            flags: list[bool] = []
            report = replay(
                task,
                cell.optimizer,
                budget,
                seed,
                on_study=lambda s, flags=flags: flags.append(getattr(s.optimizer, "anytime", True)),  # type: ignore[misc]
            )
            anytime = flags[0]
            asks.extend(report.ask_seconds)
            for level in cell.budgets if anytime else (budget,):
                runs.append(_read_off(task, report.observations, level))
    return runs, asks


def _read_off(task: Task, observations: Sequence[Observation], budget: int) -> _Run:
    tried = [o for o in observations if o.score is not None][:budget]
    return _Run(
        budget,
        task.regret_percent(task.least_value(tried)),
        task.regret_percent(task.answer_value(tried)),
        task.savings_percent(tried),
    )


def _row(name: str, budget: int, cells: Sequence[tuple[list[_Run], list[float]]], seeds: int) -> CompareRow:
    by_task = [[run for run in runs if run.budget == budget] for runs, _ in cells]
    every = [run for runs in by_task for run in runs]
    task_means = np.array([fmean(run.regret for run in runs) for runs in by_task])
    asks = [seconds for _, some in cells for seconds in some]
    return CompareRow(
        name,
        budget,
        fmean(run.regret for run in every),
        median(run.regret for run in every),
        fmean(run.answer_regret for run in every),
        bootstrap_ci95(task_means),
        fmean(run.savings for run in every),
        1e3 * median(asks) if asks else 0.0,
        len(every),
    )


def bootstrap_ci95(task_means: np.ndarray[Any, Any], seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap of the mean over tasks, shape ``(tasks,)``."""
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(task_means), size=(_RESAMPLES, len(task_means)))
    low, high = np.percentile(task_means[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
