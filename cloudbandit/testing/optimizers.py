"""The laws of an optimizer, as a test class to inherit from.

    from cloudbandit.testing import OptimizerLaws

    class TestMine(OptimizerLaws):
        def make(self, problem):
            return MyOptimizer(problem)

pytest collects one test per law. What the optimizer declares (``repeats``, ``exact_resume``) decides how strictly it is
held to them. One that does not refuse a goal with several objectives when it is made is held to them on two as well.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections import Counter

import numpy as np

from cloudbandit.core.errors import UsageError
from cloudbandit.core.protocols import Optimizer, Problem
from cloudbandit.core.trial import Candidate, Observation, Result, Status
from cloudbandit.testing.problems import TWO, candidates, drive, listed_problem, observe, sampled_problem, toy_value

_UNAVAILABLE = Result(Status.UNAVAILABLE, reason="no_capacity")


class OptimizerLaws:
    """See the module's text.

    Attributes:
        trials: how many trials each test drives; fewer where a suggestion is slow.
        listed_only: the optimizer needs a domain that can be enumerated.
        uses_budget: asks for no more than ``trials`` in all, e.g. CloudBandit.
    """

    trials: int = 16
    listed_only: bool = False

    @abstractmethod
    def make(self, problem: Problem) -> Optimizer:
        """A fresh optimizer that may use up ``self.trials`` informative trials."""

    def problems(self, seed: int = 0) -> list[Problem]:
        one = [listed_problem(seed)] if self.listed_only else [listed_problem(seed), sampled_problem(seed)]
        return [*one, listed_problem(seed, TWO)] if self._searches_a_front() else one

    def _searches_a_front(self) -> bool:
        """Whether it takes two objectives; one that does not says so before the first trial."""
        try:
            self.make(listed_problem(0, TWO))
        except UsageError:
            return False
        return True

    # ── space ──

    def test_asks_inside_the_space(self) -> None:
        for problem in self.problems():
            told = drive(self.make(problem), problem, self.trials)
            assert told, "nothing was asked"
            for candidate in candidates(told):
                assert problem.domain.why_not(candidate) is None

    def test_never_asks_the_same_twice(self) -> None:
        for problem in self.problems():
            optimizer = self.make(problem)
            if not getattr(optimizer, "repeats", False):
                told = candidates(drive(optimizer, problem, self.trials))
                assert len(set(told)) == len(told)

    def test_a_batch_holds_different_candidates(self) -> None:
        for problem in self.problems():
            optimizer = self.make(problem)
            if not getattr(optimizer, "repeats", False):
                asked = [*optimizer.ask(4), *optimizer.ask(1)]
                assert asked
                assert len(set(asked)) == len(asked)

    # ── seed ──

    def test_the_seed_determines_everything(self) -> None:
        for problem in self.problems(7):
            first, second = (candidates(drive(self.make(problem), problem, self.trials)) for _ in range(2))
            assert first == second

    def test_no_global_random_state_is_touched(self) -> None:
        problem = self.problems()[0]
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002 - this very state must stay as it is
        before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002
        drive(self.make(problem), problem, min(6, self.trials))
        after = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002
        assert before == after

    # ── several objectives ──

    def test_two_objectives_where_nothing_can_be_listed(self) -> None:
        if self.listed_only or not self._searches_a_front():
            return
        problem = sampled_problem(5, TWO)
        first, second = (candidates(drive(self.make(problem), problem, 5)) for _ in range(2))
        assert first == second
        assert all(problem.domain.why_not(candidate) is None for candidate in first)

    # ── resume ──

    def test_resume(self) -> None:
        """Exact: at every cut, a fresh optimizer told the history asks what the uninterrupted one asked, to the end.
        Otherwise: at three cuts, it goes on without a duplicate and sees every trial told back."""
        for problem in self.problems(3):
            trials = self.trials if problem.domain.enumerable else min(8, self.trials)
            whole = drive(self.make(problem), problem, trials, _now_and_then_unavailable)
            exact = getattr(self.make(problem), "exact_resume", True)
            cuts = range(len(whole)) if exact else sorted({1, len(whole) // 2, len(whole) - 1})
            for cut in cuts:
                self._resume_at(cut, problem, whole, exact, trials)

    def _resume_at(self, cut: int, problem: Problem, whole: list[Observation], exact: bool, trials: int) -> None:
        fresh = self.make(problem)
        fresh.tell(whole[:cut])
        rest = trials - sum(o.score is not None for o in whole[:cut])
        if exact:
            asked = fresh.ask(1)
            assert asked == [whole[cut].candidate], f"cut after {cut}: asked {asked}, not {whole[cut].candidate}"
            fresh = self.make(problem)
            fresh.tell(whole[:cut])
        more = drive(fresh, problem, rest, _now_and_then_unavailable, start=cut)
        if exact:
            assert candidates(more) == candidates(whole[cut:])
        elif not getattr(fresh, "repeats", False):
            informative = [o.candidate for o in (*whole[:cut], *more) if o.score is not None]
            assert len(set(informative)) == len(informative)

    # ── patience ──

    def test_patience(self) -> None:
        """In a finite space everything can be pending at once: then [] means wait; told all of it, [] means finished."""
        for problem in self.problems():
            if problem.domain.enumerable and not getattr(self.make(problem), "repeats", False):
                self._be_patient(problem)

    def _be_patient(self, problem: Problem) -> None:
        optimizer = self.make(problem)
        told: list[Observation] = []
        for _ in range(len(problem.domain) + self.trials):
            asked = optimizer.ask(len(problem.domain) + 1)
            if not asked:
                break
            assert optimizer.ask(len(problem.domain) + 1) == []
            batch = [observe(problem, c, len(told) + i) for i, c in enumerate(asked)]
            optimizer.tell(batch[::-1])
            told += batch
        assert optimizer.ask(1) == []
        assert len(set(candidates(told))) == len(told)

    # ── give-back ──

    def test_uninformative_outcomes_are_given_back(self) -> None:
        for problem in self.problems():
            seen: Counter[Candidate] = Counter()

            def once_lost(candidate: Candidate, number: int, seen: Counter[Candidate] = seen) -> Result:
                seen[candidate] += 1
                return Result(Status.LOST, reason="crash") if seen[candidate] == 1 else toy_value(candidate)

            told = drive(self.make(problem), problem, 3, once_lost)
            lost = [o for o in told if o.score is None]
            assert lost
            if problem.domain.enumerable:
                assert sum(o.score is not None for o in told) == 3, "what was lost may be asked again"

    def test_an_unavailable_arm_rests(self) -> None:
        def no_capacity_in_c(candidate: Candidate, number: int) -> Result:
            return _UNAVAILABLE if candidate.arm == ("c",) else toy_value(candidate)

        for problem in [p for p in self.problems() if p.domain.enumerable]:
            told = drive(self.make(problem), problem, min(8, self.trials), no_capacity_in_c)
            assert sum(o.score is None for o in told) <= 3
            assert any(o.score is not None for o in told)

    def test_when_every_arm_rests_it_is_finished(self) -> None:
        for problem in [p for p in self.problems() if p.domain.enumerable]:
            optimizer = self.make(problem)
            told = drive(optimizer, problem, 50, lambda candidate, number: _UNAVAILABLE)
            assert len(told) <= 9
            assert optimizer.ask(1) == []

    # ── bad luck ──

    def test_a_world_of_failures_ends_cleanly(self) -> None:
        for problem in self.problems():
            drive(
                self.make(problem), problem, self.trials, lambda c, n: Result(Status.FAILED, spent_usd=1.0, seconds=1.0)
            )

    def test_equal_values_end_cleanly(self) -> None:
        for problem in self.problems():
            drive(self.make(problem), problem, self.trials, lambda c, n: _both(1.0, 1.0))

    def test_a_metric_that_is_not_positive(self) -> None:
        for problem in self.problems():
            drive(self.make(problem), problem, self.trials, lambda c, n: _both(-n, -n))


def _both(cost: float, served: float) -> Result:
    return Result(metrics={"cost_usd": float(cost), "output_tok_per_s": float(served)})


def _now_and_then_unavailable(candidate: Candidate, number: int) -> Result:
    return _UNAVAILABLE if number % 5 == 3 else toy_value(candidate, number)
