"""A tuning study: any objective, whose configs are settings of an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cloudbandit.core.budget import Budget
from cloudbandit.core.errors import UsageError
from cloudbandit.core.goal import Goal
from cloudbandit.core.known import Estimate, History
from cloudbandit.core.protocols import Factory, Objective, Optimizer, Pool, Problem
from cloudbandit.core.report import Report
from cloudbandit.core.space import Domain
from cloudbandit.core.store import Store
from cloudbandit.core.study import Study
from cloudbandit.core.trial import Candidate, Observation
from cloudbandit.optimizers.registry import make_factory
from cloudbandit.tune.answer import Answer, answer_of
from cloudbandit.tune.hopeless import Hopeless
from cloudbandit.tune.importance import importance
from cloudbandit.tune.judge import names_of
from cloudbandit.tune.plan import FINALISTS, REPEATS, Plan

METHOD = "joint-forest"


@dataclass(frozen=True)
class Tuning:
    """How to tune.

    Attributes:
        method: a name of the optimizers' registry: what searches.
        trials: of the search, the default's among them; ``repeats`` come on top.
        usd, seconds: of everything.
        repeats, finalists: see `cloudbandit.tune.plan.Plan`.
        hopeless: whether trials that cannot matter are cut short.
        reference: of the hypervolume, one value per objective; None: the default's result.

    Raises:
        UsageError: no budget, or one that makes no sense.
    """

    method: str = METHOD
    trials: int | None = 30
    usd: float | None = None
    seconds: float | None = None
    repeats: int = REPEATS
    finalists: int = FINALISTS
    hopeless: bool = True
    seed: int = 0
    reference: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.trials is None and self.usd is None and self.seconds is None:
            raise UsageError("tuning needs a budget: trials, usd or seconds")
        if (self.trials is not None and self.trials < 2) or self.repeats < 0 or self.finalists < 1:
            raise UsageError(
                f"tuning needs trials ≥ 2, repeats ≥ 0 and finalists ≥ 1; got {self.trials}, {self.repeats}, {self.finalists}"
            )

    def run(
        self,
        domain: Domain,
        objective: Objective,
        goal: Goal,
        default: Candidate | None,
        *,
        pool: Pool | None = None,
        store: Store | None = None,
        name: str = "tune",
        history: Mapping[str, History] | None = None,
        estimates: Mapping[str, Estimate] | None = None,
        identity: Mapping[str, Any] | None = None,
        where_known: Mapping[str, Any] | None = None,
        spec: Mapping[str, Any] | None = None,
        on_trial: Callable[[Observation], None] | None = None,
        on_interrupt: Callable[[], None] | None = None,
    ) -> tuple[Answer, Report]:
        """Run, or go on where the store says it stopped; arguments as of `cloudbandit.core.study.Study`.

        Args:
            default: what the engine is started with where nobody chose; None: nobody knows.

        Raises:
            UsageError: the default lies outside the domain, or a reference of another length than the goal's metrics.
        """
        if default is not None and (reason := domain.why_not(default)):
            raise UsageError(
                f"the default {default!r} is not among the settings: {reason}; cure: another default, or none"
            )
        if self.reference is not None and len(self.reference) != len(goal.metrics):
            raise UsageError(
                f"a reference has one value per objective, {', '.join(goal.metrics)}; got {list(self.reference)}"
            )
        rule = Hopeless(tuple(goal.slos), names_of(goal)) if self.hopeless else None
        study = Study(
            domain,
            objective,
            goal,
            self._factory(default),
            Budget(_CEILING, self.usd, self.seconds),
            pool=pool,
            store=store,
            name=name,
            seed=self.seed,
            history=history,
            estimates=estimates,
            stop=rule,
            identity={"tuning": self._identity(default), **(identity or {})},
            where_known=where_known,
            spec=spec,
            on_trial=on_trial,
        )
        report = study.run()
        plan = study.optimizer
        assert isinstance(plan, Plan)
        found = answer_of(plan, goal, default, self.reference)
        return replace(found, importance=importance(study.problem, plan.search)), report

    def _factory(self, default: Candidate | None) -> Factory:
        inner = make_factory(self.method, self.trials)

        def plan(problem: Problem) -> Optimizer:
            return Plan(
                problem,
                inner,
                default,
                trials=self.trials,
                usd=self.usd,
                seconds=self.seconds,
                repeats=self.repeats,
                finalists=self.finalists,
            )

        return plan

    def _identity(self, default: Candidate | None) -> list[Any]:
        """What a resumed study must agree on. With more trials the search would have gone on where finals began."""
        key = None if default is None else default.key
        return [self.method, key, self.trials, self.usd, self.seconds, self.repeats, self.finalists]


_CEILING = 100_000  # trials: the plan ends by itself
