"""Optimizers side by side on the workloads of a table.

The unit of work is a cell: one optimizer on one workload, all budgets and seeds. Cells run here, in processes, or on a Dask
cluster; their results do not depend on where. With a checkpoint file, finished cells are not computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import multiprocessing
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from cloudbandit.core.errors import BudgetError, TableError, UnknownNameError, UsageError, need
from cloudbandit.core.goal import SLO
from cloudbandit.core.protocols import Problem
from cloudbandit.core.trial import Observation
from cloudbandit.optimizers.registry import all_names, history_of, make_factory
from cloudbandit.replay.statistics import bootstrap_ci95, mean_ranks, paired_ci95
from cloudbandit.replay.task import PRODUCTION_RUNS, Task, replay
from cloudbandit.tables.recorded import Failures
from cloudbandit.tables.registry import load_table
from cloudbandit.tables.table import Table

NEAR_PERCENT = 5.0
"""Within this of the optimum counts as found; the published table's repeats differ by that much."""


@dataclass(frozen=True, slots=True)
class CompareRow:
    """One optimizer at one budget, over all tasks and seeds.

    Attributes:
        mean_regret_percent: of the least value among a run's trials, a failed one's charge included (the protocol of published
            comparisons; where a charge undercuts the best success it can be slightly negative).
        mean_answer_regret_percent: of the returned, successful incumbent.
        ci95: of the mean regret, bootstrap over tasks; over seeds where there is only one task, and then it speaks of that
        task alone.
        n: runs (tasks × seeds).
        right_arm_percent: share of runs whose answer lies in the optimum's arm.
        near_percent: share of runs that came within 5 % of the optimum.
        median_evaluations_to_near, median_usd_to_near: trials and USD until then; None where the median run did not.
        mean_rank: over tasks, 1 is best, among the optimizers of this comparison at this budget.
        difference_percent, difference_ci95: mean regret minus the baseline's, paired by task (by seed where there is one task).
        learns_from: ``others`` or ``itself`` where the method was told of recorded workloads beforehand; such rows are upper
            limits or controls, not competitors.
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
    right_arm_percent: float
    near_percent: float
    median_evaluations_to_near: float | None
    median_usd_to_near: float | None
    mean_rank: float
    difference_percent: float
    difference_ci95: tuple[float, float]
    learns_from: str

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ci95": list(self.ci95), "difference_ci95": list(self.difference_ci95)}


@dataclass(frozen=True, slots=True)
class _Run:
    """One study read off at one budget."""

    budget: int
    regret: float
    answer_regret: float
    savings: float
    right_arm: bool
    evaluations_to_near: float
    usd_to_near: float


@dataclass(frozen=True, slots=True)
class _Cell:
    table: str
    workload: str
    minimize: str
    slos: tuple[SLO, ...]
    failures: Failures
    optimizer: str
    budgets: tuple[int, ...]
    seeds: int
    production_runs: int


@dataclass(frozen=True, slots=True)
class _Outcome:
    runs: tuple[_Run, ...]
    suggest_s: float

    def to_json(self, key: str) -> str:
        return json.dumps({"key": key, "suggest_s": self.suggest_s, "runs": [asdict(run) for run in self.runs]})

    @classmethod
    def from_json(cls, line: str) -> tuple[str, _Outcome]:
        data = json.loads(line)
        return data["key"], cls(tuple(_Run(**run) for run in data["runs"]), data["suggest_s"])


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
    scheduler: str | None = None,
    checkpoint: Path | None = None,
    baseline: str | None = None,
    production_runs: int = PRODUCTION_RUNS,
    on_cell: Callable[[int, int], None] | None = None,
) -> list[CompareRow]:
    """Run every optimizer on every workload with seeds 0 … seeds−1.

    Under strict failures, workloads that never succeed are dropped. Results do not depend on ``jobs`` or ``scheduler``.

    Args:
        table: a registered name or a folder.
        optimizers: names; ``all`` stands for every built-in method.
        scheduler: a Dask scheduler's address; its workers need this package, the table, and the same working folder.
        checkpoint: finished cells are appended to this file, and found there.
        baseline: the optimizer that differences are taken to; the first by default.
        production_runs: N of the savings.
        on_cell: told (cells done, cells in all).

    Raises:
        UnknownNameError, UsageError, TableError: before anything is run.
    """
    optimizers = list(dict.fromkeys(o for name in optimizers for o in (all_names() if name == "all" else [name])))
    if seeds < 1 or jobs < 1 or production_runs < 1 or not optimizers or not budgets or min(budgets) < 1:
        raise UsageError(
            f"compare needs seeds, jobs and production runs ≥ 1, an optimizer and budgets ≥ 1; got seeds={seeds}, jobs={jobs}, "
            f"production_runs={production_runs}, optimizers={optimizers}, budgets={list(budgets)}"
        )
    baseline = baseline or optimizers[0]
    if baseline not in optimizers:
        raise UnknownNameError("baseline", baseline, optimizers)
    loaded = load_table(table)
    tasks = [Task(loaded, w, minimize, slos, failures) for w in workloads or loaded.workloads]
    tasks = [task for task in tasks if failures == "recorded" or task.succeeds]
    if not tasks:
        raise TableError(f"no workload of {table!r} ever succeeds under strict failures; nothing to compare")
    for task in tasks:
        _ = task.best_value  # impossible goals and bad optima are errors before hours of work
    levels = tuple(sorted(set(budgets)))
    _check_methods(tasks, optimizers, levels)
    cells = [
        _Cell(table, task.workload, minimize, slos, failures, name, levels, seeds, production_runs)
        for name in optimizers
        for task in tasks
    ]
    outcomes = _run_all(cells, loaded, jobs, scheduler, checkpoint, on_cell)
    return _rows(optimizers, levels, outcomes, len(tasks), optimizers.index(baseline))


def _check_methods(tasks: Sequence[Task], optimizers: Sequence[str], budgets: Sequence[int]) -> None:
    """Building each kind of study once raises what a whole sweep would raise late."""
    for name in optimizers:
        for task in (tasks[0], max(tasks, key=lambda t: len(t.objective.domain.names))):
            history = task.history(history_of(name))
            problem = Problem(task.objective.domain, task.goal, facts=task.objective.facts, history=history)
            try:
                make_factory(name, min(budgets))(problem)
            except BudgetError as error:
                raise BudgetError(f"{name} on workload {task.workload!r}: {error}") from error


# ── running cells ──


def _run_all(
    cells: Sequence[_Cell],
    table: Table,
    jobs: int,
    scheduler: str | None,
    checkpoint: Path | None,
    on_cell: Callable[[int, int], None] | None,
) -> list[_Outcome]:
    keys = _keys(cells, table) if checkpoint is not None else [""] * len(cells)
    known = _read_checkpoint(checkpoint)
    done = {i: known[key] for i, key in enumerate(keys) if key in known}
    todo = [i for i in range(len(cells)) if i not in done]
    with _append(checkpoint) as keep:
        if on_cell is not None and done:
            on_cell(len(done), len(cells))
        with contextlib.closing(_map(cells, todo, table, jobs, scheduler)) as finished:
            for i, outcome in finished:
                done[i] = outcome
                keep(outcome.to_json(keys[i]))
                if on_cell is not None:
                    on_cell(len(done), len(cells))
    return [done[i] for i in range(len(cells))]


def _map(
    cells: Sequence[_Cell], todo: Sequence[int], table: Table, jobs: int, scheduler: str | None
) -> Generator[tuple[int, _Outcome], None, None]:
    """(cell number, outcome), in any order."""
    if scheduler is not None:
        distributed = need("distributed", "dask", "compare on a Dask cluster")
        with distributed.Client(scheduler, set_as_default=False) as client:
            futures = {client.submit(_run_cell, cells[i], pure=False): i for i in todo}
            for future in distributed.as_completed(futures, loop=client.loop):
                yield futures[future], future.result()
                future.release()
        return
    if jobs == 1:
        for i in todo:
            yield i, _run_cell(cells[i], table)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as executor:
        waiting = {executor.submit(_run_cell, cells[i]): i for i in todo}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _run_cell(cell: _Cell, table: Table | None = None) -> _Outcome:
    table = table or load_table(cell.table)  # which keeps what it loaded
    task = Task(table, cell.workload, cell.minimize, cell.slos, cell.failures)
    runs: list[_Run] = []
    asks: list[float] = []
    for seed in range(cell.seeds):
        anytime = True
        for budget in reversed(cell.budgets):
            if budget != cell.budgets[-1] and anytime:
                continue  # read off the longest run below
            declared: list[bool] = []
            report = replay(
                task,
                cell.optimizer,
                budget,
                seed,
                on_study=lambda s, declared=declared: declared.append(getattr(s.optimizer, "anytime", True)),  # type: ignore[misc]
            )
            anytime = declared[0]
            asks.extend(report.ask_seconds)
            for level in cell.budgets if anytime else (budget,):
                runs.append(_read_off(task, report.observations, level, cell.production_runs))
    return _Outcome(tuple(runs), median(asks) if asks else 0.0)


def _read_off(task: Task, observations: Sequence[Observation], budget: int, production_runs: int) -> _Run:
    tried = [o for o in observations if o.score is not None][:budget]
    answer = min(
        (o for o in tried if o.score is not None and o.score.feasible),
        key=lambda o: (o.score, o.trial.number),
        default=None,
    )
    near = task.best_value * (1 + NEAR_PERCENT / 100)
    usd, evaluations_to_near, usd_to_near = 0.0, math.inf, math.inf
    for n, o in enumerate(tried, start=1):
        usd += o.result.spent_usd
        if o.score is not None and o.score.feasible and task.values[o.candidate] <= near:
            evaluations_to_near, usd_to_near = n, usd
            break
    return _Run(
        budget,
        task.regret_percent(task.least_value(tried)),
        task.regret_percent(task.answer_value(tried)),
        task.savings_percent(tried, production_runs),
        answer is not None and answer.candidate.arm[0] == task.optimum.arm[0],
        evaluations_to_near,
        usd_to_near,
    )


# ── the checkpoint: one line per finished cell ──


def _keys(cells: Sequence[_Cell], table: Table) -> list[str]:
    """The same for the same work: the table's content, and the content of an optimizer from a file, included."""
    content = hashlib.sha256(table.manifest.file.read_bytes()).hexdigest()
    code = {name: _code(name) for name in {cell.optimizer for cell in cells}}
    shared = (repr(table.manifest), content)
    texts = [repr((asdict(cell), *shared, code[cell.optimizer])) for cell in cells]
    return [hashlib.sha256(text.encode()).hexdigest()[:24] for text in texts]


def _code(optimizer: str) -> str:
    if ".py:" not in optimizer:
        return ""
    path = Path(optimizer.split(".py:")[0].rpartition("cloudbandit:")[2] + ".py")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_checkpoint(path: Path | None) -> dict[str, _Outcome]:
    if path is None or not path.exists():
        return {}
    out = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            key, outcome = _Outcome.from_json(line)
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                continue  # cut short by a crash: that cell is computed again
            raise UsageError(f"{path} line {number} is no finished cell; cure: name another checkpoint file") from error
        out[key] = outcome
    return out


@contextlib.contextmanager
def _append(path: Path | None) -> Iterator[Callable[[str], None]]:
    if path is None:
        yield lambda line: None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.read_bytes().endswith(b"\n"):  # a line cut short by a crash
        kept = path.read_bytes()
        path.write_bytes(kept[: kept.rfind(b"\n") + 1])
    with path.open("a", encoding="utf-8") as file:

        def keep(line: str) -> None:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())

        yield keep


# ── summing up ──


def _rows(
    optimizers: Sequence[str], budgets: Sequence[int], outcomes: Sequence[_Outcome], tasks: int, baseline: int
) -> list[CompareRow]:
    grouped = [outcomes[i : i + tasks] for i in range(0, len(outcomes), tasks)]
    rows: list[CompareRow] = []
    for budget in budgets:
        runs = [[[r for r in outcome.runs if r.budget == budget] for outcome in some] for some in grouped]
        means = np.array([[fmean(r.regret for r in task) for task in some] for some in runs])  # (optimizers, tasks)
        ranks = mean_ranks(means)
        # one task cannot be resampled: its mean would come out as known exactly
        sampled = means if means.shape[1] > 1 else np.array([[r.regret for r in some[0]] for some in runs])
        for i, name in enumerate(optimizers):
            every = [r for task in runs[i] for r in task]
            rows.append(
                CompareRow(
                    name,
                    budget,
                    fmean(r.regret for r in every),
                    median(r.regret for r in every),
                    fmean(r.answer_regret for r in every),
                    bootstrap_ci95(sampled[i]),
                    fmean(r.savings for r in every),
                    1e3 * median(outcome.suggest_s for outcome in grouped[i]),
                    len(every),
                    100 * fmean(r.right_arm for r in every),
                    100 * fmean(math.isfinite(r.evaluations_to_near) for r in every),
                    _finite(median(r.evaluations_to_near for r in every)),
                    _finite(median(r.usd_to_near for r in every)),
                    float(ranks[i]),
                    float(means[i].mean() - means[baseline].mean()),
                    paired_ci95(sampled[i], sampled[baseline]),
                    history_of(name),
                )
            )
    return sorted(rows, key=lambda row: (list(optimizers).index(row.optimizer), row.budget))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
