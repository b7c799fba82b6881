"""What is good: what to minimise, which SLOs to meet, and how a result is scored under them.

Measurement and judgement stay apart, so the same trials can be judged again under a stricter SLO without paying again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cloudbandit.core.errors import UsageError
from cloudbandit.core.metrics import FAILURES, charge, check_direction
from cloudbandit.core.targets import Targets, measured
from cloudbandit.core.trial import Observation, Result, Score, Status

MAX_FAILURE_RATE = 0.01
"""Of a goal that says nothing of failures: a cheap config that fails its requests is no answer."""
_EPS = 1e-12
_SLO_TEXT = re.compile(r"^\s*([A-Za-z_]\w*)\s*(<=|>=)\s*([-+.\deE]+)\s*$")


@dataclass(frozen=True, slots=True)
class SLO:
    """A service level objective: ``metric`` at most (or at least) ``limit``, in the metric's own unit."""

    metric: str
    limit: float
    at_most: bool = True

    def __post_init__(self) -> None:
        if not math.isfinite(self.limit):
            raise UsageError(f"the limit of an SLO must be a finite number, got {self.metric} {self.limit!r}")

    @classmethod
    def parse(cls, text: str) -> SLO:
        """``"ttft_p95_ms<=500"`` or ``"output_tok_per_s>=1000"``."""
        match = _SLO_TEXT.match(text)
        try:
            if match:
                return cls(match[1], float(match[3]), match[2] == "<=")
        except ValueError:
            pass
        raise UsageError(f"an SLO reads METRIC<=LIMIT or METRIC>=LIMIT, e.g. 'ttft_ms<=500'; got {text!r}")

    def violation(self, metrics: Mapping[str, float]) -> float:
        """Relative excess over the limit, 0 where it is met; a missing metric is a violated SLO (infinite)."""
        if self.metric not in metrics:
            return math.inf
        excess = metrics[self.metric] - self.limit
        return max(0.0, excess if self.at_most else -excess) / max(abs(self.limit), _EPS)

    def __str__(self) -> str:
        return f"{self.metric}{'<=' if self.at_most else '>='}{self.limit:g}"


class Goal(Protocol):
    """What a study needs from a goal. It may also define ``targets(observations)``; see `targets_of`."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is aimed at. All are minimised, unless the goal has ``signs`` (one per metric, −1: maximised)."""

    @property
    def slos(self) -> Sequence[SLO]: ...

    def score(self, result: Result) -> Score | None:
        """None for an uninformative result."""


@dataclass(frozen=True)
class SLOGoal:
    """Minimise or maximise one metric, or several, subject to SLOs: the default goal.

    Args:
        minimize: the metric, or a tuple of them.
        slos: all must hold; strings such as ``"ttft_ms<=500"`` are parsed.
        charges: metric → ``"spent_usd"`` or ``"seconds"``: what a failed trial is charged in place of the metric it did
            not produce. By default the dictionary's (`cloudbandit.core.metrics.charge`); None: no charge.
        maximize: the metric, or a tuple of them; its values are negated inside `Score`, where smaller is better.
        max_failure_rate: the share of requests that may fail, unless an SLO limits failures itself; see `failures`. It binds
            where a result knows its failures, and nowhere else. None: no limit.

    Raises:
        UsageError: nothing to aim at, a metric twice, one whose better direction is the other, or a share that is none.
    """

    minimize: str | tuple[str, ...] = ()
    slos: Sequence[SLO] = ()
    charges: Mapping[str, str | None] = field(default_factory=dict)
    maximize: str | tuple[str, ...] = ()
    max_failure_rate: float | None = MAX_FAILURE_RATE

    def __post_init__(self) -> None:
        if self.max_failure_rate is not None and not 0 <= self.max_failure_rate <= 1:
            raise UsageError(
                f"max_failure_rate is {self.max_failure_rate!r}; allowed: a share from 0 to 1, or None: no limit"
            )
        parsed: list[Any] = list(self.slos)
        object.__setattr__(self, "slos", tuple(SLO.parse(s) if isinstance(s, str) else s for s in parsed))
        if not self.metrics:
            raise UsageError("a goal must minimise or maximise at least one metric, got none")
        if len(set(self.metrics)) < len(self.metrics):
            raise UsageError(f"a goal aims at each metric once, got {', '.join(self.metrics)}")
        check_direction(_names(self.minimize), _names(self.maximize))

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is aimed at: the minimised ones, then the maximised ones."""
        return _names(self.minimize) + _names(self.maximize)

    @property
    def signs(self) -> tuple[float, ...]:
        """Per metric: 1 where it is minimised, −1 where it is maximised."""
        return (1.0,) * len(_names(self.minimize)) + (-1.0,) * len(_names(self.maximize))

    @property
    def failure_slo(self) -> SLO | None:
        """The implied SLO on failures; None: one of the `slos` limits them, or nothing does."""
        if self.max_failure_rate is None or any(slo.metric in FAILURES for slo in self.slos):
            return None
        return SLO(FAILURES[0], self.max_failure_rate)

    def score(self, result: Result) -> Score | None:
        """A failed trial scores its charge where the unit has one, else no value at all; a failed run of a recorded table
        whose value counts (``failures="recorded"``) scores that value.

        Raises:
            UsageError: an ``ok`` result lacks a minimised metric.
        """
        if not result.status.informative:
            return None
        if result.status is Status.OK:
            missing = [m for m in self.metrics if m not in result.metrics]
            if missing:
                raise UsageError(
                    f"the goal minimises {missing[0]!r}, and an ok result has only {sorted(result.metrics)}; "
                    "cure: return that metric, or minimise another"
                )
            violation = sum(slo.violation(result.metrics) for slo in self.slos)
            implied, failing = self.failure_slo, failures(result)
            if implied is not None and failing is not None:
                violation += implied.violation({implied.metric: failing})
            return Score(0, violation, self._values(result))
        if all(m in result.metrics for m in self.metrics):
            return Score(1, 0.0, self._values(result))
        charges = [self.charges[m] if m in self.charges else charge(m) for m in self.metrics]
        known = [getattr(result, c) for c in charges if c]
        return Score(1, 0.0, tuple(known) if len(known) == len(charges) else ())

    def targets(self, observations: Sequence[Observation]) -> Targets:
        """What an optimizer learns from these observations.

        Raises:
            UsageError: an uninformative one among them.
        """
        implied = self.failure_slo
        if implied is None or not any(
            failures(o.result) for o in observations
        ):  # all are alike: there is nothing to learn
            return Targets.of(observations, self.metrics, self.slos, self.signs)
        return Targets.of(observations, self.metrics, [*self.slos, implied], self.signs, _with_failures)

    def _values(self, result: Result) -> tuple[float, ...]:
        return tuple(sign * result.metrics[m] for sign, m in zip(self.signs, self.metrics, strict=True))


def failures(result: Result) -> float | None:
    """The share of a result's requests that failed; None: it does not say.

    Where a single user's was measured beside a higher load's, it is the share beyond that (``failure_rate_excess``): what a lone
    user's requests die of is not for want of capacity.
    """
    excess, rate = (result.metrics.get(name) for name in FAILURES)
    if excess is not None or rate is None:
        return excess
    users = [row.get("users") for row in result.rows]
    if len(users) < 2 or 1 not in users or users[-1] == 1:
        return rate
    return max(0.0, rate - result.rows[users.index(1)].get("failure_rate", 0.0))


def _with_failures(observation: Observation) -> Mapping[str, float]:
    """The metrics that SLOs limit, the implied one's included; an ``ok`` result that does not know its failures meets it."""
    known, failing = measured(observation), failures(observation.result)
    if failing is None and observation.result.status is not Status.OK:
        return known
    return {**known, FAILURES[0]: failing or 0.0}


def changed_limit(goal: Goal) -> dict[str, float | None]:
    """The part of a study's identity that says what share of requests may fail: nothing where it is the default, so that stores
    written before there was one go on."""
    if not isinstance(goal, SLOGoal) or goal.max_failure_rate == MAX_FAILURE_RATE:
        return {}
    return {"max_failure_rate": goal.max_failure_rate}


def turned(goal: Goal) -> dict[str, list[str]]:
    """The part of a study's identity that says what is maximised; nothing where nothing is, so that earlier studies go on."""
    found = [m for m, sign in zip(goal.metrics, getattr(goal, "signs", ()), strict=False) if sign < 0]
    return {"maximize": found} if found else {}


def _names(metrics: str | tuple[str, ...]) -> tuple[str, ...]:
    return (metrics,) if isinstance(metrics, str) else tuple(metrics)


def own_sign(goal: Goal, values: Sequence[float]) -> tuple[float, ...]:
    """A score's values in their metrics' own sign: what people are shown."""
    signs = getattr(goal, "signs", (1.0,) * len(values))
    return tuple(sign * value for sign, value in zip(signs, values, strict=True))


def targets_of(goal: Goal, observations: Sequence[Observation]) -> Targets:
    """What an optimizer learns from. A goal without a method ``targets`` gets the default: its scores, and its SLOs on the
    results' metrics.

    Raises:
        UsageError: an uninformative observation.
    """
    own: Callable[[Sequence[Observation]], Targets] | None = getattr(goal, "targets", None)
    return own(observations) if own else Targets.of(observations, goal.metrics, goal.slos, getattr(goal, "signs", None))


def best(observations: Iterable[Observation]) -> Observation | None:
    """The incumbent: the least feasible score, the earliest of equals; None where nothing is feasible."""
    feasible = [o for o in observations if o.score is not None and o.score.feasible]
    return min(feasible, key=lambda o: (o.score, o.trial.number), default=None)


def least_bad(observations: Iterable[Observation]) -> Observation | None:
    """Where nothing is feasible: the trial that ran and violates least."""
    ran = [o for o in observations if o.score is not None and o.score.rank == 0]
    return min(ran, key=lambda o: (o.score, o.trial.number), default=None)


def front(observations: Iterable[Observation]) -> list[Observation]:
    """The feasible observations no other feasible one beats in every objective (ties kept, once per value)."""
    feasible = sorted(
        (o for o in observations if o.score is not None and o.score.feasible),
        key=lambda o: (o.score, o.trial.number),
    )
    kept: list[Observation] = []
    for o in feasible:
        assert o.score is not None
        values = o.score.values
        if not any(all(a <= b for a, b in zip(k.score.values, values, strict=True)) for k in kept if k.score):
            kept.append(o)
    return kept
