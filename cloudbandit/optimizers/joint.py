"""``joint``: one exact Gaussian process over all arms, told what is known beforehand; expected improvement.

Facts are columns, so that arms teach one another as far as the evidence says (`columns`); covariances are hypotheses, flat or
hierarchical (`kernels`); so is whatever claims to predict a metric, be it the price, an estimate or other workloads (`claims`),
and all of them are weighed together by their marginal likelihood (`hypotheses`). SLOs and failures have models too (`outlook`).

The first trials follow what is claimed, each source in turn, with chance among near equals. Where nothing is claimed, they are
drawn at random. On a space that cannot be listed, candidates are drawn anew for each suggestion, and the neighbours of the most
promising are looked at too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.front import reference_behind
from cloudbandit.core.goal import best
from cloudbandit.core.protocols import Problem
from cloudbandit.core.stop import Belief
from cloudbandit.core.trial import Candidate, Observation
from cloudbandit.optimizers.acquisition import (
    expected_improvement,
    hypervolume_improvement,
    lower_confidence_bound,
)
from cloudbandit.optimizers.beliefs import believe
from cloudbandit.optimizers.claims import Source
from cloudbandit.optimizers.columns import Columns
from cloudbandit.optimizers.outlook import Field, JointModel, Outlook
from cloudbandit.optimizers.random_search import draw_nominal, draw_unseen
from cloudbandit.optimizers.sampling import neighbours, sample_candidates

Array = np.ndarray[Any, np.dtype[np.float64]]
Positions = np.ndarray[Any, np.dtype[np.intp]]

_INITIAL = 3
_LED = 1
"""Trials that follow what is claimed before the model is asked."""
_NEAR = 0.05  # in deviations of what is claimed: closer ones are equals, among which chance decides
_SAMPLED = 1_000  # what stands for a space that is not listed when kernels are drawn
_ROUNDS, _STARTS = 2, 4
_KAPPA = 2.0
_WORTH = 0.02  # an improvement by less is none, on a log scale: a plateau's neighbours are no promise
_UNDERFLOW = 1e-290


class Joint(BaseOptimizer):
    """See the module's text.

    Args:
        initial: random trials before the model is used where nothing is claimed beforehand, by default 3.
    """

    def __init__(self, problem: Problem, *, initial: int = _INITIAL) -> None:
        super().__init__(problem)
        self._initial = initial
        self._listed = self.domain.enumerable
        columns = Columns(self.domain if problem.whole is None else problem.whole, problem.facts)
        self._model = JointModel(problem, columns, len(self.domain) if self._listed else _SAMPLED)
        self._field: Field | None = None
        self._again: Candidate | None = None  # what to measure once more, rather than anything new

    def _learn(self, observation: Observation) -> None:
        self._model.learn(observation)

    def listen(self, observation: Observation) -> None:
        """An informative trial in another part of the domain that this one is a part of (`Problem.whole`)."""
        self._model.learn(observation)

    def _suggest(self) -> Candidate | None:
        if not self._listed:
            return self._suggest_sampled()
        free = self.free
        if not len(free):
            return None
        return self._choose(self._whole, free) or draw_nominal(self, free)

    def _suggest_sampled(self) -> Candidate | None:
        fresh = self._unseen(self.domain.sample(self.rng(), 300)) if not self.observations else sample_candidates(self)
        if not fresh:
            return draw_unseen(self)
        found: list[tuple[float, Candidate]] = []
        for step in range(_ROUNDS + 1):
            field = self._model.field(fresh)
            value = self._value(field, np.arange(len(fresh)))
            if value is None:
                return draw_unseen(self)
            order = np.argsort(-value, kind="stable")[:_STARTS]
            found = sorted([*found, *((-float(value[i]), fresh[i]) for i in order.tolist())], key=lambda pair: pair[0])[
                :_STARTS
            ]
            near = neighbours(self.domain, [c for _, c in found], self.rng(self.turn, 20 + step), 0.2 / (1 + step))
            fresh = self._unseen(near)
            if not fresh or self._knows_too_little():
                break
        return found[0][1]

    def belief(self) -> Belief | None:
        """See `cloudbandit.core.stop.Believer`; None until something served and the model is asked. Of a space that is not
        listed, about what was tried and what would be looked at next."""
        incumbent = best(self.observations)
        if incumbent is None or self._knows_too_little():
            return None
        if self._listed:
            field = self._whole
        else:
            field = self._model.field(
                [*dict.fromkeys(o.candidate for o in self.observations), *sample_candidates(self)]
            )
        return believe(self._model, field, self.observations, incumbent.candidate, self.rng(self.turn, 30))

    @property
    def _whole(self) -> Field:
        """Of a domain that is listed."""
        if self._field is None:
            known, points = self._model.columns.known
            if known is not self.domain.candidates:
                known, points = self.domain.candidates, self._model.columns.encode(self.domain.candidates)
            self._field = Field(known, points, self._model.claims)
        return self._field

    def _unseen(self, drawn: Sequence[Candidate]) -> list[Candidate]:
        taken = {*(o.candidate for o in self.observations), *self._pending}
        return [c for c in dict.fromkeys(drawn) if c not in taken and not self.rests(c)]

    def _knows_too_little(self) -> bool:
        """Fewer trials, in flight or done, than are needed before the model is asked; or none that says anything."""
        valued = len(self._model.valued)
        return not valued or valued + self._pending.total() < self._wanted()

    def _wanted(self) -> int:
        return _LED if self._leaders() else self._initial

    def _leaders(self) -> list[Source]:
        """What the first trials follow."""
        return self._model.claims.sources(self._model.target_of(0, True))

    def _choose(self, field: Field, free: Positions) -> Candidate | None:
        """The next candidate, of the free ones or once more; None: chance decides."""
        value = self._value(field, free)
        if value is None:
            return None
        if not self._knows_too_little():
            return self._again or field.candidates[int(free[np.argmax(value)])]
        equals = np.flatnonzero(value >= value.max() - _NEAR)
        weights = self.domain.draw_weights[free[equals]]
        return field.candidates[int(free[self.rng().choice(equals, p=weights / weights.sum())])]

    def _value(self, field: Field, free: Positions) -> Array | None:
        """How good the free candidates of the field are to try, ``(len(free),)``; None: nobody knows."""
        self._again = None
        if self._knows_too_little():
            return self._value_claimed(field, free)
        outlook = self._model.outlook(field, free, self.pending)
        if self.problem.goal.slos and not outlook.known.feasible.any():
            return outlook.meets  # nothing feasible yet: look for that first
        tried = self._to_improve_on(outlook)
        if len(outlook.objectives) > 1:
            return _of_several(outlook, tried) * outlook.meets
        value = np.asarray(
            _of_one(outlook, float(tried.min()) - (_WORTH if outlook.known.logged else 0.0)) * outlook.meets
        )
        self._again = self._worth_repeating(outlook, float(value.max()))
        return value

    def _worth_repeating(self, outlook: Outlook, gain: float) -> Candidate | None:
        """The incumbent, where trials are known to be noisy and measuring it once more is expected to improve the answer by more
        than ``gain``, what the best new trial is: it may turn out not to be the best."""
        rows = outlook.rows[outlook.known.feasible[outlook.rows]]
        noise = outlook.known.noise
        if not self._listed or len(rows) < 2 or not any(noise[i] for i in rows.tolist()):
            return None
        self.repeats = True
        mean = outlook.tried[outlook.known.feasible[outlook.rows], 0]
        first = int(np.argmin(mean))
        candidate = self._model.told[int(rows[first])].candidate
        others = [m for m, i in zip(mean, rows.tolist(), strict=True) if self._model.told[i].candidate != candidate]
        if (
            not others
            or candidate in self._pending
            or candidate.arm[0] not in self.domain.arms
            or self.rests(candidate)
        ):
            return None
        variance = float(outlook.tried_sd[outlook.known.feasible[outlook.rows]][first]) ** 2
        error = noise[int(rows[first])] * float(outlook.known.objectives[0].var())
        moved = variance / math.sqrt(variance + error)  # by how much the mean would move
        gap = (min(others) - mean[first]) / moved
        density = math.exp(-0.5 * gap * gap) / math.sqrt(2.0 * math.pi)
        again = moved * (density - gap * 0.5 * math.erfc(gap / math.sqrt(2.0)))
        return candidate if again > gain else None

    def _to_improve_on(self, outlook: Outlook) -> Array:
        """The objectives of the feasible trials in the domain; of all such trials where it has none, or of all trials."""
        feasible = outlook.known.feasible[outlook.rows]
        here = np.array([self._model.told[i].arm in self.domain.arms for i in outlook.rows.tolist()])
        for some in (feasible & here, feasible):
            if some.any():
                return np.asarray(outlook.tried[some])
        return outlook.tried

    def _value_claimed(self, field: Field, free: Positions) -> Array | None:
        """By the source whose turn it is: how far below the rest it says a candidate is, in its own deviations, and how likely to
        meet the SLOs."""
        from scipy.special import log_ndtr

        sources = self._leaders()
        if not sources:
            nothing = len(self._model.valued) == 0 and len(self._model.told) >= self._initial
            return np.asarray(np.log(self._model.runs(field, free))) if nothing else None
        target = self._model.target_of(0, True)
        turn = (len(self._model.valued) + self._pending.total()) % len(sources)
        claimed = field.offsets(target)[2 * turn + 2, free]
        value: Array = np.log(self._model.runs(field, free)) - claimed / sources[turn].range
        for slot, slo in enumerate(self.problem.goal.slos, start=len(self.problem.goal.metrics)):
            sign = 1.0 if slo.at_most else -1.0
            target = self._model.target_of(slot, sign * slo.limit > 0)
            for source in self._model.claims.sources(target)[:1]:
                limit = sign * (math.log(sign * slo.limit) if target.log else slo.limit)
                spread = (limit - source.level - field.offsets(target)[2, free]) / source.spread
                value = value + log_ndtr(spread)
        return np.asarray(value)


def _of_one(outlook: Outlook, incumbent: float) -> Array:
    (p,) = outlook.objectives
    value = expected_improvement(p, incumbent)
    if value.max() > _UNDERFLOW:
        return value
    bound = lower_confidence_bound(p, _KAPPA)
    return np.asarray(bound - bound.min())


def _of_several(outlook: Outlook, values: Array) -> Array:
    reference = reference_behind(values)
    value = hypervolume_improvement([partial(expected_improvement, p) for p in outlook.objectives], values, reference)
    if value.max() > _UNDERFLOW:
        return value
    bounds = [lower_confidence_bound(p, _KAPPA) for p in outlook.objectives]
    return np.asarray(sum(b - b.min() for b in bounds))
