"""The bookkeeping every optimizer needs, so that an author writes one method.

Two verbs are public and keep the laws; what an author fills in are the hooks below them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Literal

import numpy as np

from cloudbandit.core.errors import UsageError
from cloudbandit.core.goal import targets_of
from cloudbandit.core.protocols import Problem
from cloudbandit.core.rest import Offers, Rests
from cloudbandit.core.targets import Targets
from cloudbandit.core.trial import Candidate, Observation, Status


class BaseOptimizer(ABC):
    """Write `_suggest`; optionally `_learn`. A method that aims at one objective says ``objectives = "one"``, and refuses a
    goal with several before the first trial.

    To obey the seed and resume laws, ``_suggest`` must be a function of ``self.problem``, ``self.observations`` (the
    informative tells, in order), ``self.targets`` (what the goal makes of them), ``self.turn`` and ``self.pending`` alone. Draw
    only from ``self.rng()``.
    """

    repeats: bool = False
    exact_resume: bool = True
    anytime: bool = True
    objectives: Literal["one", "several"] = "several"

    def __init__(self, problem: Problem) -> None:
        if self.objectives == "one" and len(problem.goal.metrics) > 1:
            raise UsageError(
                f"{type(self).__name__} aims at one objective, and the goal has {', '.join(problem.goal.metrics)}; "
                "cure: one of them, with SLOs on the others, or an optimizer that searches a front"
            )
        self.problem = problem
        self.domain = problem.domain
        self.observations: list[Observation] = []
        self._pending: Counter[Candidate] = Counter()
        self._tells = 0
        self._rests = Rests()
        self._shunned: set[Candidate] = set()  # UNAVAILABLE when last asked for
        self._targets: Targets | None = None
        self._taken: np.ndarray[Any, Any] | None = None

    # ── the two verbs ──

    def ask(self, n: int = 1) -> list[Candidate]:
        """See `cloudbandit.core.protocols.Optimizer.ask`."""
        if n < 1:
            raise UsageError(f"ask takes n ≥ 1, got {n}")
        asked: list[Candidate] = []
        while len(asked) < n:
            candidate = self._suggest()
            if candidate is None:
                break
            self._pending[candidate] += 1
            self._note(candidate, True)
            asked.append(candidate)
        return asked

    def tell(self, observations: Observation | Sequence[Observation]) -> None:
        """One observation, or several in order. Also takes what was never asked here: that is how a study resumes."""
        for o in (observations,) if isinstance(observations, Observation) else observations:
            self._tells += 1
            if self._pending[o.candidate] > 1:
                self._pending[o.candidate] -= 1
            else:
                del self._pending[o.candidate]
            unavailable = o.result.status is Status.UNAVAILABLE
            self._rests.tell(o)
            (self._shunned.add if unavailable else self._shunned.discard)(o.candidate)
            if o.score is None:
                self._note(o.candidate, o.candidate in self._pending)
                self._give_back(o)
            else:
                self._note(o.candidate, True)
                self.observations.append(o)
                self._learn(o)

    def wake(self, offers: Collection[Offers]) -> None:
        """Ask for these offers although they rest: the study calls it when everything rests and it has waited."""
        self._rests.wake(offers)

    # ── hooks ──

    @abstractmethod
    def _suggest(self) -> Candidate | None:
        """The next candidate, or None: nothing to ask now."""

    def _learn(self, observation: Observation) -> None:  # noqa: B027 - an optional hook
        """An informative outcome; already in ``self.observations``."""

    def _give_back(self, observation: Observation) -> None:  # noqa: B027 - an optional hook
        """An uninformative outcome: the candidate may be asked again."""

    # ── what hooks may use ──

    @property
    def turn(self) -> int:
        """How many suggestions came before this one: told ones and pending ones."""
        return self._tells + self._pending.total()

    @property
    def pending(self) -> list[Candidate]:
        """Asked and not told yet, in an order that does not depend on the order of asking."""
        return sorted(self._pending.elements(), key=lambda c: c.key)

    @property
    def resting(self) -> frozenset[str]:
        """Top-level arms all of whose offers rest (`cloudbandit.core.rest`)."""
        return self._rests.arms(self.domain.leaves)

    def rests(self, candidate: Candidate) -> bool:
        """Whether the candidate's offer rests."""
        return candidate.arm in self._rests.offers

    def rng(self, *key: int) -> np.random.Generator:
        """A generator that depends on the seed and on ``key`` (by default on the turn)."""
        return np.random.default_rng((self.problem.seed, *(key or (self.turn,))))

    @property
    def targets(self) -> Targets:
        """What there is to learn from ``self.observations``, row by row in that order; made once per tell."""
        if self._targets is None or len(self._targets) < len(self.observations):
            self._targets = targets_of(self.problem.goal, self.observations)
        return self._targets

    @property
    def free(self) -> np.ndarray[Any, Any]:
        """Positions in ``domain.candidates`` that are neither observed nor pending, on offers that do not rest. A config that was
        UNAVAILABLE comes back only when no other is left: one that is never to be had must not put its whole offer to rest."""
        if self._taken is None:
            self._taken = np.zeros(len(self.domain), dtype=bool)
            for candidate in (*(o.candidate for o in self.observations), *self._pending):
                self._note(candidate, True)
        open_ = ~self._taken
        resting = self._rests.offers
        if resting:
            open_ &= np.array([c.arm not in resting for c in self.domain.candidates], dtype=bool)
        found = np.flatnonzero(open_)
        if self._shunned:
            had = [i for i in found.tolist() if self.domain.candidates[i] not in self._shunned]
            return np.array(had, dtype=found.dtype) if had else found
        return found

    def _note(self, candidate: Candidate, taken: bool) -> None:
        if self._taken is not None:
            position = self.domain.index.get(candidate.key)
            if position is not None:
                was_seen = not taken and any(o.candidate == candidate for o in self.observations)
                self._taken[position] = taken or was_seen
