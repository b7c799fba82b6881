"""CloudBandit: the choice of a provider as best-arm identification, with an optimizer inside every arm.

Source: Lazuka et al., "Search-based Methods for Multi-Cloud Configuration", IEEE CLOUD 2022 (its abstract, and a study of it).
In round m each of the remaining K−m+1 arms is pulled: its inner optimizer makes b_m = b₁·η^(m−1) evaluations. Then the
arm whose best loss is worst goes. The total is B = b₁·Σ_{m=1..K} (K−m+1)·η^(m−1), which is 11·b₁ for K = 3, η = 2.

What the paper leaves open is decided here, and tested:

* Within a round arms take turns, in a seeded order, so that a budget cut short treats them alike.
* Every decision follows from what was told: a fresh instance told the history goes on as this one would.
* An uninformative outcome uses up nothing. An arm all of whose offers rest is passed over, and stays in the race with what it
  has shown.
* An arm that ran dry (every config observed, or its optimizer finished) keeps its best loss and stays in the race.
* What the schedule leaves of a budget (in trials, USD or seconds) is used: after it, arms are pulled one at a time, the dropped
  ones first and of those the best first, each by as much as the last arm was, until nothing is left to spend or to try.
* A bandit told the history of a smaller budget goes on as one of its own budget would: evaluations beyond an arm's pull count for
  its next one.
* An inner optimizer that listens (``listen``) learns from the other arms' trials too: one model may serve all arms.
* Scores are compared whole: feasible before SLO-violating before failed. Of equal arms, the later one goes.
* With several objectives the arm goes whose trials widen the common front least: by the hypervolume that would be missing without
  them, on the log scale where an objective is positive, behind which lies what is a little worse than the worst seen. Of arms
  that widen it equally little, e.g. not at all, the one whose own front is the least goes. An arm where nothing is feasible
  goes before all of them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.errors import BudgetError
from cloudbandit.core.front import hypervolume, reference_behind
from cloudbandit.core.goal import targets_of
from cloudbandit.core.protocols import Factory, Optimizer, Problem
from cloudbandit.core.rest import Offers, rouse
from cloudbandit.core.trial import Candidate, Observation, Score


@dataclass(frozen=True, slots=True)
class Round:
    """One round of the schedule: ``arms`` arms make ``pull`` evaluations each."""

    number: int
    arms: int
    pull: int

    @property
    def evaluations(self) -> int:
        return self.arms * self.pull


def rounds_for(arms: int, initial_pull: float, growth: float) -> tuple[Round, ...]:
    """The schedule of the paper; a fractional pull is rounded down, and is at least 1."""
    return tuple(
        Round(m, arms - m + 1, max(1, math.floor(initial_pull * growth ** (m - 1) + 1e-9))) for m in range(1, arms + 1)
    )


def _total(rounds: Sequence[Round]) -> int:
    return sum(r.evaluations for r in rounds)


@functools.cache
def rounds_within(arms: int, budget: int, growth: float) -> tuple[Round, ...]:
    """The largest schedule that ``budget`` evaluations pay for; what is left goes to the last arm standing.

    A budget below the smallest schedule gets the smallest one (and the bandit stops when the budget is used up).
    """
    smallest = rounds_for(arms, 1, growth)
    if budget <= _total(smallest):
        return smallest
    low, high = 1.0, float(budget)
    for _ in range(60):  # the total grows with the pull: bisection finds the largest pull that fits
        middle = (low + high) / 2
        if _total(rounds_for(arms, middle, growth)) <= budget:
            low = middle
        else:
            high = middle
    rounds = rounds_for(arms, low, growth)
    last = rounds[-1]
    return (*rounds[:-1], Round(last.number, 1, last.pull + budget - _total(rounds)))


class CloudBandit(BaseOptimizer):
    """See the module's text.

    Args:
        problem: its domain's top-level arms are the bandit's arms.
        inner: makes the optimizer of one arm; it is given the domain of that arm alone and a seed of its own.
        growth: η ≥ 1, by which the pull grows from round to round.
        initial_pull: b₁ ≥ 1, evaluations per arm in the first round.

    Raises:
        BudgetError: growth or initial_pull out of range.
    """

    anytime = False

    def __init__(self, problem: Problem, inner: Factory, *, growth: float = 2.0, initial_pull: int = 1) -> None:
        if not (math.isfinite(growth) and growth >= 1):
            raise BudgetError(f"growth must be a finite number ≥ 1, got {growth!r}")
        if initial_pull < 1:
            raise BudgetError(f"initial_pull must be ≥ 1, got {initial_pull!r}")
        super().__init__(problem)
        arms = problem.domain.names
        self._start(inner, rounds_for(len(arms), initial_pull, growth), None)

    @classmethod
    def for_budget(cls, problem: Problem, inner: Factory, budget: int, *, growth: float = 2.0) -> CloudBandit:
        """A bandit that plans with ``budget`` informative evaluations, for any number of arms K ≤ budget. It asks for fewer only
        where nothing is left to ask: every config was tried, or the inner optimizers have finished.

        Below one full schedule (11 for K = 3, η = 2) the smallest schedule is cut short.

        Raises:
            BudgetError: fewer evaluations than arms.
        """
        arms = len(problem.domain.names)
        if budget < arms:
            raise BudgetError(
                f"CloudBandit tries every arm once, and a budget of {budget} trials is fewer than the {arms} arms "
                f"({', '.join(problem.domain.names)}); cure: at least {arms} trials, "
                f"{_total(rounds_for(arms, 1, growth))} for one full schedule"
            )
        bandit = cls(problem, inner, growth=growth)
        bandit._rounds = rounds_within(arms, budget, growth)
        bandit._cap = budget
        return bandit

    def _start(self, inner: Factory, rounds: tuple[Round, ...], cap: int | None) -> None:
        names = self.domain.names
        self._rounds, self._cap, self._factory = rounds, cap, inner
        self._inner: dict[str, Optimizer] = {}
        self._sizes: dict[str, int | None] = {}
        for name in names:
            arm = self.domain.only(name)
            self._inner[name] = self._make(name)
            repeats = getattr(self._inner[name], "repeats", False)
            self._sizes[name] = len(arm) if arm.enumerable and not repeats else None
        self.exact_resume = all(getattr(o, "exact_resume", True) for o in self._inner.values())
        self.repeats = any(getattr(o, "repeats", False) for o in self._inner.values())
        self._round = 0
        self._order = self._shuffled()
        self._active = list(names)
        self._field = list(names)  # the arms that are pulled in this round: those in the race, after it one
        self._visits = dict.fromkeys(names, 0)  # pulls after the schedule
        self._told: dict[str, list[Observation]] = {name: [] for name in names}
        self._done = dict.fromkeys(names, 0)  # informative tells in this round
        self._used = 0
        self._best: dict[str, Score] = {}
        self._counted: list[Observation] = []  # what `_best` is the best of
        self._seen: dict[str, set[Candidate]] = {name: set() for name in names}
        self._finished: set[str] = set()  # arms whose optimizer said it was finished
        self._waiting: dict[str, int] = dict.fromkeys(names, 0)  # pending per arm

    def _make(self, arm: str) -> Optimizer:
        """The arm's optimizer, knowing nothing yet."""
        seed = int(np.random.SeedSequence((self.problem.seed, self.domain.names.index(arm))).generate_state(1)[0])
        return self._factory(self.problem.within(self.domain.only(arm), seed))

    # ── read-only views ──

    def schedule(self) -> tuple[Round, ...]:
        """The whole schedule; print it before a run."""
        return self._rounds

    @property
    def round(self) -> int:
        """The current round, counted from 1; beyond the schedule's last one: what was left of the budget is being used."""
        return self._round + 1

    @property
    def active(self) -> tuple[str, ...]:
        """The arms still in the race."""
        return tuple(self._active)

    def wake(self, offers: Collection[Offers]) -> None:
        super().wake(offers)
        self._finished -= {offer[0] for offer in offers}  # it had nothing to ask for want of offers

    # ── asking ──

    def _suggest(self) -> Candidate | None:
        while True:
            if self._cap is not None and self._used + self._pending.total() >= self._cap:
                return None
            for arm in self._turns():
                rouse(self._inner[arm], self._rests, self.domain.only(arm))
                asked = self._inner[arm].ask(1)
                if asked:
                    self._waiting[arm] += 1
                    return asked[0]
                if not self._waiting[arm]:
                    self._finished.add(arm)
            if any(self._waiting.values()) or not self._advance():
                return None

    def _turns(self) -> list[str]:
        """The arms that have part of their pull left, the least advanced first."""
        rank = self._order
        ahead = {arm: self._done[arm] + self._waiting[arm] for arm in self._field}
        open_ = [arm for arm in self._field if ahead[arm] < self._pull and not self._out(arm)]
        return sorted(open_, key=lambda arm: (ahead[arm], rank[arm]))

    def _shuffled(self) -> dict[str, int]:
        order = self.rng(self._round, 1).permutation(len(self.domain.names))
        return {self.domain.names[i]: rank for rank, i in enumerate(order)}

    def _out(self, arm: str) -> bool:
        """Whether the arm cannot be pulled: dry, or resting."""
        return arm in self._finished or arm in self.resting or self._dry(arm)

    def _dry(self, arm: str) -> bool:
        """Every config was observed. Never so for an infinite arm, or an inner optimizer that repeats itself."""
        size = self._sizes[arm]
        return size is not None and len(self._seen[arm]) >= size

    # ── being told ──

    def _learn(self, observation: Observation) -> None:
        arm = observation.arm
        if arm not in self._inner:
            return
        self._waiting[arm] = max(0, self._waiting[arm] - 1)
        # An observation beyond what this round asks of the arm: either the others had finished early and a later round asked
        # for it, or it was made under another budget, and counts for the arm's next pull.
        while arm not in self._field or self._done[arm] >= self._pull:
            short = [a for a in self._field if self._done[a] < self._pull and not self._waiting[a] and not self._out(a)]
            ended = [a for a in short if self._has_finished(a)]
            self._finished.update(ended)
            if ended != short or not self._complete() or not self._advance():
                break
        self._inner[arm].tell([observation])
        for name, other in self._inner.items():
            listen = getattr(other, "listen", None)
            if name != arm and listen is not None:
                listen(observation)
        self._told[arm].append(observation)
        self._used += 1
        self._counted.append(observation)
        self._seen[arm].add(observation.candidate)
        self._done[arm] += 1
        score = observation.score
        assert score is not None
        self._best[arm] = min(self._best.get(arm, score), score)
        while self._complete() and self._advance():
            pass

    def _give_back(self, observation: Observation) -> None:
        arm = observation.arm
        if arm in self._inner:
            self._waiting[arm] = max(0, self._waiting[arm] - 1)
            self._inner[arm].tell([observation])
            self._told[arm].append(observation)

    def _has_finished(self, arm: str) -> bool:
        """Whether the arm's optimizer would ask for nothing more: found out on a copy, because asking leaves a trace."""
        copy = self._make(arm)
        copy.tell(self._told[arm])
        return not copy.ask(1)

    @property
    def _pull(self) -> int:
        return self._rounds[min(self._round, len(self._rounds) - 1)].pull

    def _complete(self) -> bool:
        """Every arm of the round made its pull; an arm that cannot be pulled waits for nothing but its pending."""
        return all(
            self._done[arm] >= self._pull or (self._out(arm) and not self._waiting[arm]) for arm in self._field
        ) and any(self._done[arm] >= self._pull for arm in self._field)

    def _advance(self) -> bool:
        """Drop the worst arm and begin the next round; after the schedule, choose the next arm. False: nothing is left to try."""
        if self._round + 1 >= len(self._rounds):
            return self._go_on()
        self._active.remove(max(self._active, key=self._badness()))
        self._begin(self._active)
        return True

    def _go_on(self) -> bool:
        if self._round + 1 == len(self._rounds):
            self._visits[self._active[0]] = 1
        open_ = [arm for arm in self.domain.names if not self._out(arm)]
        if not open_:
            return False
        badness = self._badness()
        chosen = min(open_, key=lambda arm: (self._visits[arm], badness(arm)))
        self._visits[chosen] += 1
        self._begin([chosen])
        return True

    def _begin(self, field: Sequence[str]) -> None:
        beyond = {arm: max(0, done - self._pull) for arm, done in self._done.items()}
        self._done = {arm: beyond[arm] if arm in self._field else self._done[arm] for arm in self._done}
        self._field = list(field)
        self._round += 1
        self._order = self._shuffled()

    def _badness(self) -> Callable[[str], tuple[bool, Score, int]]:
        """The order of arms, the best first."""
        position = {name: i for i, name in enumerate(self.domain.names)}
        none = Score(2, math.inf, ())
        shares = self._shares() if len(self.problem.goal.metrics) > 1 else {}

        def badness(arm: str) -> tuple[bool, Score, int]:
            score = self._best.get(arm, none)
            if arm in shares:  # something is feasible: several objectives are judged by the front, not in turn
                score = Score(0, 0.0, tuple(-share for share in shares[arm]))
            return arm not in self._best, score, position[arm]

        return badness

    def _shares(self) -> dict[str, tuple[float, float]]:
        """Per arm where something is feasible: the hypervolume only it adds to that of all arms, and its own."""
        targets = targets_of(self.problem.goal, self._counted)
        values = targets.served()
        if not len(values):
            return {}
        arms = np.array([o.arm for o in self._counted])[targets.feasible]
        reference = reference_behind(values)
        total = hypervolume(values, reference)
        return {
            arm: (total - hypervolume(values[arms != arm], reference), hypervolume(values[arms == arm], reference))
            for arm in self.domain.names
            if (arms == arm).any()
        }
