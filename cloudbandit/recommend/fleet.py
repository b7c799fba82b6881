"""The recommender as a study: measured load curves are judged as fleets, and an optimizer asks for the next one worth measuring.

Here CloudBandit and LLM-Pilot meet: the same `cloudbandit.Study` runs a bandit over GPUs, or the recommender, on the same
objective under the same goal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cloudbandit.catalogue.gpus import Profile
from cloudbandit.catalogue.offers import ServingOffer
from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.errors import UsageError
from cloudbandit.core.goal import SLO
from cloudbandit.core.listing import Listing
from cloudbandit.core.protocols import Factory, Problem, Quote, Run
from cloudbandit.core.space import Domain
from cloudbandit.core.trial import Candidate, Observation, Result, Score, Status, Trial
from cloudbandit.recommend.advisor import STOP_BELOW, Advisor
from cloudbandit.recommend.decision import replicas_for
from cloudbandit.surrogate.loads import METRICS, LoadTest, max_users, meets, parse_slos

USD_PER_H = "usd_per_h"
LOAD_TEST_SECONDS = 120.0
START_SECONDS = 300.0


@dataclass(frozen=True)
class FleetGoal:
    """Serve so many users at the least cost per hour, judged by a measured load curve.

    A result has one row per load (``users`` and metrics), and the metrics ``price_usd_per_h`` of the machine and, where it runs
    several engines, ``engines``. The score's value is machines × price; its violation, where no load meets the SLOs, that of the
    lowest load.

    Args:
        users: concurrent users in all.
        slos: see `loads.parse_slos`; strings are parsed.
        max_failure_rate: without an SLO on failures, the share that may fail beyond a single user's.
    """

    users: int
    slos: Sequence[SLO]
    max_failure_rate: float | None = 0.01

    def __post_init__(self) -> None:
        if self.users < 1:
            raise UsageError(f"users is {self.users}; it must be at least 1")
        object.__setattr__(self, "slos", parse_slos(self.slos, self.max_failure_rate))

    @property
    def metrics(self) -> tuple[str, ...]:
        return (USD_PER_H,)

    def replicas(self, result: Result) -> int | None:
        """Machines of this kind that are needed; None where no load meets the SLOs."""
        loads, ok = self._ok(result)
        most = int(max_users(ok, loads)) * int(result.metrics.get("engines", 1))
        return int(replicas_for(self.users, most)) if most else None

    def score(self, result: Result) -> Score | None:
        """See `cloudbandit.core.goal.Goal.score`.

        Raises:
            UsageError: an ``ok`` result has no rows or no price.
        """
        if not result.status.informative:
            return None
        if result.status is not Status.OK:
            return Score(1, 0.0, ())
        if not result.rows or "price_usd_per_h" not in result.metrics:
            raise UsageError("a result judged by FleetGoal needs one row per load, and the metric price_usd_per_h")
        replicas = self.replicas(result)
        if replicas is None:
            lowest = min(result.rows, key=lambda row: row["users"])
            violation = min(sum(slo.violation(lowest) for slo in self.slos), 1e6)
            return Score(0, max(violation, 1e-9), (result.metrics["price_usd_per_h"] * self.users,))
        return Score(0, 0.0, (replicas * result.metrics["price_usd_per_h"],))

    def _ok(self, result: Result) -> tuple[np.ndarray, np.ndarray]:
        rows = sorted(result.rows, key=lambda row: row["users"])
        loads = np.array([row["users"] for row in rows])
        each = [meets(s, np.array([row.get(s.metric, np.nan) for row in rows]), loads, self.users) for s in self.slos]
        return loads, np.logical_and.reduce(each)


class LoadCurves:
    """An objective that replays measured load tests of one model: a trial is a sweep over the loads on one offer.

    What a sweep costs is a model: the machine's price for the time to start and 120 s per load, LLM-Pilot's test.

    Args:
        tests: of one model.
        offers: those it was measured on make the domain: an arm per GPU, a config per number of GPUs.
    """

    def __init__(self, tests: Iterable[LoadTest], offers: Iterable[ServingOffer]) -> None:
        self._tests: dict[tuple[str, int], list[LoadTest]] = {}
        for t in tests:
            self._tests.setdefault(t.profile.key, []).append(t)
        self.offers = {o.profile.key: o for o in offers if o.profile.key in self._tests}
        if not self.offers:
            raise UsageError("the model was measured on none of these offers")

    @cached_property
    def domain(self) -> Domain:
        """GPU → numbers of GPUs."""
        arms: dict[str, list[dict[str, int]]] = {}
        for part, gpus in sorted(self.offers):
            arms.setdefault(part, []).append({"gpus": gpus})
        return Domain({part: Listing(configs) for part, configs in arms.items()})

    def offer(self, candidate: Candidate) -> ServingOffer:
        """The offer a candidate stands for."""
        return self.offers[candidate.arm[0], int(candidate["gpus"])]

    def facts(self, candidate: Candidate) -> Mapping[str, float]:
        offer = self.offer(candidate)
        return {"price_usd_per_h": offer.usd_per_h, "gpus": float(offer.profile.gpus)}

    def quote(self, candidate: Candidate) -> Quote:
        offer = self.offer(candidate)
        seconds = START_SECONDS + LOAD_TEST_SECONDS * len(self._tests[offer.profile.key])
        return Quote(offer.usd_per_h * seconds / 3600, seconds)

    def evaluate(self, trial: Trial, run: Run) -> Result:
        offer = self.offer(trial.candidate)
        rows = [{"users": float(t.users), **t.metrics} for t in self._tests[offer.profile.key]]
        quote = self.quote(trial.candidate)
        metrics = {"price_usd_per_h": offer.usd_per_h, "engines": float(offer.engines)}
        return Result(metrics=metrics, rows=rows, spent_usd=quote.usd, seconds=quote.seconds, source="recorded")


def load_tests(model: str, profile: Profile, rows: Iterable[Mapping[str, float]]) -> list[LoadTest]:
    """The rows of a result as load tests."""
    return [LoadTest(model, profile, int(r["users"]), {m: v for m, v in r.items() if m in METRICS}) for r in rows]


class FewShot(BaseOptimizer):
    """Asks for the sweep worth most, until the remaining expected regret is small (`Advisor.next_measurement`).

    Args:
        advise: makes the question afresh; it is told every observation again, so a resumed study asks the same.
        profile: what a candidate runs on.
        stop_below: the stop rule.
    """

    def __init__(
        self,
        problem: Problem,
        advise: Callable[[], Advisor],
        profile: Callable[[Candidate], Profile],
        stop_below: float = STOP_BELOW,
    ) -> None:
        super().__init__(problem)
        self._profile, self._stop_below = profile, stop_below
        self._advisor = advise()

    def _suggest(self) -> Candidate | None:
        if self._pending:  # its outcome decides what is worth measuring next
            return None
        free = {self._profile(c).key: c for c in (self.domain.candidates[i] for i in self.free[::-1])}
        wanted = self._advisor.next_measurement("sweep", self._stop_below, among=free)
        return None if wanted is None else free[wanted.profile.key]

    def _learn(self, observation: Observation) -> None:
        profile = self._profile(observation.candidate)
        if observation.result.status is Status.OK:
            self._advisor.update(load_tests(self._advisor.model.name, profile, observation.result.rows))
        else:
            self._advisor.exclude(profile)


def few_shot_factory(
    advise: Callable[[], Advisor], profile: Callable[[Candidate], Profile], stop_below: float = STOP_BELOW
) -> Factory:
    """A factory of `FewShot` for `cloudbandit.Study`."""
    return lambda problem: FewShot(problem, advise, profile, stop_below)


def estimated_curves(
    advisor: Advisor, profile: Callable[[Candidate], Profile]
) -> Callable[[Candidate], list[dict[str, float]]]:
    """What the surrogate believes of a candidate, in the median, as a load curve: for
    `cloudbandit.objectives.estimated.Estimated`, judged by `FleetGoal`."""

    def predict(candidate: Candidate) -> list[dict[str, float]]:
        row = [p.key for p in advisor.profiles].index(profile(candidate).key)
        samples = advisor.samples()
        return [
            {"users": float(users), **{m: float(np.median(v[:, row, j])) for m, v in samples.items()}}
            for j, users in enumerate(advisor.loads)
        ]

    return predict
