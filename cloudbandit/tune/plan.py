"""The plan of a tuning study, as one optimizer: the default first, then a search, then the best few and the default in turns.

Successive rejects (Audibert, Bubeck & Munos, COLT 2010) among the finalists: after each phase the worst is measured no more. The
default is never rejected, because the gain is counted against it. All is a function of what was told, so a study that was killed
goes on where it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.protocols import Factory, Problem
from cloudbandit.core.trial import Candidate, Observation
from cloudbandit.tune.judge import best_few, rank

FINALISTS, REPEATS = 3, 8
_SEARCH_SHARE = 0.7  # of a budget in USD or seconds; the rest is for repeats


class Plan(BaseOptimizer):
    """See the module's text.

    Args:
        inner: what searches.
        default: measured first, and again beside the finalists; None: there is none.
        trials: informative trials of the search, the default's among them; None: as many as money and time allow.
        usd, seconds: of the whole study; the search ends at 70 % of either.
        repeats: how often the winner and the default are measured in the end; 0: no finals.
        finalists: so many of the search's best.
    """

    repeats = True

    def __init__(
        self,
        problem: Problem,
        inner: Factory,
        default: Candidate | None = None,
        *,
        trials: int | None = None,
        usd: float | None = None,
        seconds: float | None = None,
        repeats: int = REPEATS,
        finalists: int = FINALISTS,
    ) -> None:
        super().__init__(problem)
        self.inner = inner(problem)
        self.exact_resume = getattr(self.inner, "exact_resume", True)
        self._default, self._trials, self._repeats, self._finalists = default, trials, repeats, finalists
        self._usd = None if usd is None else _SEARCH_SHARE * usd
        self._seconds = None if seconds is None else _SEARCH_SHARE * seconds
        self._searched: int | None = None  # so many of the observations, once the search is over
        self._spent = [0.0, 0.0]
        self._dry = False

    # ── the search ──

    def _suggest(self) -> Candidate | None:
        if self._searched is None and not self._dry:
            if self._default is not None and not self.observations and self._default not in self._pending:
                return self._default
            wanted = math.inf if self._trials is None else self._trials
            if len(self.observations) + self._pending.total() < wanted:
                asked = self.inner.ask(1)
                if asked or self._pending.total():
                    return asked[0] if asked else None
                self._dry = True
        if self._pending.total() and self._searched is None:
            return None  # the search is over when its last trial is
        if self._searched is None:
            self._searched = len(self.observations)
        return self._next_final()

    def _learn(self, observation: Observation) -> None:
        if self._searched is not None:
            return
        self.inner.tell([observation])
        self._spent[0] += observation.result.spent_usd + observation.result.hosts_usd
        self._spent[1] += observation.result.seconds
        enough = self._trials is not None and len(self.observations) >= self._trials
        for limit, spent in zip((self._usd, self._seconds), self._spent, strict=True):
            enough = enough or (limit is not None and spent >= limit)
        if enough:
            self._searched = len(self.observations)

    def _give_back(self, observation: Observation) -> None:
        if self._searched is None:
            self.inner.tell([observation])

    # ── the finals ──

    @property
    def search(self) -> list[Observation]:
        """The informative trials of the search."""
        return self.observations[: self._searched]

    @property
    def finals(self) -> list[Observation]:
        """The informative trials after it."""
        return [] if self._searched is None else self.observations[self._searched :]

    def challengers(self) -> list[Candidate]:
        """The best of the search, the default apart."""
        return best_few(self.search, self.problem.goal, self._finalists, self._default)

    def contenders(self) -> tuple[list[Candidate], bool]:
        """Who is measured now, the default last; and whether all is decided."""
        challengers = self.challengers()
        if not self._repeats or not challengers:
            return [], True
        always = [self._default] if self._default is not None else []
        taken = {c: [o for o in self.finals if o.candidate == c] for c in [*challengers, *always]}
        for enough in rejects(len(challengers), self._repeats):
            if min(len(taken[c]) for c in challengers) < enough:
                return [*challengers, *always], False
            worst = max(challengers, key=lambda c: (rank(taken[c][:enough], self.problem.goal), c.key))
            challengers.remove(worst)
        least = min(len(taken[c]) for c in [*challengers, *always])
        return [*challengers, *always], least >= self._repeats

    def _next_final(self) -> Candidate | None:
        contenders, decided = self.contenders()
        if decided:
            return None
        told = {c: sum(o.candidate == c for o in self.finals) for c in contenders}
        had = {c: told[c] + self._pending[c] for c in contenders}
        least = min(had.values())
        if min(told.values()) < least:
            return None  # a round is over before the next begins
        turned = contenders[least % len(contenders) :] + contenders[: least % len(contenders)]
        open_ = [c for c in turned if had[c] == least and not self.rests(c)]
        if least >= self._repeats or not open_:
            return None
        return open_[0]


def rejects(challengers: int, repeats: int) -> Sequence[int]:
    """After how many measurements of each a challenger goes, one number per rejection: ⌈2R / (K + 1 − k)⌉, so that the last two
    have R each (Audibert et al. 2010, with the budget for which that is so)."""
    return [math.ceil(2 * repeats / (challengers + 1 - k)) for k in range(1, challengers)]
