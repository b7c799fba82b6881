"""When more trials no longer pay: the rule a study asks beside its budget, and what an optimizer may tell it.

A rule is an object with `Stop`'s methods. It decides from what was told alone, so that a resumed study stops where it would have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cloudbandit.core.budget import Budget
from cloudbandit.core.protocols import Objective, Optimizer, Problem, Quote
from cloudbandit.core.trial import Candidate, Observation, Trial

_Z = 1.959963984540054
"""Of a normal distribution 95 % lie within so many standard deviations."""


@dataclass(frozen=True, slots=True)
class Belief:
    """What an optimizer believes after what it was told. Values are on the scale of `Score`: smaller is better.

    Attributes:
        candidates: what the arrays are about, length N.
        mean, sd: (N,) of the first objective, in its unit.
        p_best: arm → probability that the best candidate is its; sums to 1.
        p_near: probability that the incumbent is within 5 % of the best candidate.
        expected_gain: by how much the next trial is expected to improve on the incumbent, in the objective's unit, ≥ 0.
    """

    candidates: Sequence[Candidate]
    mean: np.ndarray[Any, np.dtype[np.float64]]
    sd: np.ndarray[Any, np.dtype[np.float64]]
    p_best: Mapping[str, float]
    p_near: float
    expected_gain: float

    def of(self, candidate: Candidate) -> Posterior | None:
        """What is believed of one candidate; None where it is not among them."""
        found = next((i for i, c in enumerate(self.candidates) if c.key == candidate.key), None)
        return None if found is None else Posterior(float(self.mean[found]), float(self.sd[found]))

    def p_arm(self, candidate: Candidate) -> float:
        """The probability that the best candidate is of this one's arm; 0 where nobody gave it one."""
        return self.p_best.get("/".join(candidate.arm), self.p_best.get(candidate.arm[0], 0.0))


@dataclass(frozen=True, slots=True)
class Posterior:
    """What is believed of the true value of one candidate."""

    mean: float
    sd: float

    @property
    def interval95(self) -> tuple[float, float]:
        """Of the log-normal distribution of that mean and standard deviation, where the mean is positive; else of the normal."""
        if self.mean <= 0:
            return self.mean - _Z * self.sd, self.mean + _Z * self.sd
        spread = math.log1p((self.sd / self.mean) ** 2)
        middle, half = math.log(self.mean) - spread / 2, _Z * math.sqrt(spread)
        return math.exp(middle - half), math.exp(middle + half)


@runtime_checkable
class Believer(Protocol):
    """An optimizer that says what it believes."""

    def belief(self) -> Belief | None:
        """None: too little was told to believe anything."""


class Stop(Protocol):
    """A rule that ends a study, or a trial, early. A class that inherits from this need only write `why`."""

    def why(
        self,
        problem: Problem,
        budget: Budget,
        observations: Sequence[Observation],
        next_quote: Quote,
        belief: Belief | None,
    ) -> str:
        """Asked before each trial: the reason to stop, a short code that becomes the report's ``stop_reason``; or ``""``.

        Args:
            observations: everything told so far, in order.
            next_quote: of the trial that would be next, with its candidate.
            belief: the optimizer's, where it offers one.
        """

    def check(self, problem: Problem, optimizer: Optimizer, objective: Objective) -> None:
        """Asked before anything is run: raises a `UsageError` where the rule makes no sense for the study."""
        return

    def hopeless(self, trial: Trial, partial: Mapping[str, float], observations: Sequence[Observation]) -> bool:
        """Asked while a trial runs, by its objective's ``run.report`` and in its thread: whether ``partial``, the metrics so far,
        already tells that the trial cannot matter. It then ends as STOPPED."""
        return False


def identity_of(stop: Stop) -> str:
    """What a resumed study must agree on: the rule and, of a dataclass, its fields."""
    return repr(stop) if is_dataclass(stop) else f"{type(stop).__module__}.{type(stop).__qualname__}"
