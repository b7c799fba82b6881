"""The one-liner for research code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudbandit.core.budget import Budget
from cloudbandit.core.errors import UsageError
from cloudbandit.core.goal import Goal, SLOGoal
from cloudbandit.core.pools import Serial, Threads
from cloudbandit.core.protocols import Factory
from cloudbandit.core.report import Report
from cloudbandit.core.space import Domain
from cloudbandit.core.store import Store
from cloudbandit.core.study import Study
from cloudbandit.objectives.function import Function, FunctionObjective
from cloudbandit.optimizers import DEFAULT
from cloudbandit.optimizers.registry import make_factory


def minimize(
    function: Function,
    domain: Any,
    budget: int | Budget = 33,
    *,
    optimizer: str | Factory = DEFAULT,
    goal: Goal | str | None = None,
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
        goal: a `Goal`, or the metric to minimise where the function returns several.
        workers: evaluations at a time, in threads.
        store: a path or URL keeps every evaluation and makes the study resumable.

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
    if goal is None or isinstance(goal, str):
        goal = SLOGoal(goal or "value")
    label = optimizer if isinstance(optimizer, str) else getattr(optimizer, "__name__", "custom")
    factory = make_factory(optimizer, budget.trials) if isinstance(optimizer, str) else optimizer
    pool = Threads(workers) if workers > 1 else Serial()
    kept = Store(store) if isinstance(store, str) else store
    try:
        objective = FunctionObjective(function)
        identity = {"optimizer": label}
        study = Study(
            domain, objective, goal, factory, budget, pool=pool, store=kept, name=name, seed=seed, identity=identity
        )
        return study.run()
    finally:
        pool.close()
        if kept is not None and kept is not store:
            kept.close()


def _is_space(domain: object) -> bool:
    """A ConfigSpace is a mapping too, of names to hyperparameters."""
    return type(domain).__name__ == "ConfigurationSpace"
