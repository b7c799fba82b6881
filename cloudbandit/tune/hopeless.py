"""Trials that cannot matter any more are cut short between two loads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from cloudbandit.core.budget import Budget
from cloudbandit.core.goal import SLO
from cloudbandit.core.protocols import Problem, Quote
from cloudbandit.core.stop import Belief, Stop
from cloudbandit.core.trial import Observation, Status, Trial

_LEVELS = ("users", "rate_per_s", "speed")
_GROW = ("ttft_", "nttft_", "tpot_", "itl_", "e2e_", "failure_rate")
"""What gets no better where the load grows."""
_MARGIN = 0.15  # of an SLO: a violation within it may be noise
_LEAST_KNOWN = 4  # trials from which the way from one load to the last is known
_LEAST_SPREAD = 0.05


@dataclass(frozen=True)
class Hopeless(Stop):
    """A rule for a study whose trials have increasing loads. One ends after a load at which latency or failures violate an SLO by
    more than noise, because a higher load does not heal them; or at which its chance to beat the best so far is below ``chance``,
    going by how earlier trials went from that load to the last.

    Attributes:
        slos: the goal's.
        metrics: (name, sign), the goal's; −1: maximised. Of several objectives a trial is hopeless only by its SLOs.
        chance: of winning.
        first: so many trials are never cut short: the default's, which everything is compared with.
    """

    slos: tuple[SLO, ...]
    metrics: tuple[tuple[str, float], ...]
    chance: float = 0.01
    first: int = 1

    def why(
        self,
        problem: Problem,
        budget: Budget,
        observations: Sequence[Observation],
        next_quote: Quote,
        belief: Belief | None,
    ) -> str:
        """Never ends a study."""
        return ""

    def hopeless(self, trial: Trial, partial: Mapping[str, float], observations: Sequence[Observation]) -> bool:
        """See `cloudbandit.core.stop.Stop.hopeless`."""
        if trial.number < self.first or trial.replicate:
            return False
        for slo in self.slos:
            if slo.at_most and slo.metric.startswith(_GROW) and slo.metric in partial:
                limit = slo.limit + _MARGIN * abs(slo.limit)
                if partial[slo.metric] > limit:
                    return True
        return len(self.metrics) == 1 and self._chance(partial, observations) < self.chance

    def _chance(self, partial: Mapping[str, float], observations: Sequence[Observation]) -> float:
        """That the last load's value beats the best; 1 where nobody knows."""
        ((metric, sign),) = self.metrics
        level = next((name for name in _LEVELS if name in partial), None)
        served = [o for o in observations if o.score is not None and o.score.feasible and o.result.status is Status.OK]
        if level is None or not served or partial.get(metric, 0.0) <= 0:
            return 1.0
        ways = []
        for o in observations:
            row = next((r for r in o.result.rows if r.get(level) == partial[level]), {})
            if o.result.status is Status.OK and row.get(metric, 0.0) > 0 and o.result.metrics.get(metric, 0.0) > 0:
                ways.append(math.log(o.result.metrics[metric] / row[metric]))
        if len(ways) < _LEAST_KNOWN:
            return 1.0
        best = min(sign * o.result.metrics[metric] for o in served) * sign
        expected = math.log(partial[metric]) + fmean(ways)
        spread = max(stdev(ways), _LEAST_SPREAD) * math.sqrt(1.0 + 1.0 / len(ways))
        z = sign * (math.log(best) - expected) / spread if best > 0 else math.inf
        return 0.5 * math.erfc(-z / math.sqrt(2.0))
