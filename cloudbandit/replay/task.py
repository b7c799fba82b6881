"""One workload of a recorded table under one goal: what is best there, and what a search of it was worth.

Protocol (CloudBandit paper, section on metrics; its data set's README): relative regret 100·|f − f*|/|f*|, and savings over N
production runs 100·(N·R_rand − (C_opt + N·f))/(N·R_rand), where R_rand is the mean over all configs and C_opt the sum
of f over the evaluations made. With several objectives: the share of the true front's hypervolume.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np

from cloudbandit.core.budget import Budget
from cloudbandit.core.errors import TableError, UsageError
from cloudbandit.core.goal import MAX_FAILURE_RATE, SLO, SLOGoal, best, own_sign, turned
from cloudbandit.core.known import ALL, History
from cloudbandit.core.metrics import FAILURES, resolve_metric
from cloudbandit.core.pools import Simulated
from cloudbandit.core.protocols import Factory
from cloudbandit.core.report import Report
from cloudbandit.core.stop import Stop
from cloudbandit.core.store import Store
from cloudbandit.core.study import Study
from cloudbandit.core.trial import Candidate, Observation, Score, Trial
from cloudbandit.optimizers import DEFAULT
from cloudbandit.replay.believers import naming_believers
from cloudbandit.replay.front import TrueFront
from cloudbandit.replay.methods import Method
from cloudbandit.replay.repeats import say_what_disagrees
from cloudbandit.tables.recorded import Failures, Recorded
from cloudbandit.tables.table import Table

PRODUCTION_RUNS = 64
"""N of the savings, as in the paper."""
_CHARGED: Mapping[str, str] = {"USD": "spent_usd", "S": "seconds"}
"""A manifest's unit → what a failed trial is charged; a metric without a unit there has the dictionary's charge."""

Aim = str | Sequence[str]
"""A metric, or several."""


@dataclass(frozen=True)
class Task:
    """One workload of a table under one goal.

    Values are given, and returned, in their metrics' own sign.

    Args:
        minimize, maximize: a metric of the table, or several, over both; ``ttft_ms`` stands for ``ttft_p50_ms``.
        slos: all must hold; strings such as ``"ttft_ms<=500"`` are parsed.
        failures: see `cloudbandit.tables.recorded.Recorded`.
        max_failure_rate: see `cloudbandit.core.goal.SLOGoal`; it binds where the table has a failure rate.

    Raises:
        UnknownNameError: unknown workload, metric or failure policy.
        TableError: no config meets the SLOs, the workload never succeeds, or f* = 0.
        UsageError: nothing to aim at, or a metric whose better direction is the other; what is asked of a task with several
            objectives has a meaning for one only, or the other way round.
    """

    table: Table
    workload: str
    minimize: Aim = ()
    slos: Sequence[SLO | str] = ()
    failures: Failures = "strict"
    maximize: Aim = ()
    max_failure_rate: float | None = MAX_FAILURE_RATE

    def __post_init__(self) -> None:
        for name in ("minimize", "maximize", "slos"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))

    @cached_property
    def goal(self) -> SLOGoal:
        available = self.table.metrics
        minimize, maximize = (
            tuple(resolve_metric(m, available) for m in some) for some in (self.minimize, self.maximize)
        )
        slos = [SLO.parse(s) if isinstance(s, str) else s for s in self.slos]
        units = {name: m.unit.upper() for name, m in self.table.manifest.metrics.items()}
        charges = {name: _CHARGED.get(unit) for name, unit in units.items() if unit} | dict.fromkeys(maximize)
        limits = tuple(SLO(resolve_metric(s.metric, available), s.limit, s.at_most) for s in slos)
        return SLOGoal(minimize, limits, charges, maximize, self.max_failure_rate)

    @property
    def metric(self) -> str:
        """What is aimed at; of several the first."""
        return self.goal.metrics[0]

    @property
    def several(self) -> bool:
        """Whether there are several objectives: then a front is looked for, and there is no optimum."""
        return len(self.goal.metrics) > 1

    @cached_property
    def objective(self) -> Recorded:
        metrics = [*self.goal.metrics, *(slo.metric for slo in self.goal.slos)]
        return Recorded(self.table, self.workload, metrics, self.failures)

    @cached_property
    def scores(self) -> dict[Candidate, Score]:
        """The true score of every recorded config."""
        out = {}
        for cell in self.objective.workload.cells.in_turn:
            score = self.goal.score(self.objective.true_result_of(cell))
            assert score is not None
            out[cell.candidate] = score
        return out

    @cached_property
    def succeeds(self) -> bool:
        return self.objective.workload.ever_succeeds

    def _counts(self, candidate: Candidate) -> bool:
        """Whether a config may be the optimum: feasible; for one objective under recorded failures, failed runs count too."""
        score = self.scores[candidate]
        recorded = self.failures == "recorded" and not self.several
        return score.feasible or (recorded and score.rank == 1 and not self.goal.slos)

    @property
    def limits(self) -> list[SLO]:
        """The SLOs, and the implied one on failures where the table knows them."""
        implied = self.goal.failure_slo
        known = implied is not None and not set(FAILURES).isdisjoint(self.table.metrics)
        return [*self.goal.slos, *([implied] if implied is not None and known else [])]

    @cached_property
    def counting(self) -> list[Candidate]:
        """The configs among which the optimum, or the front, is."""
        counting = [c for c in self.objective.domain.candidates if c in self.scores and self._counts(c)]
        if not counting:
            raise TableError(
                f"no config of {self.table.name!r} under workload {self.workload!r} "
                + (
                    f"meets {', '.join(map(str, self.limits))}; cure: a looser SLO"
                    if self.limits and self.succeeds
                    else "ever succeeded; strict failures drop it. Cure: another workload"
                )
            )
        return counting

    def replay(
        self, optimizer: str | Factory = DEFAULT, budget: int | Budget = 33, seed: int = 0, **options: Any
    ) -> Report:
        """One study of this workload: see `replay`, whose options it takes."""
        return replay(self, optimizer, budget, seed, **options)

    # ── one objective ──

    @cached_property
    def _losses(self) -> dict[Candidate, float]:
        """The true value of every recorded config where smaller is better; a failed one without a charge has the worst of all."""
        if self.several:
            raise UsageError(
                f"values, optimum, regret and savings are of one objective, and the task has {', '.join(self.goal.metrics)}; "
                "cure: front and hypervolume_share"
            )
        worst = max((s.values[0] for s in self.scores.values() if s.values), default=float("nan"))
        return {c: s.values[0] if s.values else worst for c, s in self.scores.items()}

    @cached_property
    def values(self) -> dict[Candidate, float]:
        """The true value of every recorded config; a failed one without a charge has the worst value of all."""
        return {c: self._sign * loss for c, loss in self._losses.items()}

    @property
    def _sign(self) -> float:
        return self.goal.signs[0]

    @cached_property
    def optimum(self) -> Candidate:
        """The best config of the table, the first of equals."""
        losses = self._losses
        return min(self.counting, key=lambda c: losses[c])

    @cached_property
    def best_value(self) -> float:
        value = self.values[self.optimum]
        if value == 0:
            raise TableError(
                f"the best {self.metric} of workload {self.workload!r} is 0; relative regret needs another value than that"
            )
        return value

    @cached_property
    def random_value(self) -> float:
        """R_rand of the savings, as in the paper: the mean over all recorded configs, failed and violating ones included."""
        return fmean(self.values.values())

    @cached_property
    def random_feasible_value(self) -> float:
        """The mean over the configs that may be the optimum: what drawing one at random among those that serve gives."""
        return fmean(self.values[c] for c in self.counting)

    def regret_percent(self, value: float) -> float:
        """100·|f − f*|/|f*|; negative where a failed trial's charge beats the best success."""
        return 100.0 * (self._sign * value - self._sign * self.best_value) / abs(self.best_value)

    @cached_property
    def random_regret_percent(self) -> float:
        """The regret that one random *feasible* config has on average."""
        return self.regret_percent(self.random_feasible_value)

    def best_tried_value(self, tried: Iterable[Observation]) -> float:
        """The best true value among a run's trials (of those that meet the SLOs, where there are any SLOs); the worst
        value of the table where no trial counts."""
        losses = [
            self._losses[o.candidate]
            for o in tried
            if o.score is not None and (not self.limits or self.scores[o.candidate].feasible) and o.score.values
        ]
        return self._sign * min(losses, default=max(self._losses.values()))

    def answer_value(self, tried: Sequence[Observation]) -> float:
        """The true value of the incumbent, which succeeded; `best_tried_value` where no trial did."""
        incumbent = best(tried)
        return self.best_tried_value(tried) if incumbent is None else self.values[incumbent.candidate]

    def savings_percent(self, tried: Sequence[Observation], runs: int = PRODUCTION_RUNS) -> float | None:
        """None where nothing is saved: a maximised metric, or one that is not positive."""
        random = runs * self.random_value
        if self._sign < 0 or random <= 0:
            return None
        searched = sum(self.values[o.candidate] for o in tried if o.score is not None)
        return 100.0 * (random - (searched + runs * self.best_tried_value(tried))) / random

    # ── several objectives ──

    @cached_property
    def _true_front(self) -> TrueFront:
        return TrueFront([self._own(c) for c in self.counting], self.goal.signs)

    def _own(self, candidate: Candidate) -> tuple[float, ...]:
        return own_sign(self.goal, self.scores[candidate].values)

    @cached_property
    def front(self) -> list[Candidate]:
        """The true front: the feasible configs no other feasible one beats in every objective, the best in the first objective
        first; of equal ones the first."""
        on_it = [c for c, kept in zip(self.counting, self._true_front.mask, strict=True) if kept]
        found: dict[tuple[float, ...], Candidate] = {}
        for candidate in sorted(on_it, key=lambda c: self.scores[c].values):
            found.setdefault(self._own(candidate), candidate)
        return list(found.values())

    def hypervolume_share(self, tried: Iterable[Observation]) -> float:
        """The hypervolume of the feasible trials' true values as a share of the true front's, in [0, 1]; see `TrueFront` for the
        scale and the reference."""
        return self._true_front.share([self._own(c) for c in self._feasible(tried)])

    def front_points(self, tried: Iterable[Observation]) -> int:
        """How many of the true front's points are among the trials."""
        return len({self._own(c) for c in self._feasible(tried)} & {self._own(c) for c in self.front})

    def _feasible(self, tried: Iterable[Observation]) -> list[Candidate]:
        return [o.candidate for o in tried if o.score is not None and self.scores[o.candidate].feasible]

    # ── what the table recorded ──

    def observations(self) -> list[Observation]:
        """Everything the table recorded of this workload."""
        return [
            Observation(Trial(i, c), self.objective.true_result(c), self.scores[c])
            for i, c in enumerate(self.objective.domain.candidates)
            if c in self.scores
        ]

    def recorded(self) -> History:
        """The same, with what is known of it, as another study may learn from it."""
        return History(self.observations(), self.objective.facts, self.objective.units)

    def history(self, kind: str) -> Mapping[str, History]:
        """What an optimizer may learn before the first trial: ``"others"``: all other workloads of the table, those that never
        succeed left out; ``"itself"``: this one, for the oracle."""
        if kind == "itself":
            return {self.workload: self.recorded()}
        if kind != "others":
            return {}
        goal = (self.minimize, self.maximize, self.slos, self.failures, self.max_failure_rate)
        key = (self.table, goal, self.workload)  # which keeps the table: an id may be another table's later
        if key not in _histories:
            everything = _everything(self.table, *goal)
            others = {name: told for name, told in everything.items() if name != self.workload}
            while len(_histories) >= 4:
                del _histories[next(iter(_histories))]
            _histories[key] = others
        return _histories[key]


_histories: dict[tuple[object, ...], Mapping[str, History]] = {}


@functools.lru_cache(maxsize=2)
def _everything(
    table: Table,
    minimize: Aim,
    maximize: Aim,
    slos: Sequence[SLO | str],
    failures: Failures,
    max_failure_rate: float | None,
) -> Mapping[str, History]:
    tasks = [Task(table, name, minimize, slos, failures, maximize, max_failure_rate) for name in table.workloads]
    return {task.workload: task.recorded() for task in tasks if task.succeeds}


def task_seed(seed: int, workload: str) -> int:
    """Another seed for every workload: one seed shared by all would start every workload at the same configs."""
    return int(np.random.SeedSequence((seed, zlib.crc32(workload.encode()))).generate_state(1)[0])


def replay(
    task: Task,
    optimizer: str | Factory | Method,
    budget: int | Budget,
    seed: int = 0,
    *,
    facts: str | Sequence[str] = ALL,
    workers: int = 1,
    history: Mapping[str, History] | None = None,
    stop: Stop | None = None,
    store: Store | None = None,
    name: str | None = None,
    spec: dict[str, object] | None = None,
    on_trial: Callable[[Observation], None] | None = None,
    on_study: Callable[[Study], None] | None = None,
) -> Report:
    """One study on a recorded workload, in simulated time.

    Args:
        optimizer: a name of the registry, or a factory.
        budget: an int means trials.
        facts: which of the table's facts the optimizer is told: ``"all"``, ``"none"``, or names.
        workers: evaluations in flight.
        history: earlier studies by name, beside what the method itself must be told.
        stop, store, name, spec: see `Study`; a larger budget goes on with a stored study.
        on_study: shown the study before it runs, e.g. to print its schedule.
    """
    say_what_disagrees(task.table, task.goal)
    told: dict[str, Any] = {
        "history": history,
        "stop": stop,
        "store": store,
        "name": name,
        "spec": spec,
        "on_trial": on_trial,
    }
    study = study_of(task, optimizer, budget, seed, facts, workers, **told)
    if on_study is not None:
        on_study(study)
    return study.run()


def study_of(
    task: Task,
    optimizer: str | Factory | Method,
    budget: int | Budget,
    seed: int = 0,
    facts: str | Sequence[str] = ALL,
    workers: int = 1,
    *,
    history: Mapping[str, History] | None = None,
    stop: Stop | None = None,
    store: Store | None = None,
    name: str | None = None,
    spec: dict[str, object] | None = None,
    on_trial: Callable[[Observation], None] | None = None,
) -> Study:
    """The study that `replay` runs."""
    if seed < 0:
        raise UsageError(f"a seed must be an int ≥ 0, got {seed}")
    budget = Budget.of(budget)
    method = optimizer if isinstance(optimizer, Method) else Method.of(optimizer)
    identity = {"optimizer": method.label, "workers": workers, **turned(task.goal)}
    known = task.history(method.history)
    with naming_believers():
        return Study(
            task.objective.domain,
            task.objective,
            task.goal,
            method.factory(budget.trials),
            budget,
            pool=Simulated(workers),
            store=store,
            name=name or "study",
            seed=task_seed(seed, task.workload),
            history={**known, **history} if history else known,
            stop=stop,
            facts=facts,
            identity=identity,
            spec=spec,
            on_trial=on_trial,
        )
