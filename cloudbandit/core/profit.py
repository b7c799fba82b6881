"""Stop when another trial no longer pays: what production is expected to gain from it is less than what it is expected to cost.

With N production runs to come, a trial pays while N · E[improvement] ≥ E[cost of the trial]: the value of information of one
more measurement, looked one step ahead (Howard, "Information value theory", IEEE TSSC 2(1), 1966; second-hand).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from cloudbandit.core import metrics
from cloudbandit.core.budget import Budget
from cloudbandit.core.curve import PRICE
from cloudbandit.core.errors import NoBeliefError, UnknownNameError, UsageError
from cloudbandit.core.goal import best
from cloudbandit.core.known import probes
from cloudbandit.core.protocols import Objective, Optimizer, Problem, Quote
from cloudbandit.core.stop import Belief, Believer, Stop
from cloudbandit.core.trial import Observation

STOPPED = "profit"
"""The report's ``stop_reason``."""


@dataclass(frozen=True)
class Profit(Stop):
    """Ends a study when N · (expected gain of the next trial) is less than the trial's expected cost.

    The gain is `Belief.expected_gain`, so the optimizer must be a `Believer`; but never less than a blind draw is expected to
    gain, worked out from the trials alone (`drawn_gain`): a model fitted to three trials is easily too sure. Before the
    optimizer believes anything, and while nothing meets the SLOs, the study goes on. The cost is what informative trials took
    on average: seconds where the objective is in seconds; else USD with their hosts, at the price of the candidate that would
    be next where prices are known. The quote, a worst case, is not used for it. Where the budget caps trials, USD or seconds,
    the cap holds beside this.

    Args:
        production_runs: N, where the objective is what one run costs in USD, or takes in s. (Of an objective per million
            tokens: so many million tokens.)
        production_hours: N, where the objective is USD per hour.

    Raises:
        UsageError: neither or both, or one that is not a finite number > 0.
    """

    production_runs: float | None = None
    production_hours: float | None = None

    def __post_init__(self) -> None:
        given = {"production_runs": self.production_runs, "production_hours": self.production_hours}
        known = {name: n for name, n in given.items() if n is not None}
        if len(known) != 1:
            raise UsageError(
                f"profit needs one of production_runs and production_hours, got {' and '.join(known) or 'none'}; cure: "
                "say how much production there will be, e.g. production_runs = 64"
            )
        for name, n in known.items():
            if not (math.isfinite(n) and n > 0):
                raise UsageError(f"{name} is {n!r}; without production no trial pays. Allowed: a finite number > 0")

    def check(self, problem: Problem, optimizer: Optimizer, objective: Objective) -> None:
        """See `Stop.check`.

        Raises:
            UsageError: the goal has several objectives, or one whose gain is no money and no time, or the other N goes with it;
                or no trial has a price: all are quoted at 0 in what the objective is paid in.
            NoBeliefError: the optimizer does not say what it believes.
        """
        charge = self._charge(problem)
        if not isinstance(optimizer, Believer):
            raise NoBeliefError(
                f"stopping by profit asks what the next trial is expected to gain, and {type(optimizer).__name__} does not say "
                "what it believes. Cure: no such rule, or an optimizer with a method belief()"
            )
        what, unit = ("usd", "USD") if charge == "spent_usd" else ("seconds", "seconds")
        if not any(getattr(objective.quote(c), what) > 0 for c in probes(problem.domain)):
            raise UsageError(
                f"stopping by profit needs what a trial costs, and all are quoted at 0 {unit}. Cure: the objective's quote gives "
                f"their {unit}; of a table: [spent] {what} in its table.toml"
            )

    def why(
        self,
        problem: Problem,
        budget: Budget,
        observations: Sequence[Observation],
        next_quote: Quote,
        belief: Belief | None,
    ) -> str:
        """See `Stop.why`; ``"profit"``."""
        told = [o for o in observations if o.score is not None]
        if belief is None or best(told) is None:
            return ""
        n = self.production_runs if self.production_hours is None else self.production_hours
        assert n is not None
        gain = max(belief.expected_gain, drawn_gain(told))
        return STOPPED if n * gain < _cost(problem, told, next_quote, self._charge(problem)) else ""

    def _charge(self, problem: Problem) -> str:
        """What of a result is paid in the objective's currency: ``spent_usd`` or ``seconds``."""
        goal = problem.goal
        metric = goal.metrics[0]
        if len(goal.metrics) > 1 or getattr(goal, "signs", (1.0,))[0] < 0:
            raise UsageError(
                f"stopping by profit minimises one objective, and the goal aims at {', '.join(goal.metrics)}"
                f"{'' if len(goal.metrics) > 1 else ', which is maximised'}; cure: no such rule"
            )
        charges = getattr(goal, "charges", {})
        charge = charges[metric] if metric in charges else metrics.charge(metric)
        unit = metrics.unit(metric).upper()
        if charge is None and not unit.startswith("USD"):
            raise UsageError(
                f"stopping by profit compares the gain with a trial's cost, and {metric} is neither in USD nor in s; "
                "cure: minimise a metric that is (…_usd, …_usd_per_h, …_s), with an SLO on this one"
            )
        hourly = charge is None and unit == "USD/H"
        if hourly != (self.production_hours is not None):
            use, per = ("production_hours", "hour") if hourly else ("production_runs", "run")
            raise UsageError(f"{metric} is paid per {per}, so profit needs {use}; got the other")
        return charge or "spent_usd"


def rule(
    stop: str | None, production_runs: float | None = None, production_hours: float | None = None
) -> Profit | None:
    """The rule of a name, as in ``--stop profit --production-runs 64``; None: no rule but the budget.

    Raises:
        UnknownNameError: nobody knows the name.
        UsageError: an amount of production without the rule, or what `Profit` raises.
    """
    if stop is None:
        if production_runs is not None or production_hours is not None:
            raise UsageError("an amount of production goes with the rule that uses it; cure: stop by profit too")
        return None
    if stop != STOPPED:
        raise UnknownNameError("stop rule", stop, [STOPPED])
    return Profit(production_runs, production_hours)


def drawn_gain(observations: Sequence[Observation]) -> float:
    """What one more draw is expected to improve on the best of n, from these alone, where all are draws of one law.

    The mean, over candidates that served, of what each improved on the others: (second best − best) / n. (Leave one out: of
    n + 1 draws any is as likely as another to be the last.) What was measured again counts once, by its mean; 0 for fewer
    than two.
    """
    values: dict[str, list[float]] = {}
    for o in observations:
        if o.score is not None and o.score.feasible:
            values.setdefault(o.candidate.key, []).append(o.score.values[0])
    means = sorted(fmean(some) for some in values.values())
    return (means[1] - means[0]) / len(means) if len(means) > 1 else 0.0


def _cost(problem: Problem, told: Sequence[Observation], quote: Quote, charge: str) -> float:
    """What the next trial is expected to cost."""
    if charge == "seconds":
        return fmean(o.result.seconds for o in told)
    paid = [o.result.spent_usd + o.result.hosts_usd for o in told]
    if quote.candidate is None:
        return fmean(paid)
    price, *prices = [problem.facts(c).get(PRICE) for c in (quote.candidate, *(o.candidate for o in told))]
    hours = [usd / p for usd, p in zip(paid, prices, strict=True) if isinstance(p, float | int) and p > 0]
    known = isinstance(price, float | int) and price > 0 and len(hours) == len(paid)
    return fmean(hours) * float(price) if known and price is not None else fmean(paid)
