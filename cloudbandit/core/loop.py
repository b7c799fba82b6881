"""The loop: ask → hold → record "started" → evaluate → record "finished" → settle → tell."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from cloudbandit.core.budget import Budget, Ledger
from cloudbandit.core.errors import OptimizerError
from cloudbandit.core.masking import masked_json
from cloudbandit.core.pools import Serial
from cloudbandit.core.protocols import Objective, Optimizer, Outcome, Pool, Problem, Quote
from cloudbandit.core.report import Report
from cloudbandit.core.rest import TOO_DEAR, Offers, Rests
from cloudbandit.core.stop import Belief, Believer, Stop
from cloudbandit.core.trial import Candidate, Observation, Result, Status, Trial

if TYPE_CHECKING:
    from cloudbandit.core.record import StudyRecord

log = logging.getLogger("cloudbandit")

GIVE_UP_AFTER = 10
"""So many uninformative outcomes in a row per offer, of any kind, and the study stops."""
MOST_ASIDE = 200
"""So many suggestions in a row that are dearer than what is left, and the study stops."""

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


@dataclass
class Loop:
    """The state of one run of a study; see `cloudbandit.core.study.Study` for what it is given."""

    problem: Problem
    objective: Objective
    optimizer: Optimizer
    budget: Budget
    pool: Pool
    record: StudyRecord | None = None
    stop: Stop | None = None
    wait_s: float = 60.0
    on_trial: Callable[[Observation], None] | None = None
    proposed: Sequence[Candidate] = ()
    """Asked before the optimizer is, each once: one that the store has a trial of is done."""

    ledger: Ledger = field(init=False)
    cancel: threading.Event = field(default_factory=threading.Event, init=False)
    observations: list[Observation] = field(default_factory=list, init=False)
    rests: Rests = field(default_factory=Rests, init=False)
    in_flight: dict[int, tuple[Trial, float]] = field(default_factory=dict, init=False)
    taken: deque[Outcome] = field(default_factory=deque, init=False)
    """Outcomes the pool handed over that are not recorded yet: never waited for again."""
    replicates: Counter[Candidate] = field(default_factory=Counter, init=False)
    informative: int = field(default=0, init=False)
    restored: int = field(default=0, init=False)
    barren: int = field(default=0, init=False)
    """Uninformative outcomes in a row."""
    queue: deque[Candidate] = field(init=False)
    """What is left of ``proposed``."""
    next_number: int = field(default=0, init=False)
    clock_before: float = field(default=0.0, init=False)
    waiting: Candidate | None = field(default=None, init=False)
    """Asked, and too dear while others are in flight, which may settle for less than they hold."""
    aside: dict[Candidate, float] = field(default_factory=dict, init=False)
    """Asked, and dearer than what is left: candidate → quote."""
    set_aside_in_a_row: int = field(default=0, init=False)
    last_chance: Offers | None = field(default=None, init=False)
    """The offer that was woken because nothing else was left."""
    ask_seconds: list[float] = field(default_factory=list, init=False)
    stop_reason: str = field(default="", init=False)
    stop_note: str = field(default="", init=False)
    decided: str = field(default="", init=False)
    """What the study's own rule said; it is not asked again."""
    seeds: tuple[int, list[int]] = field(default=(-1, []), init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.budget.usd)
        self.queue = deque(self.proposed)
        self.clock_began = self.pool.clock()

    def run(self) -> Report:
        """Until there is a reason to stop."""
        self.restore()
        try:
            while True:
                self.fill()
                if not self.in_flight:
                    break
                self.taken.extend(self.pool.wait())
                while self.taken:
                    self.settle(self.taken[0])
        except BaseException as error:
            self.abandon(error)
            raise
        return Report(
            self.problem.goal,
            tuple(self.observations),
            self.stop_reason,
            self.ledger.spent_usd,
            self.clock(),
            self.ledger.overrun_usd,
            getattr(self.optimizer, "exact_resume", True),
            tuple(self.ask_seconds),
            self.restored,
            self.stop_note,
            self.belief(),
        )

    def clock(self) -> float:
        """Of the study: all its runs, not what else the pool was used for."""
        return self.clock_before + self.pool.clock() - self.clock_began

    def restore(self) -> None:
        """Tell the optimizer everything the store knows."""
        if self.record is None:
            return
        for stored in self.record.history():
            self.ledger.restore(stored.spent_usd, stored.hosts_usd, stored.quote_usd)
            self.clock_before = max(self.clock_before, stored.clock_s)
            self.next_number = max(self.next_number, stored.trial.number + 1)
            self.tell(Observation(stored.trial, stored.result, self.problem.goal.score(stored.result)))
            self.restored += 1
            with contextlib.suppress(ValueError):
                self.queue.remove(stored.trial.candidate)
        self.barren = 0  # whoever resumes wants to try again

    # ── starting trials ──

    def fill(self) -> None:
        """Start trials until the pool is full or there is a reason to stop."""
        while len(self.in_flight) < self.pool.size:
            self.stop_reason = self.why_stop()
            if self.stop_reason:
                return
            candidate = self.waiting or self.next()
            if candidate is None:
                if not self.in_flight:
                    self.stop_reason = self.why_nothing()
                return
            quote = self.objective.quote(candidate)
            self.decided = self.decided or self.rule(replace(quote, candidate=candidate))
            if self.decided:
                self.stop_reason = self.decided
                return
            if self.ledger.hold(self.next_number, quote.usd):
                self.waiting = None
                self.start(candidate, quote.usd)
            elif self.in_flight:
                self.waiting = candidate
                return
            elif not self.set_aside(candidate, quote.usd):
                self.stop_reason = "usd"
                return

    def why_stop(self) -> str:
        """A reason that needs no suggestion."""
        if self.decided:
            return self.decided
        budget = self.budget
        if budget.trials is not None and self.informative + len(self.in_flight) >= budget.trials:
            return "trials"
        if budget.seconds is not None and self.clock() >= budget.seconds:
            return "seconds"
        if self.barren >= GIVE_UP_AFTER * len(self.problem.domain.leaves):
            return "no_progress"
        return ""

    def why_nothing(self) -> str:
        """Why there is nothing to ask for."""
        if self.aside:
            return "usd"
        return "unavailable" if self.rests.offers or self.last_chance else "finished"

    def rule(self, quote: Quote) -> str:
        """What the study's own rule says."""
        if self.stop is None:
            return ""
        return self.stop.why(self.problem, self.budget, tuple(self.observations), quote, self.belief())

    def belief(self) -> Belief | None:
        """What the optimizer believes now, if it says."""
        return self.optimizer.belief() if isinstance(self.optimizer, Believer) else None

    def hopeless(self, trial: Trial, partial: Mapping[str, float]) -> bool:
        judge = getattr(self.stop, "hopeless", None)
        return bool(judge and judge(trial, partial, tuple(self.observations)))

    def next(self) -> Candidate | None:
        """What was proposed, then what the optimizer asks for, once it was told of every proposal."""
        if self.queue:
            return self.queue.popleft()
        if self.in_flight and not self.ask_seconds:  # it was not asked yet, so these are proposals
            return None
        return self.ask() or self.ask_what_rests()

    def ask(self) -> Candidate | None:
        began = time.perf_counter()  # the processor clock costs more than a fast suggestion
        asked = self.optimizer.ask(1)
        if not asked:
            return None
        self.ask_seconds.append(time.perf_counter() - began)
        domain = self.problem.domain
        reason = None if domain.enumerable and asked[0].key in domain.index else domain.why_not(asked[0])
        if reason:
            name = type(self.optimizer).__name__
            raise OptimizerError(f"{name} asked for {asked[0]!r}, which is outside the domain: {reason}")
        return asked[0]

    def ask_what_rests(self) -> Candidate | None:
        """Nothing else is left to ask: wait, then ask the offer that has rested longest, once."""
        offer, wake = self.rests.longest, getattr(self.optimizer, "wake", None)
        if self.in_flight or self.last_chance or self.aside or offer is None or wake is None:
            return None
        if self.budget.seconds is not None and self.clock() + self.wait_s >= self.budget.seconds:
            return None
        log.info("every offer that is left rests; waiting %g s for %s", self.wait_s, "/".join(offer))
        self.pool.sleep(self.wait_s)
        self.last_chance = offer
        wake([offer])
        return self.ask()

    def set_aside(self, candidate: Candidate, quote_usd: float) -> bool:
        """Too dear for what is left, and nothing in flight will free any: ask for another. False: there is no point in it."""
        again = candidate in self.aside and not getattr(self.optimizer, "repeats", False)
        self.aside[candidate] = quote_usd
        self.set_aside_in_a_row += 1
        left = (self.budget.usd or 0.0) - self.ledger.spent_usd
        least = self.least_quote
        known = f"the cheapest trial would hold {least:.4g}" if least else "nothing that was asked for is that cheap"
        self.stop_note = f"{left:.4g} USD are left, and {known}"
        self.waiting = None
        if again or self.set_aside_in_a_row >= MOST_ASIDE or least > left:
            return False
        too_dear = Result(Status.UNAVAILABLE, reason=TOO_DEAR)
        self.optimizer.tell(
            [Observation(Trial(self.next_number, candidate), too_dear, None)]
        )  # not a trial: not recorded
        return True

    @functools.cached_property
    def least_quote(self) -> float:
        """Of all listed candidates; 0 where they cannot be listed."""
        domain = self.problem.domain
        return min(self.objective.quote(c).usd for c in domain.candidates) if domain.enumerable else 0.0

    def start(self, candidate: Candidate, quote_usd: float) -> None:
        number = self.next_number
        trial = Trial(number, candidate, self.trial_seed(number), self.replicates[candidate])
        self.next_number += 1
        self.aside.clear()
        self.set_aside_in_a_row = 0
        self.stop_note = ""
        if self.record is not None:
            self.record.start(trial, quote_usd)
        deadline = None
        if self.budget.seconds is not None:
            deadline = self.budget.seconds - self.clock_before + self.clock_began
        run = TrialRun(self.cancel, deadline, functools.partial(self.hopeless, trial))
        self.in_flight[number] = (trial, quote_usd)
        try:
            self.pool.submit(self.objective, trial, run)
        except BaseException:  # e.g. Ctrl-C in a pool that evaluates here and now: it will not hand this trial over
            self.taken.append(Outcome(trial))
            raise

    def trial_seed(self, number: int) -> int:
        """A function of the study's seed and the trial's number; drawn in blocks, because one by one is slow."""
        block = number // _SEED_BLOCK
        if self.seeds[0] != block:
            sequence = np.random.SeedSequence((self.problem.seed, block))
            self.seeds = (block, sequence.generate_state(_SEED_BLOCK).tolist())
        return self.seeds[1][number % _SEED_BLOCK]

    # ── ending trials ──

    def settle(self, outcome: Outcome) -> None:
        """Record, settle the money, tell. A bug is raised after that."""
        trial, quote_usd = self.in_flight[outcome.trial.number]
        result, error, score = outcome.result, outcome.error, None
        if result is not None:
            try:
                score = self.problem.goal.score(result)
            except Exception as unscored:  # e.g. an ok result without the metric: a bug like any other
                result, error = None, unscored
        if result is None:
            result = _lost(outcome, quote_usd, error)
        self.finish(trial, result)
        self.taken.popleft()
        observation = Observation(trial, result, score)
        self.tell(observation)
        if self.last_chance is not None and trial.candidate.arm == self.last_chance:
            self.last_chance = None if result.status is not Status.UNAVAILABLE else self.last_chance
        if error is not None:
            error.add_note(
                f"raised while trial {trial.number} ({trial.candidate!r}) was evaluated; the trial is recorded as lost, "
                f"its hold settled at {quote_usd:g} USD"
            )
            raise error
        if self.on_trial is not None:
            self.on_trial(observation)

    def finish(self, trial: Trial, result: Result) -> None:
        """Durable when this returns. Idempotent: a finished trial stays as it is."""
        if self.record is not None:
            self.record.finish(trial, result, self.clock())
        self.ledger.settle(trial.number, result.spent_usd, result.hosts_usd)
        self.in_flight.pop(trial.number, None)

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

    # ── leaving ──

    def abandon(self, cause: BaseException) -> None:
        """Something was raised: let what is in flight end, record it, and leave. No measurement is lost."""
        self.cancel.set()
        try:
            while self.in_flight:
                while self.taken:
                    outcome = self.taken.popleft()
                    if outcome.trial.number in self.in_flight:
                        self.keep(outcome, cause)
                if self.in_flight and isinstance(self.pool, Serial):  # its evaluation was this very thread, and is over
                    self.taken.extend(Outcome(trial) for trial, _ in self.in_flight.values())
                elif self.in_flight:
                    self.taken.extend(self.pool.wait())
        except KeyboardInterrupt:  # a second Ctrl-C: leave at once; a resumed run finds the rest LOST
            cause.add_note(f"{len(self.in_flight)} trials were left in flight; resuming settles them as lost")

    def keep(self, outcome: Outcome, cause: BaseException) -> None:
        """Record one outcome while leaving; where the store refuses, the result goes into the log and the traceback."""
        trial, quote_usd = self.in_flight.pop(outcome.trial.number)
        result = outcome.result
        if result is None and not outcome.error and not outcome.lost:
            result = Result(Status.INTERRUPTED, spent_usd=quote_usd, reason="stopped", error="the study was stopped")
        if result is None:
            result = _lost(outcome, quote_usd, outcome.error)
        try:
            self.finish(trial, result)
        except Exception as refused:
            text = masked_json(result.to_dict())
            log.error("trial %d could not be recorded (%s); its result: %s", trial.number, refused, text)
            cause.add_note(f"trial {trial.number} ({trial.candidate!r}) could not be recorded; its result: {text}")


def _lost(outcome: Outcome, quote_usd: float, error: BaseException | None) -> Result:
    reason = "bug" if error else "worker_lost"
    text = f"{type(error).__name__}: {error}" if error else outcome.lost
    return Result(Status.LOST, spent_usd=quote_usd, reason=reason, error=text)
