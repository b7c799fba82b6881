"""The one-liners for research code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudbandit.core.budget import Budget
from cloudbandit.core.errors import UsageError
from cloudbandit.core.goal import SLO, Goal, SLOGoal
from cloudbandit.core.known import ALL
from cloudbandit.core.pools import Serial, Threads
from cloudbandit.core.protocols import Factory
from cloudbandit.core.report import Report
from cloudbandit.core.space import Domain
from cloudbandit.core.store import Store
from cloudbandit.core.study import Study
from cloudbandit.objectives.function import Function, FunctionObjective
from cloudbandit.optimizers import DEFAULT, INNER
from cloudbandit.optimizers.registry import make_factory
from cloudbandit.replay.compare import compare_rows
from cloudbandit.replay.methods import Optimizers
from cloudbandit.replay.task import PRODUCTION_RUNS, Aim, turned
from cloudbandit.tables.recorded import Failures
from cloudbandit.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd


def minimize(
    function: Function,
    domain: Any,
    budget: int | Budget = 33,
    *,
    optimizer: str | Factory = DEFAULT,
    goal: Goal | Aim | None = None,
    seed: int = 0,
    workers: int = 1,
    store: Store | str | None = None,
    name: str = "study",
) -> Report:
    """Minimise a function over arms and their configs.

    Args:
        function: takes a candidate (``c.arm``, ``c["nodes"]``), returns a number, a mapping of metrics, or a
            `Result`.
        domain: a `Domain`, a mapping of arm → space, or a single space (which becomes the arm ``all``).
        budget: an int means evaluations.
        optimizer: a name (``cloudbandit:gp-ard``, ``gp``, ``random``, …), ``path.py:Class``, or a factory.
        goal: a `Goal`, or the metric to minimise where the function returns several, or some of them: then the report's ``front``
            is the answer.
        seed: determines every choice; the same seed and results, the same study.
        workers: evaluations at a time, in threads.
        store: a path or URL keeps every evaluation and makes the study resumable.
        name: of the study within its store: another name is another study; the same name goes on where it stopped.

    Returns:
        what was found and what it cost; ``report.incumbent`` is the best feasible evaluation, None where there is none.

    Raises:
        UsageError: workers < 1, or an argument that makes no sense; before anything is evaluated.
        UnknownNameError: nobody knows the optimizer.
        CloudBanditError: the store holds another study under this name, or another process runs it.
        Exception: what ``function`` raises is a bug, and comes out once everything in flight has been recorded.

    Examples:
        >>> report = minimize(lambda c: (c["x"] - 3) ** 2, {"a": [{"x": x} for x in range(9)]}, budget=9, optimizer="gp")
        >>> report.incumbent.candidate["x"]
        3
    """
    if workers < 1:
        raise UsageError(f"workers must be ≥ 1, got {workers}")
    if not isinstance(domain, Domain):
        domain = Domain(domain if isinstance(domain, Mapping) and not _is_space(domain) else {"all": domain})
    budget = Budget.of(budget)
    if goal is None or isinstance(goal, str | Sequence):
        goal = SLOGoal("value" if goal is None else (goal,) if isinstance(goal, str) else tuple(goal))
    label = optimizer if isinstance(optimizer, str) else getattr(optimizer, "__name__", "custom")
    factory = make_factory(optimizer, budget.trials) if isinstance(optimizer, str) else optimizer
    pool = Threads(workers) if workers > 1 else Serial()
    kept = Store(store) if isinstance(store, str) else store
    try:
        objective = FunctionObjective(function)
        identity = {"optimizer": label, **turned(goal)}
        study = Study(
            domain, objective, goal, factory, budget, pool=pool, store=kept, name=name, seed=seed, identity=identity
        )
        return study.run()
    finally:
        pool.close()
        if kept is not None and kept is not store:
            kept.close()


def compare(
    table: Table | str | Path,
    minimize: Aim = (),
    *,
    maximize: Aim = (),
    optimizers: Optimizers = ("random", INNER, DEFAULT),
    budgets: int | Sequence[int] = (11, 22, 33),
    seeds: int = 10,
    slos: Sequence[SLO | str] = (),
    workloads: Sequence[str] | None = None,
    failures: Failures = "strict",
    facts: str | Sequence[str] = ALL,
    jobs: int = 1,
    scheduler: str | None = None,
    checkpoint: Path | str | None = None,
    baseline: str | None = None,
    production_runs: int = PRODUCTION_RUNS,
    on_cell: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Optimizers side by side on the workloads of a recorded table, every trial looked up.

    Under strict failures, workloads that never succeed are dropped. Results do not depend on ``jobs`` or ``scheduler``.

    Args:
        table: a `Table` (`Table.from_frame` makes one of a DataFrame), a registered name, or a folder.
        minimize, maximize: a metric of the table, or several over both.
        optimizers: names, classes and factories, labelled by their ``__name__``, or a mapping label → any of these; the name
            ``all`` stands for every built-in method, but for those that cannot search a front where there are several objectives.
        budgets: trials.
        seeds: runs per workload and budget, with seeds 0 … seeds−1.
        slos: all must hold; strings such as ``"ttft_ms<=500"`` are parsed.
        workloads: all of the table's by default.
        failures: see `cloudbandit.tables.recorded.Recorded`.
        facts: which of the table's facts the optimizers are told: ``"all"``, ``"none"``, or names.
        jobs: processes. What is sent to them must be importable there: defined in a module, not in a notebook.
        scheduler: a Dask scheduler's address; its workers need this package, the table, and the same working folder.
        checkpoint: finished cells (one optimizer on one workload) are appended to this file, and found there; for optimizers
            given by name or ``path.py:Class``.
        baseline: the label of the optimizer that differences are taken to; the first by default.
        production_runs: N of the savings.
        on_cell: told (cells done, cells in all), e.g. for a progress bar.

    Returns:
        one row per optimizer and budget: the attributes of `cloudbandit.replay.rows.CompareRow`, or of `FrontRow` where there are
        several objectives. ``attrs["left_out"]``: optimizer → why, of what ``all`` stands for.

    Raises:
        UnknownNameError, UsageError, TableError: before anything is run.

    Examples:
        >>> import pandas as pd
        >>> runs = pd.DataFrame({"cloud": list("aab"), "nodes": [2, 4, 2], "cost_usd": [3.0, 5.0, 4.0]})
        >>> table = Table.from_frame(runs, arm="cloud", metrics="cost_usd")
        >>> found = compare(table, minimize="cost_usd", optimizers=["random-wor", "exhaustive"], budgets=[1, 3], seeds=2)
        >>> float(found.set_index(["optimizer", "budget"]).mean_regret_percent["exhaustive", 3])
        0.0
    """
    import pandas as pd

    left_out: dict[str, str] = {}
    rows = compare_rows(
        table,
        minimize,
        optimizers,
        budgets,
        seeds,
        maximize=maximize,
        slos=slos,
        workloads=workloads,
        failures=failures,
        facts=facts,
        jobs=jobs,
        scheduler=scheduler,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        baseline=baseline,
        production_runs=production_runs,
        on_cell=on_cell,
        on_left_out=left_out.__setitem__,
    )
    frame = pd.DataFrame([row.to_dict() for row in rows])
    frame.attrs["left_out"] = left_out
    return frame


def _is_space(domain: object) -> bool:
    """A ConfigSpace is a mapping too, of names to hyperparameters."""
    return type(domain).__name__ == "ConfigurationSpace"
