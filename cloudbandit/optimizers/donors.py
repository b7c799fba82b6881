"""Methods that learn from other workloads, and controls that keep claims honest.

All of them need `Problem.history`: name of a workload → observations of it. ``compare`` gives them every other workload of the
table, fully recorded: more than a user has on a first day, so their figures are upper limits, and are marked.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.errors import SpaceError, UsageError, need
from cloudbandit.core.goal import Goal, targets_of
from cloudbandit.core.protocols import Factory, Problem
from cloudbandit.core.trial import Candidate, Observation

Array = np.ndarray[Any, Any]


def donor_matrix(problem: Problem) -> Array:
    """log(value / the workload's best), one row per workload of the history, one column per candidate of the domain; NaN where
    a workload did not record it. Shape ``(workloads, n)``.

    Raises:
        UsageError: the history is empty, or has no value > 0 for any candidate here.
    """
    known = _matrices.get(id(problem.history))
    if known is None or known[0] is not problem.history:
        while len(_matrices) >= 4:
            del _matrices[next(iter(_matrices))]
        known = _matrices[id(problem.history)] = (problem.history, _by_key(problem.goal, problem.history))
    rows = [[values.get(c.key, np.nan) for c in problem.domain.candidates] for values in known[1].values()]
    matrix = np.array(rows, dtype=float).reshape(len(rows), len(problem.domain))
    usable = ~np.isnan(matrix).all(axis=1)
    if not usable.any():
        raise UsageError(
            "this optimizer learns from other workloads, and the problem's history has none that shares a config with it; "
            "cure: give Study(history={workload: observations}), or compare on a table with several workloads"
        )
    return np.asarray(matrix[usable])


_matrices: dict[int, tuple[Mapping[str, Sequence[Observation]], dict[str, dict[str, float]]]] = {}


def _by_key(goal: Goal, history: Mapping[str, Sequence[Observation]]) -> dict[str, dict[str, float]]:
    out = {}
    for name, observations in history.items():
        told = [o for o in observations if o.score is not None]
        values = dict(zip((o.candidate.key for o in told), targets_of(goal, told).losses.tolist(), strict=True))
        positive = {key: value for key, value in values.items() if value > 0}
        if positive:
            least = min(positive.values())
            out[name] = {key: float(np.log(value / least)) for key, value in positive.items()}
    return out


class _Ordered(BaseOptimizer):
    """Tries configs in a fixed order."""

    objectives = "one"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        if not problem.domain.enumerable:
            raise SpaceError(f"{type(self).__name__} needs a domain that can be enumerated; cure: gp or random-wor")
        rank = np.empty(len(problem.domain), dtype=int)
        rank[self._order()] = np.arange(len(problem.domain))
        self._rank = rank

    @abstractmethod
    def _order(self) -> Array:
        """Positions of all candidates, the first to try first."""

    def _suggest(self) -> Candidate | None:
        free = self.free
        return self.domain.candidates[int(free[np.argmin(self._rank[free])])] if len(free) else None


class PriceOrder(_Ordered):
    """Control ``price-order``: ascending list price, no learning; ties in the domain's order."""

    def _order(self) -> Array:
        prices = [self.problem.facts(c).get("price_usd_per_h", np.inf) for c in self.domain.candidates]
        if not np.isfinite(prices).any():
            raise UsageError(
                "price-order needs the fact price_usd_per_h; cure: [spent] or [facts] in the table's table.toml"
            )
        return np.argsort(prices, kind="stable")


class Portfolio(_Ordered):
    """Control ``portfolio``: the fixed sequence of configs that greedily minimises the other workloads' mean log regret.

    A config that a workload did not record counts as its worst value.
    """

    def _order(self) -> Array:
        matrix = donor_matrix(self.problem)
        worst = np.nanmax(matrix, axis=1, keepdims=True)
        matrix = np.where(np.isnan(matrix), worst, matrix)
        best = np.full(len(matrix), np.inf)
        order: list[int] = []
        left = np.ones(matrix.shape[1], dtype=bool)
        while left.any():
            gain = np.minimum(matrix, best[:, None]).mean(axis=0)
            gain[~left] = np.inf
            if order and gain.min() >= best.mean() - 1e-12:  # nothing improves any more: the rest by mean rank
                rest = np.flatnonzero(left)
                return np.array([*order, *rest[np.argsort(matrix.mean(axis=0)[rest], kind="stable")]])
            chosen = int(np.argmin(gain))
            order.append(chosen)
            left[chosen] = False
            best = np.minimum(best, matrix[:, chosen])
        return np.array(order)


class Oracle(_Ordered):
    """Control ``oracle``: knows the table; the best config first. Its history is the workload itself."""

    def _order(self) -> Array:
        (observations,) = self.problem.history.values()
        score = {o.candidate.key: o.score for o in observations if o.score is not None}
        keys = [(score[c.key], i) if c.key in score else None for i, c in enumerate(self.domain.candidates)]
        known = sorted(k for k in keys if k is not None)
        unknown = [i for i, k in enumerate(keys) if k is None]
        return np.array([*(i for _, i in known), *unknown])


class SingleArm(BaseOptimizer):
    """Control ``single-arm``: search only the arm that wins most of the other workloads."""

    objectives = "one"

    def __init__(self, problem: Problem, inner: Factory) -> None:
        super().__init__(problem)
        matrix = donor_matrix(problem)
        worst = np.nanmax(matrix) + 1.0
        winners = problem.domain.arm_index[np.where(np.isnan(matrix), worst, matrix).argmin(axis=1)]
        arm = problem.domain.names[int(np.bincount(winners, minlength=len(problem.domain.names)).argmax())]
        self._inner = inner(replace(problem, domain=problem.domain.only(arm)))
        self._arm = arm

    def _suggest(self) -> Candidate | None:
        asked = [] if self._arm in self.resting else self._inner.ask(1)
        return asked[0] if asked else None

    def _learn(self, observation: Observation) -> None:
        if observation.arm == self._arm:
            self._inner.tell([observation])

    def _give_back(self, observation: Observation) -> None:
        self._learn(observation)


class LinearPredictor(_Ordered):
    """``linear``: regression of the log value on the encoded config, over the other workloads (each centred); configs are
    tried in the order of the prediction.

    Source: in the manner of Ernest (Venkataraman et al., NSDI 2016), whose features of scale are here the config's own.
    """

    def _order(self) -> Array:
        x, y, _ = _pairs(self.problem)
        design = np.hstack([np.ones((len(x), 1)), x])
        weights = np.linalg.lstsq(design.T @ design + 1e-3 * np.eye(design.shape[1]), design.T @ y, rcond=None)[0]
        return np.argsort(np.hstack([np.ones((len(self.domain), 1)), self.domain.features]) @ weights, kind="stable")


def _pairs(problem: Problem) -> tuple[Array, Array, Array]:
    """Features ``(m, d)``, centred log values ``(m,)`` and workload numbers ``(m,)`` of everything the history recorded."""
    matrix = donor_matrix(problem)
    centred = matrix - np.nanmean(matrix, axis=1, keepdims=True)
    workload, candidate = np.nonzero(~np.isnan(matrix))
    return problem.domain.features[candidate], centred[workload, candidate], workload


class ForestPredictor(BaseOptimizer):
    """``forest``: a random forest over the other workloads, whose features are the config and the workload's fingerprint: its
    values on a few reference configs (one per arm). The references are tried first, then the best predictions.

    Source: in the manner of PARIS (Yadwadkar et al., SoCC 2017): a fingerprint on reference machines, then a forest.
    """

    objectives = "one"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        need("sklearn.ensemble", "skopt", "the optimizer forest")
        if not problem.domain.enumerable:
            raise SpaceError("forest needs a domain that can be enumerated; cure: gp or random-wor")
        matrix = donor_matrix(problem)
        recorded = (~np.isnan(matrix)).sum(axis=0)
        self._references = [
            int(max(np.flatnonzero(problem.domain.arm_index == arm), key=lambda i: (recorded[i], -i)))
            for arm in range(len(problem.domain.names))
        ]
        self._matrix = matrix
        self._prediction: Array | None = None

    def _suggest(self) -> Candidate | None:
        free = self.free
        if not len(free):
            return None
        waiting = [i for i in self._references if i in set(free.tolist())]
        if waiting:
            return self.domain.candidates[waiting[0]]
        seen = {o.candidate.key for o in self.observations}
        if not any(self.domain.candidates[i].key in seen for i in self._references):
            return None if self._pending else self.domain.candidates[int(free[0])]
        if self._prediction is None:
            self._prediction = self._predict()
        return self.domain.candidates[int(free[np.argmin(self._prediction[free])])]

    def _learn(self, observation: Observation) -> None:
        if self.domain.index.get(observation.candidate.key) in self._references:
            self._prediction = None

    def _predict(self) -> Array:
        from sklearn.ensemble import RandomForestRegressor

        told = dict(zip((o.candidate.key for o in self.observations), self.targets.losses.tolist(), strict=True))
        used = [i for i in self._references if told.get(self.domain.candidates[i].key, 0.0) > 0]
        mine = np.log([told[self.domain.candidates[i].key] for i in used]) if used else np.zeros(0)
        theirs = self._matrix[:, used]
        keep = ~np.isnan(theirs).any(axis=1)
        matrix, theirs = (self._matrix[keep], theirs[keep]) if keep.any() else (self._matrix, np.nan_to_num(theirs))
        level = theirs.mean(axis=1, keepdims=True) if used else np.nanmean(matrix, axis=1, keepdims=True)
        workload, candidate = np.nonzero(~np.isnan(matrix))
        x = np.hstack(
            [self.domain.features[candidate], (theirs - level)[workload] if used else np.zeros((len(workload), 0))]
        )
        y = (matrix - level)[workload, candidate]
        seed = int(self.rng(0, 7).integers(2**31))
        model = RandomForestRegressor(n_estimators=60, random_state=seed, n_jobs=1).fit(x, y)
        own = np.tile(mine - mine.mean(), (len(self.domain), 1)) if used else np.zeros((len(self.domain), 0))
        return np.asarray(model.predict(np.hstack([self.domain.features, own])))
