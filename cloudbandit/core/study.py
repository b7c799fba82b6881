"""A study: one search, from the first trial to the report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cloudbandit.core.budget import Budget
from cloudbandit.core.errors import UsageError
from cloudbandit.core.goal import Goal, changed_limit
from cloudbandit.core.known import (
    ALL,
    Estimate,
    History,
    check_histories,
    checked_estimates,
    checked_facts,
    choose_facts,
    digest_of_estimate,
    digest_of_history,
    fact_names,
    histories,
    no_facts,
)
from cloudbandit.core.loop import Loop
from cloudbandit.core.pools import Serial
from cloudbandit.core.protocols import Factory, Objective, Optimizer, Pool, Problem
from cloudbandit.core.report import Report
from cloudbandit.core.space import Domain
from cloudbandit.core.stop import Stop, identity_of
from cloudbandit.core.trial import Candidate, Observation

if TYPE_CHECKING:
    from cloudbandit.core.record import StudyRecord
    from cloudbandit.core.store import Store


class Study:
    """One search, from the first trial to the report.

    Args:
        domain: what may be tried.
        objective: evaluates trials.
        goal: what is good.
        optimizer: a factory; it is given the `Problem`.
        budget: an int means informative trials.
        pool: where evaluations run; `cloudbandit.core.pools.Serial` by default. A pool given here is not closed.
        store: keeps every trial; without one the study cannot be resumed.
        name: the study's name in the store; an existing study of that name is resumed.
        seed: determines everything that is drawn.
        history: earlier studies by name, for optimizers that can use them: a `History` each, or bare observations, judged by
            this study's goal. They may be of another space.
        estimates: by name, what claims to predict metrics of a candidate beforehand; for optimizers that can use them.
        facts: which of the objective's facts the optimizer is told: ``"all"``, ``"none"``, or names.
        stop: a rule asked before each trial, and while one runs; see `cloudbandit.core.stop.Stop`.
        wait_s: how long, on the pool's clock, to wait once nothing is left to ask but offers that rest.
        identity: what else must agree when the study is resumed, e.g. the optimizer's name.
        where_known: what must agree too where the stored study knows it, e.g. the machine; the objective's own ``identity``,
            if it has one, is added.
        spec: kept in the store, to rebuild the study; that of the latest run counts.
        on_trial: called after each trial was recorded and told.
        enqueue: candidates to try before the optimizer is asked, in this order, each once. They are held, recorded and count
            like any other trial, and the optimizer is told of all of them before its first suggestion, as it is told of history.
            A resumed study tries those that have no trial yet. One that is given back may come again like any other.

    Raises:
        UsageError: a seed < 0, an enqueued candidate outside the domain, a history of other metrics or units, an estimate that
            raises or is not finite, or a stop rule that makes no sense here.
    """

    def __init__(
        self,
        domain: Domain,
        objective: Objective,
        goal: Goal,
        optimizer: Factory,
        budget: int | Budget,
        *,
        pool: Pool | None = None,
        store: Store | None = None,
        name: str = "study",
        seed: int = 0,
        history: Mapping[str, History | Sequence[Observation]] | None = None,
        estimates: Mapping[str, Estimate] | None = None,
        facts: str | Sequence[str] = ALL,
        stop: Stop | None = None,
        wait_s: float = 60.0,
        identity: Mapping[str, Any] | None = None,
        where_known: Mapping[str, Any] | None = None,
        spec: Mapping[str, Any] | None = None,
        on_trial: Callable[[Observation], None] | None = None,
        enqueue: Sequence[Candidate] = (),
    ) -> None:
        if seed < 0:
            raise UsageError(f"a seed must be an int ≥ 0, got {seed}")
        self.domain, self.objective, self.goal = domain, objective, goal
        self.budget = Budget.of(budget)
        self.seed = seed
        told = choose_facts(checked_facts(getattr(objective, "facts", no_facts)), facts, domain)
        remembered = histories(history)
        believed = checked_estimates(estimates or {}, goal, domain)
        check_histories(remembered, goal, getattr(objective, "units", {}))
        self.problem = Problem(domain, goal, seed, told, remembered, believed)
        self._optimizer: Optimizer = optimizer(self.problem)
        check = getattr(stop, "check", None)
        if check is not None:
            check(self.problem, self._optimizer, objective)
        self._facts, self._stop, self._wait_s = fact_names(facts), stop, wait_s
        self._pool, self._store, self._name = pool, store, name
        self._identity, self._where_known = dict(identity or {}), dict(where_known or {})
        self._spec, self._on_trial = spec, on_trial
        self._enqueue = tuple(enqueue)
        for candidate in self._enqueue:
            reason = domain.why_not(candidate)
            if reason:
                raise UsageError(f"the enqueued {candidate!r} lies outside the domain: {reason}")
        self._record: StudyRecord | None = None

    @property
    def optimizer(self) -> Optimizer:
        """For looking at, e.g. a bandit's schedule."""
        return self._optimizer

    def run(self) -> Report:
        """Run until the budget is used up or the optimizer has finished.

        Ctrl-C records what is in flight, then raises KeyboardInterrupt; with a store, running the study again resumes it.

        Raises:
            OptimizerError: the optimizer asked for something outside the domain.
            Exception: whatever a bug in the objective raised, with a note that names the trial. The trial is recorded as
                LOST and its hold settled at the quote, after everything else in flight was recorded.
        """
        if self._store is not None:
            identity = {
                "domain": self.domain.fingerprint,
                "minimize": list(self.goal.metrics),
                "slos": [str(slo) for slo in self.goal.slos],
                **changed_limit(self.goal),
                "seed": self.seed,
                **self._known_beforehand(),
                **self._identity,
            }
            where_known = {"objective": getattr(self.objective, "identity", None), **self._where_known}
            self._record = self._store.open(self._name, identity, self._spec, where_known)
        pool = self._pool or Serial()
        try:
            with getattr(self.objective, "attended", contextlib.nullcontext)():
                return Loop(
                    self.problem,
                    self.objective,
                    self._optimizer,
                    self.budget,
                    pool,
                    self._record,
                    self._stop,
                    self._wait_s,
                    self._on_trial,
                    self._enqueue,
                ).run()
        finally:
            if self._pool is None:
                pool.close()
            if self._record is not None:
                self._record.close()

    def _known_beforehand(self) -> dict[str, Any]:
        """The part of the identity that says what decides beside the trials; what is at its default is left out."""
        known: dict[str, Any] = {}
        if self._facts != (ALL,):
            known["facts"] = list(self._facts)
        if self.problem.history:
            known["history"] = digest_of_history(self.problem.history)
        if self.problem.estimates:
            estimates = self.problem.estimates.items()
            known["estimates"] = {name: digest_of_estimate(e, self.domain) for name, e in estimates}
        if self._stop is not None:
            known["stop"] = identity_of(self._stop)
        return known
