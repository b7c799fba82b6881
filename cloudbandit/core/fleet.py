"""A load curve judged as a fleet: how many machines serve the demand within the SLOs, and what they cost per hour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cloudbandit.core.curve import LoadCurve, max_users, of_the_fleet, prefix, replicas_for
from cloudbandit.core.errors import UnknownNameError, UsageError
from cloudbandit.core.goal import SLO
from cloudbandit.core.metrics import DICTIONARY, FAILURES, better, of_fleet, resolve_metric
from cloudbandit.core.targets import Targets
from cloudbandit.core.trial import Observation, Result, Score, Status

USD_PER_H = "usd_per_h"
TOKENS = "output_tok_per_s"
SERVING = (*(full for m in DICTIONARY.values() if m.statistics or m.of_fleet for full in m.names), *FAILURES)
"""What a load curve may hold and an SLO of a fleet may limit: latencies, throughputs, failures."""
_MOST_VIOLATION = 1e6


@dataclass(frozen=True)
class FleetGoal:
    """Serve the demand at the least cost per hour, judged by a load curve.

    A result has one row per load (``users`` and metrics), and the metrics ``price_usd_per_h`` of the machine and, where it runs
    several engines, ``engines``. The score's value is machines × price. Where no load serves, its violation is that of the
    lowest load.

    Args:
        users: concurrent users in all, each with one request in flight.
        slos: see `parse_slos`; strings are parsed.
        max_failure_rate: without an SLO on failures, the share that may fail beyond a single user's.
        tokens_per_s: the demand in output tokens per second, instead of ``users``.

    Raises:
        UsageError: neither or both demands are given, one is not > 0, or a throughput is limited beside a demand in tokens.
    """

    users: int | None = None
    slos: Sequence[SLO] = ()
    max_failure_rate: float | None = 0.01
    tokens_per_s: float | None = None

    def __post_init__(self) -> None:
        if (self.users is None) == (self.tokens_per_s is None):
            raise UsageError("a fleet serves so many users, or so many tokens_per_s: give one of the two")
        if self.users is not None and self.users < 1:
            raise UsageError(f"users is {self.users}; it must be at least 1")
        if self.tokens_per_s is not None and not 0 < self.tokens_per_s < np.inf:
            raise UsageError(f"tokens_per_s is {self.tokens_per_s}; it must be a finite number > 0")
        object.__setattr__(self, "slos", parse_slos(self.slos, self.max_failure_rate))
        throughput = next((slo for slo in self.slos if of_fleet(slo.metric)), None)
        if self.tokens_per_s is not None and throughput is not None:
            raise UsageError(
                f"the demand is {self.tokens_per_s:g} tokens/s, and {throughput} limits a throughput too; cure: leave it out"
            )

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is minimised: USD per hour of the fleet."""
        return (USD_PER_H,)

    def replicas(self, curve: LoadCurve) -> int | None:
        """Machines of this kind that are needed; None where no load serves within the SLOs."""
        ok = curve.meets(self.slos, self._users)
        if self.tokens_per_s is None:
            demand, per_engine = self._users, float(max_users(ok, curve.loads))
        else:
            demand, served = self.tokens_per_s, np.where(prefix(ok), curve.values(TOKENS), 0.0)
            per_engine = float(np.nan_to_num(served).max())
        return int(replicas_for(demand, per_engine * curve.engines)) if per_engine > 0 else None

    def score(self, result: Result) -> Score | None:
        """See `cloudbandit.core.goal.Goal.score`.

        Raises:
            UsageError: an ``ok`` result has no rows or no price.
        """
        if not result.status.informative:
            return None
        if result.status is not Status.OK:
            return Score(1, 0.0, ())
        curve = LoadCurve.of_result(result)
        replicas = self.replicas(curve)
        if replicas is not None:
            return Score(0, 0.0, (replicas * curve.usd_per_h,))
        violation = sum(slo.violation(self._at_the_lowest(curve, slo.metric)) for slo in self.slos)
        if violation == 0:  # the SLOs are met, and no token is served
            violation = 1.0
        return Score(0, min(violation, _MOST_VIOLATION), (curve.usd_per_h * (self.users or self.tokens_per_s or 1.0),))

    @property
    def _users(self) -> float:
        return np.inf if self.users is None else float(self.users)

    def _at_the_lowest(self, curve: LoadCurve, metric: str) -> dict[str, float]:
        """The fleet's metric at the lowest load; nothing where it is unknown."""
        value = float(of_the_fleet(metric, curve.values(metric), curve.loads, self._users)[0])
        return {metric: value} if np.isfinite(value) else {}

    def targets(self, observations: Sequence[Observation]) -> Targets:
        """What an optimizer learns from: the fleet's cost, and the SLOs' metrics at the *lowest* load, which alone decides
        whether a fleet of such machines is feasible. (A result's own metrics are those of its last load, which may violate.)

        Raises:
            UsageError: an uninformative observation.
        """
        return Targets.of(observations, self.metrics, self.slos, measured=self._at_the_lowest_load)

    def _at_the_lowest_load(self, observation: Observation) -> Mapping[str, float]:
        """Throughputs are the fleet's, as `cloudbandit.core.curve.meets` takes them."""
        if observation.result.status is not Status.OK:
            return {}
        curve = LoadCurve.of_result(observation.result)
        return {name: value for slo in self.slos for name, value in self._at_the_lowest(curve, slo.metric).items()}


def metric_name(name: str) -> str:
    """The metric meant: without a statistic the median.

    Raises:
        UnknownNameError: no such metric.
    """
    text = {"throughput_tok_per_s": TOKENS, "throughput_tok_s": TOKENS}.get(name, name)
    try:
        return resolve_metric(text, SERVING)
    except UnknownNameError:
        raise UnknownNameError("metric", name, SERVING) from None


def parse_slos(slos: Iterable[str | SLO], max_failure_rate: float | None = 0.01) -> tuple[SLO, ...]:
    """SLOs with their metrics' full names; without one on failures, ``failure_rate_excess`` is limited too.

    Raises:
        UsageError: there is none, an unknown metric, a limit that can never be met, or a limit on the better side.
    """
    out: list[SLO] = []
    for given in slos:
        slo = SLO.parse(given) if isinstance(given, str) else given
        slo = SLO(metric_name(slo.metric), slo.limit, slo.at_most)
        if slo.at_most and (slo.limit < 0 or (slo.limit == 0 and slo.metric not in FAILURES)):
            raise UsageError(f"{slo} can never be met: {slo.metric} is > 0")
        if slo.at_most == (better(slo.metric) == "higher"):
            sign = ">=" if better(slo.metric) == "higher" else "<="
            raise UsageError(f"{slo} asks for a worse service; write {slo.metric}{sign}{slo.limit:g}")
        out.append(slo)
    if not out:
        raise UsageError(
            "there is no SLO, so the cheapest machine that starts would do; give at least one, e.g. nttft_ms<=100"
        )
    if max_failure_rate is not None and not any(s.metric in FAILURES for s in out):
        out.append(SLO("failure_rate_excess", max_failure_rate))
    return tuple(out)
