"""The three seams: an optimizer proposes, an objective evaluates, a pool decides where evaluations run.

Anything with these methods fits; nothing needs to inherit from anything. `cloudbandit.base.BaseOptimizer` saves
an optimizer's author the bookkeeping.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from cloudbandit.goal import Goal
from cloudbandit.space import Domain
from cloudbandit.trial import Candidate, Observation, Result, Trial


def no_facts(candidate: Candidate) -> Mapping[str, float]:
    """Nothing is known about any candidate before it is tried."""
    return {}


@dataclass(frozen=True, slots=True)
class Problem:
    """What an optimizer is given.

    Args:
        domain: what may be asked.
        goal: what is good.
        seed: determines every draw the optimizer makes.
        facts: what is known of a candidate free of charge (``price_usd_per_h``, ``gpus``, …).
        history: earlier studies' observations by name, e.g. of other workloads; they use up no budget.
    """

    domain: Domain
    goal: Goal
    seed: int = 0
    facts: Callable[[Candidate], Mapping[str, float]] = no_facts
    history: Mapping[str, Sequence[Observation]] = field(default_factory=dict)


class Optimizer(Protocol):
    """Two verbs. What an implementation may also declare, with the value assumed otherwise:

    ``repeats = False``: may ask for the same config twice in a finite space.
    ``exact_resume = True``: a fresh instance told the history asks exactly what this one would.
    ``anytime = True``: the first n suggestions do not depend on the budget.
    """

    def ask(self, n: int = 1) -> list[Candidate]:
        """At most ``n`` candidates; ``[]`` with trials pending means wait, with none pending: finished."""

    def tell(self, observations: Sequence[Observation]) -> None: ...


Factory = Callable[[Problem], Optimizer]


@dataclass(frozen=True, slots=True)
class Quote:
    """The worst case of one evaluation, known before spending anything."""

    usd: float = 0.0
    seconds: float = 0.0


class Run(Protocol):
    """How an evaluation talks to the study that pays for it."""

    @property
    def cancelled(self) -> bool:
        """The study wants its hosts back: stop soon, return what is known."""

    @property
    def deadline(self) -> float | None:
        """On the pool's clock, in seconds; None: no limit."""

    def report(self, partial: Mapping[str, float]) -> bool:
        """Metrics so far; returns whether to go on."""

    def log(self, message: str) -> None: ...


class Objective(Protocol):
    """Turns a trial into a result. ``facts(candidate)`` may be defined too; see `Problem`."""

    def quote(self, candidate: Candidate) -> Quote: ...

    def evaluate(self, trial: Trial, run: Run) -> Result:
        """Raises only for bugs, never for a bad config: that is a result with a status."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pool hands back: a result, or the exception a bug raised. ``lost`` marks a trial that died with its
    worker: neither."""

    trial: Trial
    result: Result | None = None
    error: BaseException | None = None
    lost: str = ""


@runtime_checkable
class Pool(Protocol):
    """Where evaluations run. ``size`` evaluations may be in flight."""

    @property
    def size(self) -> int: ...

    def submit(self, objective: Objective, trial: Trial, run: Run) -> None: ...

    def wait(self) -> list[Outcome]:
        """Block until at least one evaluation is done; outcomes in the order they ended."""

    def clock(self) -> float:
        """Seconds since the pool was made: wall clock, or virtual."""

    def close(self) -> None:
        """Idempotent."""
