"""The one-liners for research code."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudbandit.core.budget import Budget
from cloudbandit.core.errors import UsageError
from cloudbandit.core.goal import SLO, Goal, SLOGoal, own_sign, turned
from cloudbandit.core.known import ALL, Estimate, Facts, History, doubts_of_facts, no_facts
from cloudbandit.core.pools import Serial, Threads
from cloudbandit.core.profit import Profit
from cloudbandit.core.protocols import Factory, Quote
from cloudbandit.core.ranges import is_ranges
from cloudbandit.core.report import Report
from cloudbandit.core.space import Domain
from cloudbandit.core.stop import Stop
from cloudbandit.core.store import Store
from cloudbandit.core.study import Study
from cloudbandit.core.trial import Candidate, Config, Observation
from cloudbandit.live.memory import remember
from cloudbandit.objectives.function import Function, FunctionObjective
from cloudbandit.optimizers import DEFAULT, INNER
from cloudbandit.optimizers.registry import make_factory
from cloudbandit.replay.believers import naming_believers
from cloudbandit.replay.compare import compare_rows
from cloudbandit.replay.methods import Optimizers
from cloudbandit.replay.task import PRODUCTION_RUNS, Aim
from cloudbandit.report.picture import Picture
from cloudbandit.report.progress import progress as follow
from cloudbandit.tables.recorded import Failures
from cloudbandit.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("cloudbandit")


def minimize(
    function: Function,
    domain: Any,
    budget: int | Budget = 33,
    *,
    optimizer: str | Factory = DEFAULT,
    goal: Goal | Aim | None = None,
    seed: int = 0,
    workers: int = 1,
    facts: Facts | None = None,
    history: Mapping[str, History | Sequence[Observation]] | Sequence[str] | str | None = None,
    estimates: Mapping[str, Estimate] | None = None,
    stop: Stop | None = None,
    quote: Quote | None = None,
    store: Store | str | None = None,
    name: str = "study",
    enqueue: Sequence[Candidate | Config] = (),
    on_trial: Callable[[Observation], None] | None = None,
    progress: bool | None = None,
) -> Report:
    """Minimise a function over arms and their configs.

    Args:
        function: takes a candidate (``c.arm``, ``c["nodes"]``), returns a number, a mapping of metrics, or a
            `Result`.
        domain: a `Domain`, a mapping of arm → space, or a single space (which becomes the arm ``all``). A space is a ConfigSpace,
            a list of configs, or parameters as ranges and choices: ``{"x": (0.0, 1.0), "nodes": (2, 8), "lr": (1e-4, 1.0, "log"),
            "disk": ["hdd", "ssd"]}`` (floats, whole numbers, a log scale, choices; see `cloudbandit.core.ranges`).
        budget: an int means evaluations.
        optimizer: a name (``joint``, ``cloudbandit:gp-ard``, ``random``, …), ``path.py:Class``, or a factory.
        goal: a `Goal`, or the metric to minimise where the function returns several, or some of them: then the report's ``front``
            is the answer.
        seed: determines every choice; the same seed and results, the same study.
        workers: evaluations at a time, in threads.
        facts: what is known of a candidate free of charge: candidate → numbers and labels, e.g. ``price_usd_per_h``, ``vcpus``.
        history: earlier studies by name (see `Study`), or stores and tables that hold them (see `remember`).
        estimates: by name, what claims to predict metrics of a candidate; see `Study`.
        stop: ends the study before its budget does, e.g. `Profit`.
        quote: the worst case of one evaluation, where it costs money: held of a budget in USD, and asked for by `Profit`.
        store: a path or URL keeps every evaluation and makes the study resumable.
        name: of the study within its store: another name is another study; the same name goes on where it stopped.
        enqueue: candidates, or bare configs where there is one arm, to try before the optimizer is asked; see `Study`.
        on_trial: called with each observation after it was recorded and told.
        progress: a line on standard error while it runs; by default on a terminal and in a notebook.

    Returns:
        what was found and what it cost; ``report.incumbent`` is the best feasible evaluation, None where there is none. ``print``
        it for a summary.

    Raises:
        UsageError: workers < 1, or an argument that makes no sense; before anything is evaluated.
        UnknownNameError: nobody knows the optimizer.
        CloudBanditError: the store holds another study under this name, or another process runs it.
        Exception: what ``function`` raises is a bug, and comes out once everything in flight has been recorded, with a note that
            names the trial.

    Examples:
        >>> report = minimize(lambda c: (c["x"] - 3) ** 2, {"a": [{"x": x} for x in range(9)]}, budget=9, optimizer="gp")
        >>> report.incumbent.candidate["x"]
        3
    """
    if workers < 1:
        raise UsageError(f"workers must be ≥ 1, got {workers}")
    if not isinstance(domain, Domain):
        domain = Domain(domain if isinstance(domain, Mapping) and not _is_space(domain) else {"all": domain})
    first = [_candidate(domain, proposed) for proposed in enqueue]
    budget = Budget.of(budget)
    if goal is None or isinstance(goal, str | Sequence):
        goal = SLOGoal("value" if goal is None else (goal,) if isinstance(goal, str) else tuple(goal))
    label = optimizer if isinstance(optimizer, str) else getattr(optimizer, "__name__", "custom")
    factory = make_factory(optimizer, budget.trials) if isinstance(optimizer, str) else optimizer
    pool = Threads(workers) if workers > 1 else Serial()
    kept = Store(store) if isinstance(store, str) else store
    try:
        objective = FunctionObjective(function, quote=quote, facts=facts or no_facts)
        for doubt in doubts_of_facts(objective.facts, domain):
            log.warning("%s", doubt)
        itself = None if kept is None else (kept.url, name)
        if history is not None and not isinstance(history, Mapping):
            history = remember([history] if isinstance(history, str) else history, goal, study=itself)
        identity = {"optimizer": label, **turned(goal)}
        with follow(budget, goal, progress) as show:

            def after(observation: Observation) -> None:
                show(observation)
                if on_trial is not None:
                    on_trial(observation)

            with naming_believers():
                study = Study(
                    domain,
                    objective,
                    goal,
                    factory,
                    budget,
                    pool=pool,
                    store=kept,
                    name=name,
                    seed=seed,
                    identity=identity,
                    history=history,
                    estimates=estimates,
                    stop=stop,
                    on_trial=after,
                    enqueue=first,
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
    stop: Profit | None = None,
    lifelong: bool = False,
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
        stop: ends a study before its budget does, e.g. ``Profit(64)``; for optimizers that say what they believe.
        lifelong: seeds are orders of the workloads, and each search is told what earlier ones of its optimizer and order paid
            for, the first of them nothing; rows are `cloudbandit.replay.lifelong.LifelongRow`.
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
        stop=stop,
        lifelong=lifelong,
        on_cell=on_cell,
        on_left_out=left_out.__setitem__,
    )
    frame = pd.DataFrame([row.to_dict() for row in rows])
    frame.attrs["left_out"] = left_out
    return frame


def plot(report: Report, path: str | Path | None = None) -> Picture | None:
    """Draw a study: the trials in order with the incumbent, and every trial against the first SLO. Of several objectives the
    first is drawn.

    Args:
        path: png, svg or pdf by its ending; None: a picture that a notebook shows is returned.

    Raises:
        MissingExtraError: matplotlib is not installed.
        UsageError: the file cannot be written.
    """
    from cloudbandit.report.plots import plot_study

    known = [replace(o, result=replace(o.result, metrics=_with_values(report.goal, o))) for o in report.observations]
    arms = list(dict.fromkeys(o.arm for o in known))
    drawn = replace(report, observations=known)
    if path is not None:
        plot_study(drawn, report.goal, arms, "", Path(path))
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.png"
        plot_study(drawn, report.goal, arms, "", file)
        return Picture(file.read_bytes())


def _with_values(goal: Goal, o: Observation) -> dict[str, float]:
    """A trial's metrics, and what the goal makes of them, e.g. the price of a fleet."""
    if o.score is None or o.score.rank:
        return dict(o.result.metrics)
    values = dict(zip(goal.metrics, own_sign(goal, o.score.values), strict=True))
    return {**{k: v for k, v in values.items() if math.isfinite(v)}, **o.result.metrics}


def _candidate(domain: Domain, proposed: Candidate | Config) -> Candidate:
    """A bare config belongs to the one arm there is."""
    if isinstance(proposed, Candidate):
        return proposed
    if len(domain.leaves) != 1:
        arms = ", ".join("/".join(path) for path in domain.leaves)
        raise UsageError(
            f"enqueue has the bare config {dict(proposed)}, and the arms are {arms}; cure: Candidate(arm, config)"
        )
    return Candidate(next(iter(domain.leaves)), proposed)


def _is_space(domain: object) -> bool:
    """A ConfigSpace is a mapping too, of names to hyperparameters; so are ranges."""
    return type(domain).__name__ == "ConfigurationSpace" or is_ranges(domain)
