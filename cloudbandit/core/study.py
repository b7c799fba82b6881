"""The loop: ask → hold → record "started" → evaluate → settle → record "finished" → tell."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cloudbandit.core.budget import Budget, Ledger
from cloudbandit.core.errors import OptimizerError, UsageError
from cloudbandit.core.goal import Goal
from cloudbandit.core.known import (
    ALL,
    Estimate,
    History,
    choose_facts,
    digest_of_estimate,
    digest_of_history,
    fact_names,
    histories,
    no_facts,
)
from cloudbandit.core.pools import Serial
from cloudbandit.core.protocols import Factory, Objective, Optimizer, Outcome, Pool, Problem, Quote
from cloudbandit.core.report import Report
from cloudbandit.core.rest import Rests
from cloudbandit.core.space import Domain
from cloudbandit.core.stop import Believer, Stop, identity_of
from cloudbandit.core.trial import Candidate, Observation, Result, Status, Trial

if TYPE_CHECKING:
    from cloudbandit.core.store import Store, StudyRecord

log = logging.getLogger("cloudbandit")

_GIVE_UP_AFTER = 10
"""So many uninformative outcomes in a row per arm, of any kind, and the study stops."""


_SEED_BLOCK = 64


@dataclass
class TrialRun:
    """The `cloudbandit.core.protocols.Run` of evaluations in this process."""

    cancel: threading.Event
    deadline: float | None = None
    hopeless: Callable[[Mapping[str, float]], bool] = lambda partial: False

    @property
    def cancelled(self) -> bool:
        return self.cancel.is_set()

    def report(self, partial: Mapping[str, float]) -> bool:
        return not self.cancelled and not self.hopeless(partial)

    def log(self, message: str) -> None:
        log.info("%s", message)


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
        history: earlier studies by name, for optimizers that can use them: a `History` each, or bare observations.
        estimates: by name, what claims to predict metrics of a candidate beforehand; for optimizers that can use them.
        facts: which of the objective's facts the optimizer is told: ``"all"``, ``"none"``, or names.
        stop: a rule asked before each trial, and while one runs; see `cloudbandit.core.stop.Stop`.
        identity: what else must agree when the study is resumed, e.g. the optimizer's name.
        spec: kept in the store, to rebuild the study.
        on_trial: called after each trial was recorded and told.
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
        identity: Mapping[str, Any] | None = None,
        spec: Mapping[str, Any] | None = None,
        on_trial: Callable[[Observation], None] | None = None,
    ) -> None:
        if seed < 0:
            raise UsageError(f"a seed must be an int ≥ 0, got {seed}")
        self.domain, self.objective, self.goal = domain, objective, goal
        self.budget = Budget.of(budget)
        self.seed = seed
        told = choose_facts(getattr(objective, "facts", no_facts), facts, domain)
        self.problem = Problem(domain, goal, seed, told, histories(history), dict(estimates or {}))
        self._optimizer: Optimizer = optimizer(self.problem)
        self._facts, self._stop = fact_names(facts), stop
        self._pool, self._store, self._name = pool, store, name
        self._identity, self._spec, self._on_trial = dict(identity or {}), spec, on_trial
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
                "seed": self.seed,
                **self._known_beforehand(),
                **self._identity,
            }
            self._record = self._store.open(self._name, identity, self._spec)
        pool = self._pool or Serial()
        try:
            return _Loop(self, pool, self._record).run()
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


class _Loop:
    """The state of one `Study.run`."""

    def __init__(self, study: Study, pool: Pool, record: StudyRecord | None) -> None:
        self.study, self.pool, self.record = study, pool, record
        self.optimizer = study._optimizer
        self.budget = study.budget
        self.ledger = Ledger(self.budget.usd)
        self.cancel = threading.Event()
        self.observations: list[Observation] = []
        self.rests = Rests()
        self.in_flight: dict[int, tuple[Trial, float]] = {}
        self.replicates: Counter[Candidate] = Counter()
        self.informative = 0
        self.barren = 0  # uninformative outcomes in a row
        self.next_number = 0
        self.clock_before = 0.0
        self.waiting: Candidate | None = None  # asked, and too dear while others are in flight
        self.ask_seconds: list[float] = []
        self.stop_reason = ""
        self.stopped = ""  # what the study's own rule said; it is not asked again
        self.seeds: tuple[int, list[int]] = (-1, [])

    def run(self) -> Report:
        self.restore()
        try:
            while True:
                self.fill()
                if not self.in_flight:
                    break
                for outcome in self.pool.wait():
                    self.settle(outcome)
        except BaseException as error:
            self.abandon(error)
            raise
        return Report(
            self.study.goal,
            tuple(self.observations),
            self.stop_reason,
            self.ledger.spent_usd,
            self.clock(),
            self.ledger.overrun_usd,
            getattr(self.optimizer, "exact_resume", True),
            tuple(self.ask_seconds),
        )

    def clock(self) -> float:
        return self.clock_before + self.pool.clock()

    def restore(self) -> None:
        """Tell the optimizer everything the store knows."""
        if self.record is None:
            return
        for stored in self.record.history():
            self.ledger.restore(stored.spent_usd, stored.hosts_usd)
            self.clock_before = max(self.clock_before, stored.clock_s)
            self.next_number = max(self.next_number, stored.trial.number + 1)
            self.tell(Observation(stored.trial, stored.result, self.study.goal.score(stored.result)))
        self.barren = 0  # whoever resumes wants to try again

    # ── starting trials ──

    def fill(self) -> None:
        """Start trials until the pool is full or there is a reason to stop."""
        while len(self.in_flight) < self.pool.size:
            self.stop_reason = self.why_stop()
            if self.stop_reason:
                return
            candidate = self.waiting or self.ask()
            if candidate is None:
                if not self.in_flight:
                    everything = self.rests.offers >= set(self.study.domain.leaves)
                    self.stop_reason = "unavailable" if everything else "finished"
                return
            quote = self.study.objective.quote(candidate)
            self.stopped = self.stopped or self.why_now(quote)
            if self.stopped:
                self.stop_reason = self.stopped
                return
            if not self.ledger.hold(self.next_number, quote.usd):
                self.waiting = candidate  # what is in flight may settle for less than it holds
                if not self.in_flight:
                    self.stop_reason = "usd"
                return
            self.waiting = None
            self.start(candidate, quote.usd)

    def why_now(self, quote: Quote) -> str:
        """What the study's own rule says."""
        stop = self.study._stop
        if stop is None:
            return ""
        belief = self.optimizer.belief() if isinstance(self.optimizer, Believer) else None
        return stop.why(self.study.problem, self.budget, tuple(self.observations), quote, belief)

    def hopeless(self, trial: Trial, partial: Mapping[str, float]) -> bool:
        rule = getattr(self.study._stop, "hopeless", None)
        return bool(rule and rule(trial, partial, tuple(self.observations)))

    def why_stop(self) -> str:
        if self.stopped:
            return self.stopped
        budget = self.budget
        if budget.trials is not None and self.informative + len(self.in_flight) >= budget.trials:
            return "trials"
        if budget.seconds is not None and self.clock() >= budget.seconds:
            return "seconds"
        if self.barren >= _GIVE_UP_AFTER * len(self.study.domain.names):
            return "no_progress"
        return ""

    def ask(self) -> Candidate | None:
        began = time.perf_counter()  # the processor clock costs more than a fast suggestion
        asked = self.optimizer.ask(1)
        if not asked:
            return None
        self.ask_seconds.append(time.perf_counter() - began)
        domain = self.study.domain
        reason = None if domain.enumerable and asked[0].key in domain.index else domain.why_not(asked[0])
        if reason:
            name = type(self.optimizer).__name__
            raise OptimizerError(f"{name} asked for {asked[0]!r}, which is outside the domain: {reason}")
        return asked[0]

    def start(self, candidate: Candidate, quote_usd: float) -> None:
        number = self.next_number
        trial = Trial(number, candidate, self.trial_seed(number), self.replicates[candidate])
        self.next_number += 1
        if self.record is not None:
            self.record.start(trial, quote_usd)
        deadline = None if self.budget.seconds is None else self.budget.seconds - self.clock_before
        run = TrialRun(self.cancel, deadline, functools.partial(self.hopeless, trial))
        self.pool.submit(self.study.objective, trial, run)
        self.in_flight[number] = (trial, quote_usd)

    def trial_seed(self, number: int) -> int:
        """A function of the study's seed and the trial's number; drawn in blocks, because one by one is slow."""
        block = number // _SEED_BLOCK
        if self.seeds[0] != block:
            sequence = np.random.SeedSequence((self.study.seed, block))
            self.seeds = (block, sequence.generate_state(_SEED_BLOCK).tolist())
        return self.seeds[1][number % _SEED_BLOCK]

    # ── ending trials ──

    def settle(self, outcome: Outcome) -> None:
        """Settle the money, record, tell. A bug is raised after that."""
        trial, quote_usd = self.in_flight[outcome.trial.number]
        result, error, score = outcome.result, outcome.error, None
        if result is not None:
            try:
                score = self.study.goal.score(result)
            except Exception as unscored:  # e.g. an ok result without the metric: a bug like any other
                result, error = None, unscored
        if result is None:
            reason = "bug" if error else "worker_lost"
            text = f"{type(error).__name__}: {error}" if error else outcome.lost
            result = Result(Status.LOST, spent_usd=quote_usd, reason=reason, error=text)
        self.finish(trial, result)
        observation = Observation(trial, result, score)
        self.tell(observation)
        if error is not None:
            error.add_note(
                f"raised while trial {trial.number} ({trial.candidate!r}) was evaluated; the trial is recorded as lost, "
                f"its hold settled at {quote_usd:g} USD"
            )
            raise error
        if self.study._on_trial is not None:
            self.study._on_trial(observation)

    def finish(self, trial: Trial, result: Result) -> None:
        if self.record is not None:
            self.record.finish(trial, result, self.clock())
        self.ledger.settle(trial.number, result.spent_usd, result.hosts_usd)
        del self.in_flight[trial.number]

    def tell(self, observation: Observation) -> None:
        self.observations.append(observation)
        self.rests.tell(observation)
        if observation.score is None:
            self.barren += 1
        else:
            self.barren = 0
            self.informative += 1
            self.replicates[observation.candidate] += 1
        self.optimizer.tell([observation])

    def abandon(self, cause: BaseException) -> None:
        """Something was raised: let what is in flight end, record it, and leave. No measurement is lost."""
        self.cancel.set()
        if isinstance(self.pool, Serial):  # its evaluation was this very thread, and is over
            self.interrupt_all()
            return
        try:
            while self.in_flight:
                for outcome in self.pool.wait():
                    trial, quote_usd = self.in_flight[outcome.trial.number]
                    lost = Result(
                        Status.LOST, spent_usd=quote_usd, reason="bug", error=str(outcome.error or outcome.lost)
                    )
                    self.finish(trial, outcome.result or lost)
        except KeyboardInterrupt:  # a second Ctrl-C: leave at once; a resumed run finds the rest LOST
            cause.add_note(f"{len(self.in_flight)} trials were left in flight; resuming settles them as lost")

    def interrupt_all(self) -> None:
        for trial, quote_usd in list(self.in_flight.values()):
            self.finish(
                trial, Result(Status.INTERRUPTED, spent_usd=quote_usd, reason="stopped", error="the study was stopped")
            )
