"""The recommender as a study: measured load curves are judged as fleets, and an optimizer asks for the next one worth measuring.

Here CloudBandit and LLM-Pilot meet: the same `cloudbandit.Study` runs a bandit over GPUs, or the recommender, on the same
objective under the same goal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

from cloudbandit.catalogue.gpus import Profile
from cloudbandit.catalogue.offers import ServingOffer
from cloudbandit.core.base import BaseOptimizer
from cloudbandit.core.curve import ENGINES, PRICE, USERS
from cloudbandit.core.errors import UsageError
from cloudbandit.core.fleet import SERVING
from cloudbandit.core.listing import Listing
from cloudbandit.core.protocols import Factory, Problem, Quote, Run
from cloudbandit.core.space import Domain
from cloudbandit.core.trial import Candidate, Observation, Result, Status, Trial
from cloudbandit.recommend.advisor import STOP_BELOW, Advisor
from cloudbandit.surrogate.loads import LoadTest, load_curves

LOAD_TEST_SECONDS = 120.0
START_SECONDS = 300.0


class RecordedSweeps:
    """An objective that replays measured load tests of one model: a trial is a sweep over the loads on one offer.

    What a sweep costs is a model: the machine's price for the time to start and 120 s per load, LLM-Pilot's test.

    Args:
        tests: of one model.
        offers: those it was measured on make the domain: an arm per GPU, a config per number of GPUs.

    Raises:
        UsageError: it was measured on none of the offers, or two of them are layouts of one profile.
    """

    def __init__(self, tests: Iterable[LoadTest], offers: Iterable[ServingOffer]) -> None:
        self._curves = load_curves(tests, offers)
        self.offers: dict[tuple[str, int], ServingOffer] = {}
        for offer in self._curves:
            other = self.offers.setdefault(offer.profile.key, offer)
            if other is not offer:
                raise UsageError(
                    f"{other.name} and {offer.name} both run engines of {offer.profile}, which is one config here; "
                    "cure: leave one of them out"
                )
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
        return {PRICE: offer.usd_per_h, ENGINES: float(offer.engines), "gpus": float(offer.profile.gpus)}

    def quote(self, candidate: Candidate) -> Quote:
        offer = self.offer(candidate)
        seconds = START_SECONDS + LOAD_TEST_SECONDS * len(self._curves[offer].loads)
        return Quote(offer.usd_per_h * seconds / 3600, seconds)

    def evaluate(self, trial: Trial, run: Run) -> Result:
        quote, curve = self.quote(trial.candidate), self._curves[self.offer(trial.candidate)]
        return Result(
            metrics={PRICE: curve.usd_per_h, ENGINES: float(curve.engines)},
            rows=curve.rows(),
            spent_usd=quote.usd,
            seconds=quote.seconds,
            source="recorded",
        )


def load_tests(model: str, profile: Profile, rows: Iterable[Mapping[str, float]]) -> list[LoadTest]:
    """The rows of a result as load tests."""
    return [LoadTest(model, profile, int(r[USERS]), {m: v for m, v in r.items() if m in SERVING}) for r in rows]


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
    advisor: Advisor, offer: Callable[[Candidate], ServingOffer]
) -> Callable[[Candidate], list[dict[str, float]]]:
    """What is believed of a candidate, in the median, as the rows of a load curve: for
    `cloudbandit.objectives.estimated.Estimated` with the facts ``price_usd_per_h`` and ``engines``, judged by `FleetGoal`.

    Args:
        offer: what a candidate stands for.
    """
    return lambda candidate: advisor.curve(offer(candidate)).rows()
