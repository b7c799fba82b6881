"""What claims to know a metric beforehand, as hypotheses about its prior mean: the price, estimates, other workloads.

Each source is believed not at all, half or whole, on the scale that is modelled, and evidence decides
(`cloudbandit.optimizers.hypotheses`). A source that says the same of all candidates says nothing, and is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cloudbandit.core.curve import PRICE
from cloudbandit.core.errors import UsageError
from cloudbandit.core.known import Estimate, Fact, check_histories
from cloudbandit.core.protocols import Problem
from cloudbandit.core.trial import Candidate, Status
from cloudbandit.optimizers.columns import Columns, Points
from cloudbandit.optimizers.kernels import Kernels
from cloudbandit.optimizers.recall import MeanShape, Remembered

Array = np.ndarray[Any, np.dtype[np.float64]]
Said = Callable[[Sequence[Candidate], Points], Array]
"""Candidates → ``(n,)``, on the modelled scale; NaN where nothing is said."""

_OF_AN_ESTIMATE = 0.7  # how far off, on a log scale, an estimate of an SLO's metric may be before anything was measured


class Target(NamedTuple):
    """What is modelled: a metric, its sign as in `cloudbandit.core.targets.Targets`, and whether it is on a log scale."""

    metric: str
    sign: float
    log: bool


class Source(NamedTuple):
    """Something that claims to predict a target. ``level`` and ``spread``: what its values are off by, mean and deviation, before
    anything was measured; ``usual``: of candidates of which nothing is said; ``range``: its deviation over the domain."""

    name: str
    said: Said
    level: float
    spread: float
    usual: float = 0.0
    range: float = 1.0

    def at(self, candidates: Sequence[Candidate], points: Points) -> Array:
        """``(n,)``, everywhere finite."""
        values = self.said(candidates, points)
        return np.where(np.isnan(values), self.usual, values)


class Claims:
    """The sources of each target of one problem: other workloads first, then estimates, then the price.

    Raises:
        UsageError: a price below 0; an estimate that is not a finite number; a history of other metrics or units.
    """

    def __init__(self, problem: Problem, columns: Columns, kernels: Kernels) -> None:
        self._problem, self._columns, self._kernels = problem, columns, kernels
        self._sources: dict[Target, list[Source]] = {}
        self._failing: list[MeanShape] | None = None
        check_histories(problem.history, problem.goal, {})

    def sources(self, target: Target) -> list[Source]:
        """Those that tell candidates apart, the best informed first."""
        if target not in self._sources:
            found = [*self._of_history(target), *self._of_estimates(target), *self._of_price(target)]
            self._sources[target] = [s for source in found if (s := self._settled(source)) is not None]
        return self._sources[target]

    def weights(self, target: Target) -> Array:
        """Prior weights of the hypotheses, ``(H,)``: none of the sources, then half and whole of each. Nothing and the whole
        of one are equally likely beforehand, half half as much."""
        weights = np.array([1.0, *[0.5, 1.0] * len(self.sources(target))])
        return np.asarray(weights / weights.sum())

    def offsets(self, target: Target, candidates: Sequence[Candidate], points: Points) -> Array:
        """What the hypotheses say, ``(H, n)``."""
        rows = [np.zeros(len(candidates))]
        for source in self.sources(target):
            values = source.at(candidates, points)
            rows += [0.5 * values, values]
        return np.array(rows)

    def failing(self, points: Points) -> Array | None:
        """The share of other workloads' trials that failed there, ``(n,)``; None where there are none, or all ended alike."""
        if self._failing is None:
            told = self._remembered(lambda o: None if o.score is None else float(o.result.status is not Status.OK))
            mixed = told is not None and np.ptp(told.values) > 0
            self._failing = [MeanShape(self._kernels, told)] if told is not None and mixed else []
        return np.clip(self._failing[0].level + self._failing[0].at(points), 0.0, 1.0) if self._failing else None

    def _settled(self, source: Source) -> Source | None:
        values = source.said(*self._columns.known)
        known = values[~np.isnan(values)]
        if len(known) == 0 or np.ptp(known) < 1e-9:
            return None
        return source._replace(usual=float(known.mean()), range=float(known.std()))

    def _of_price(self, target: Target) -> list[Source]:
        """A cost is a price times something."""
        if not target.log or target.sign < 0 or not self._is_usd(target.metric):
            return []
        facts = self._problem.facts
        return [
            Source(
                "price", lambda candidates, points: np.array([_log_price(facts(c)) for c in candidates]), 0.0, math.inf
            )
        ]

    def _is_usd(self, metric: str) -> bool:
        charges: Mapping[str, str | None] = getattr(self._problem.goal, "charges", {})
        return "usd" in metric.split("_") or charges.get(metric) == "spent_usd"

    def _of_estimates(self, target: Target) -> list[Source]:
        spread = _OF_AN_ESTIMATE if target.log else math.inf
        return [
            Source(name, _Told(name, estimate, target), 0.0, spread)
            for name, estimate in self._problem.estimates.items()
        ]

    def _of_history(self, target: Target) -> list[Source]:
        """The mean shape of other workloads; of a cost also of what lies beyond its price."""
        metric, sign, log = target

        def value(o: Any) -> float | None:
            raw = o.result.metrics.get(metric) if o.result.status is Status.OK else None
            if raw is None or (log and raw <= 0):
                return None
            return sign * (math.log(raw) if log else raw)

        told = self._remembered(value)
        if told is None:
            return []
        shape = MeanShape(self._kernels, told)
        plain = Source("history", lambda candidates, points: shape.at(points), shape.level, shape.spread)
        prices = np.array([_log_price(facts) for facts in told.facts])
        if not self._of_price(target) or np.isnan(prices).any():
            return [plain]
        beyond = MeanShape(self._kernels, told._replace(values=told.values - prices))
        price = self._of_price(target)[0]
        return [
            Source(
                "history beyond price",
                lambda candidates, points: beyond.at(points) + price.said(candidates, points),
                beyond.level,
                beyond.spread,
            ),
            plain,
        ]

    def _remembered(self, value: Callable[[Any], float | None]) -> Remembered | None:
        """What all histories say of one thing; None where none does."""
        candidates: dict[str, tuple[int, Points]] = {}
        rows = []
        for study, history in enumerate(self._problem.history.values()):
            for o in history.observations:
                number = value(o)
                if number is None:
                    continue
                key = o.candidate.key
                if key not in candidates:
                    candidates[key] = (len(candidates), self._columns.encode([o.candidate], history.facts))
                rows.append((candidates[key][0], study, number, history.facts(o.candidate)))
        if not rows:
            return None
        points = [p for _, p in candidates.values()]
        together = Points(
            np.concatenate([p.features for p in points]),
            np.concatenate([p.arms for p in points]),
            np.concatenate([p.active for p in points]),
        )
        config, study_of, values, facts = zip(*rows, strict=True)
        return Remembered(together, np.array(config), np.array(study_of), np.array(values), facts)


class _Told:
    """What an estimate says of a target."""

    def __init__(self, name: str, estimate: Estimate, target: Target) -> None:
        self._name, self._estimate, self._target = name, estimate, target

    def __call__(self, candidates: Sequence[Candidate], points: Points) -> Array:
        return np.array([self._one(c) for c in candidates], float)

    def _one(self, candidate: Candidate) -> float:
        try:
            told = self._estimate(candidate)
        except Exception as error:
            error.add_note(f"raised by the estimate {self._name!r} for {candidate!r}")
            raise
        metric, sign, log = self._target
        if metric not in told:
            return math.nan
        value = float(told[metric])
        if not math.isfinite(value):
            raise UsageError(
                f"the estimate {self._name!r} says that {metric} of {candidate!r} is {value!r}; "
                "an estimate is a finite number. Cure: leave the metric out where nothing is believed"
            )
        if log:
            return sign * math.log(value) if value > 0 else math.nan
        return sign * value


def _log_price(facts: Mapping[str, Fact]) -> float:
    """NaN where it is not known, or nothing: a logarithm cannot tell free of charge."""
    price = facts.get(PRICE)
    if price is None or isinstance(price, str):
        return math.nan
    if price < 0:
        raise UsageError(f"the fact {PRICE} is {price!r} of some candidate; a price is a number ≥ 0")
    return math.log(price) if price > 0 else math.nan
