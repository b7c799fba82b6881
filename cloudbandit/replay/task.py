"""Replay a recorded table: the same study loop, with every evaluation looked up; and what a run was worth.

Protocol (CloudBandit paper, section on metrics; its data set's README): relative regret 100·(f − f*)/f*, and savings over N
production runs 100·(N·R_rand − (C_opt + N·f))/(N·R_rand), where R_rand is the mean over all configs and C_opt the sum
of f over the evaluations made.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import numpy as np

from cloudbandit.core.budget import Budget
from cloudbandit.core.errors import TableError, UsageError
from cloudbandit.core.goal import SLO, SLOGoal
from cloudbandit.core.known import History
from cloudbandit.core.metrics import resolve_metric
from cloudbandit.core.pools import Simulated
from cloudbandit.core.report import Report
from cloudbandit.core.store import Store
from cloudbandit.core.study import Study
from cloudbandit.core.trial import Candidate, Observation, Score, Trial
from cloudbandit.optimizers.registry import history_of, make_factory
from cloudbandit.tables.recorded import Failures, Recorded
from cloudbandit.tables.table import Table

PRODUCTION_RUNS = 64
"""N of the savings, as in the paper."""


@dataclass(frozen=True)
class Task:
    """One workload of a table under one goal.

    Raises:
        UnknownNameError: unknown workload, metric or failure policy.
        TableError: no config meets the SLOs, the workload never succeeds, or f* ≤ 0.
    """

    table: Table
    workload: str
    minimize: str
    slos: tuple[SLO, ...] = ()
    failures: Failures = "strict"

    @cached_property
    def metric(self) -> str:
        return resolve_metric(self.minimize, self.table.metrics)

    @cached_property
    def goal(self) -> SLOGoal:
        units = {name: m.unit.upper() for name, m in self.table.manifest.metrics.items()}
        by_unit = {"USD": "spent_usd", "S": "seconds"}
        charges = {name: by_unit.get(unit) for name, unit in units.items() if unit}
        slos = tuple(SLO(resolve_metric(s.metric, self.table.metrics), s.limit, s.at_most) for s in self.slos)
        return SLOGoal(self.metric, slos, charges)

    @cached_property
    def objective(self) -> Recorded:
        metrics = [self.metric, *(slo.metric for slo in self.goal.slos)]
        return Recorded(self.table, self.workload, metrics, self.failures)

    @cached_property
    def scores(self) -> dict[Candidate, Score]:
        """The true score of every recorded config."""
        out = {}
        for cell in self.objective.workload.cells.values():
            score = self.goal.score(self.objective.true_result(cell.candidate))
            assert score is not None
            out[cell.candidate] = score
        return out

    @cached_property
    def values(self) -> dict[Candidate, float]:
        """The true value of every recorded config; a failed one without a charge has the worst value of all."""
        worst = max((s.values[0] for s in self.scores.values() if s.values), default=math.nan)
        return {c: s.values[0] if s.values else worst for c, s in self.scores.items()}

    def _counts(self, candidate: Candidate) -> bool:
        """Whether a config may be the optimum: feasible; under recorded failures, failed runs count too."""
        score = self.scores[candidate]
        return score.feasible or (self.failures == "recorded" and score.rank == 1 and not self.goal.slos)

    @cached_property
    def optimum(self) -> Candidate:
        """The best config of the table, the first of equals."""
        counting = [c for c in self.objective.domain.candidates if c in self.scores and self._counts(c)]
        if not counting:
            raise TableError(
                f"no config of {self.table.name!r} under workload {self.workload!r} "
                + (
                    f"meets {', '.join(map(str, self.goal.slos))}; cure: a looser SLO"
                    if self.goal.slos and self.succeeds
                    else "ever succeeded; strict failures drop it. Cure: another workload"
                )
            )
        return min(counting, key=lambda c: self.values[c])

    @cached_property
    def succeeds(self) -> bool:
        return self.objective.workload.ever_succeeds

    @cached_property
    def best_value(self) -> float:
        value = self.values[self.optimum]
        if value <= 0:
            raise TableError(
                f"the least {self.metric} of workload {self.workload!r} is {value:g}; relative regret needs it > 0"
            )
        return value

    @cached_property
    def random_value(self) -> float:
        """R_rand: the mean over all recorded configs."""
        return fmean(self.values.values())

    def regret_percent(self, value: float) -> float:
        return 100.0 * (value - self.best_value) / self.best_value

    @cached_property
    def random_regret_percent(self) -> float:
        """The regret one random config has on average."""
        return self.regret_percent(self.random_value)

    def observations(self) -> list[Observation]:
        """Everything the table recorded of this workload."""
        return [
            Observation(Trial(i, c), self.objective.true_result(c), self.scores[c])
            for i, c in enumerate(self.objective.domain.candidates)
            if c in self.scores
        ]

    def recorded(self) -> History:
        """The same, with what is known of it, as another study may learn from it."""
        units = {name: m.unit for name, m in self.table.manifest.metrics.items() if m.unit}
        return History(self.observations(), self.objective.facts, units)

    def history(self, kind: str) -> Mapping[str, History]:
        """What an optimizer may learn before the first trial: ``"others"``: all other workloads of the table, those that never
        succeed left out; ``"itself"``: this one, for the oracle."""
        if kind == "itself":
            return {self.workload: self.recorded()}
        if kind != "others":
            return {}
        key = (id(self.table), self.metric, tuple(self.slos), self.failures, self.workload)
        if key not in _histories:
            everything = _everything(self.table, self.metric, tuple(self.slos), self.failures)
            others = {name: told for name, told in everything.items() if name != self.workload}
            while len(_histories) >= 4:
                del _histories[next(iter(_histories))]
            _histories[key] = others
        return _histories[key]

    # ── what a run was worth ──

    def least_value(self, tried: Sequence[Observation]) -> float:
        """The least true value among a run's trials (of those that meet the SLOs, where there are any SLOs); the worst
        value of the table where no trial counts."""
        values = [
            self.values[o.candidate]
            for o in tried
            if o.score is not None and (not self.goal.slos or self.scores[o.candidate].feasible) and o.score.values
        ]
        return min(values, default=max(self.values.values()))

    def answer_value(self, tried: Sequence[Observation]) -> float:
        """The true value of the incumbent, which succeeded; `least_value` where no trial did."""
        feasible = [o for o in tried if o.score is not None and o.score.feasible]
        if not feasible:
            return self.least_value(tried)
        return self.values[min(feasible, key=lambda o: (o.score, o.trial.number)).candidate]

    def savings_percent(self, tried: Sequence[Observation], runs: int = PRODUCTION_RUNS) -> float:
        searched = sum(self.values[o.candidate] for o in tried if o.score is not None)
        random = runs * self.random_value
        return 100.0 * (random - (searched + runs * self.least_value(tried))) / random


_histories: dict[tuple[object, ...], Mapping[str, History]] = {}


@functools.lru_cache(maxsize=2)
def _everything(table: Table, metric: str, slos: tuple[SLO, ...], failures: Failures) -> Mapping[str, History]:
    tasks = [Task(table, name, metric, slos, failures) for name in table.workloads]
    return {task.workload: task.recorded() for task in tasks if task.succeeds}


def task_seed(seed: int, workload: str) -> int:
    """Another seed for every workload: one seed shared by all would start every workload at the same configs."""
    return int(np.random.SeedSequence((seed, zlib.crc32(workload.encode()))).generate_state(1)[0])


def replay(
    task: Task,
    optimizer: str,
    budget: int | Budget,
    seed: int = 0,
    *,
    workers: int = 1,
    store: Store | None = None,
    name: str | None = None,
    spec: dict[str, object] | None = None,
    on_trial: Callable[[Observation], None] | None = None,
    on_study: Callable[[Study], None] | None = None,
) -> Report:
    """One study on a recorded workload, in simulated time.

    Args:
        optimizer: a name of the registry.
        budget: an int means trials.
        workers: evaluations in flight.
        store, name, spec: see `Study`.
        on_study: shown the study before it runs, e.g. to print its schedule.
    """
    if seed < 0:
        raise UsageError(f"a seed must be an int ≥ 0, got {seed}")
    budget = Budget.of(budget)
    study = Study(
        task.objective.domain,
        task.objective,
        task.goal,
        make_factory(optimizer, budget.trials),
        budget,
        pool=Simulated(workers),
        store=store,
        name=name or "study",
        seed=task_seed(seed, task.workload),
        history=task.history(history_of(optimizer)),
        identity={"optimizer": optimizer, "budget": budget.trials, "workers": workers},
        spec=spec,
        on_trial=on_trial,
    )
    if on_study is not None:
        on_study(study)
    return study.run()
