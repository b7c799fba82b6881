"""One question, answered again after every measurement: which machines serve this model, for these users, within these SLOs?"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloudbandit.catalogue.gpus import Profile
from cloudbandit.catalogue.models import ModelSpec
from cloudbandit.catalogue.offers import ServingOffer, fitting
from cloudbandit.core.curve import LoadCurve
from cloudbandit.core.errors import DataError, NoOfferError, UsageError
from cloudbandit.core.fleet import TOKENS, parse_slos
from cloudbandit.core.goal import SLO
from cloudbandit.core.metrics import FAILURES, stand_in
from cloudbandit.recommend.answer import Answer
from cloudbandit.recommend.beliefs import Beliefs
from cloudbandit.recommend.decision import Choices, choose, expected_regret, worth_of_measuring
from cloudbandit.recommend.ranking import parse_risk, rank
from cloudbandit.recommend.source import ACCEPT_TIME, Source
from cloudbandit.surrogate.loads import LOADS, LoadTest, RequestLengths, merged

Floats = npt.NDArray[np.float64]

STOP_BELOW = 0.02
"""Expected regret below which measuring more is not worth it."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What to benchmark next: one engine on ``profile``, at these loads (concurrent users).

    ``worth``: the expected utility of the best offer known for certain once this is measured; ``regret_left``: what is
    expected to be lost by stopping now instead.
    """

    profile: Profile
    loads: tuple[int, ...]
    worth: float
    regret_left: float


class Advisor:
    """A model, offers, a workload, users and SLOs; measurements are added with `update`.

    Args:
        source: predicts what was not measured.
        model: what is to be served.
        offers: what can be rented. Those whose engines cannot hold the model, or not run it, are left out.
        slos: see `cloudbandit.core.fleet.parse_slos`.
        users: concurrent users in all, each with one request in flight.
        workload: lengths of requests; by default the source's.
        measured: load tests of this model; those of another engine inform, and answer for nothing.
        risk: see `cloudbandit.recommend.ranking.parse_risk`.
        loads: users per engine that are considered.
        only_measured: leave out offers whose profile was not measured, and predict nothing: a load that was not measured is
            not considered.
        size: samples.

    Raises:
        UsageError: users < 1, no SLO, an SLO on what no load test has, or no offer holds the model.
        DataError: measurements contradict each other.
    """

    def __init__(
        self,
        source: Source,
        model: ModelSpec,
        offers: Iterable[ServingOffer],
        slos: Iterable[str | SLO],
        users: int,
        *,
        workload: RequestLengths | None = None,
        measured: Iterable[LoadTest] = (),
        risk: str | float = "median",
        loads: Sequence[int] = LOADS,
        only_measured: bool = False,
        max_failure_rate: float | None = 0.01,
        size: int = 256,
        notes: Iterable[str] = (),
    ) -> None:
        if not (isinstance(users, int) and users >= 1):
            raise UsageError(f"users is {users!r}; it must be a whole number ≥ 1: how many are served at once")
        if not loads or list(loads) != sorted({int(u) for u in loads}) or loads[0] < 1:
            raise UsageError(f"loads must be increasing whole numbers ≥ 1, got {list(loads)}")
        self.source, self.model, self.users, self.loads, self.size = source, model, users, tuple(loads), size
        self.workload = workload or source.workload
        self.slos = parse_slos(slos, max_failure_rate)
        self.risk = parse_risk(risk)
        self.measured = merged(measured)
        self.notes = list(notes)
        here = {t.profile.key for t in self.measured if t.engine in ("", source.engine)}
        offers = list(offers)
        self._only_measured = only_measured
        if only_measured:
            kept = [o for o in offers if o.profile.key in here]
            if offers and not kept:
                raise NoOfferError(
                    f"{model.name} was measured on none of the {len(offers)} offers; cure: predict (only_measured=False, "
                    "--predict), measure it (--measured FILE), or offer what it was measured on"
                )
            if len(kept) < len(offers):
                self.notes.append(
                    f"{len(offers) - len(kept)} offers on which {model.name} was not measured are left out"
                )
            offers = kept
        self.offers = [o for o in offers if o.profile.key in here]
        rest = [o for o in offers if o.profile.key not in here]
        if rest or not self.offers:
            try:
                self.offers += self._servable(rest)
            except UsageError:
                if not self.offers:
                    raise
        place = {id(o): i for i, o in enumerate(offers)}
        self.offers.sort(key=lambda o: place[id(o)])
        self._check_known()
        self._consider(self.offers)
        self._notes()

    def _servable(self, offers: Sequence[ServingOffer]) -> list[ServingOffer]:
        """Those that hold the model and whose GPUs and engine can run it.

        Raises:
            NoOfferError: none; the message says why the roomiest cannot.
        """
        hold = fitting(self.source.as_served(self.model), offers, self.workload.longest)
        why = {o.profile.key: "" for o in hold}
        for key, profile in {o.profile.key: o.profile for o in hold}.items():
            why[key] = self.source.refusal(self.model, profile, self.workload)
        served = [o for o in hold if not why[o.profile.key]]
        refused = {text: key[0] for key, text in why.items() if text}
        if not served:
            raise NoOfferError(f"{self.model.name} runs on none of the offers that hold it: {next(iter(refused))}")
        if refused:
            parts = ", ".join(sorted(set(refused.values())))
            self.notes.append(f"left out, for they cannot run it ({next(iter(refused)).partition('. ')[0]}): {parts}")
        return served

    def _consider(self, offers: list[ServingOffer]) -> None:
        self.offers = offers
        self.profiles = list({o.profile.key: o.profile for o in offers}.values())
        self._choices = Choices.of(offers, [p.key for p in self.profiles])
        self.beliefs = Beliefs(
            self.source,
            self.model,
            self.profiles,
            self.loads,
            self.slos,
            self.users,
            metrics=[TOKENS],
            measured=self.measured,
            workload=self.workload,
            predict=not self._only_measured,
            size=self.size,
        )

    def _check_known(self) -> None:
        """Refuse an SLO on what no load test has."""
        have = self.source.metrics | {m for t in self.measured for m in t.metrics}
        for slo in self.slos:
            if not {slo.metric, stand_in(slo.metric)} & have:
                cure = "; or allow any with max_failure_rate=None" if slo.metric in FAILURES else ""
                raise UsageError(
                    f"{slo}: no load test has {slo.metric}; they have {', '.join(sorted(have))}. "
                    f"Cure: measure it, or limit another{cure}"
                )

    def _notes(self) -> None:
        if any(s.metric.startswith("nttft") for s in self.slos) and "ttft_p50_ms" not in self.source.metrics:
            self.notes.append(f"nttft in the training data leaves out {ACCEPT_TIME}")
        self.notes += self.source.notes(self.model, self.profiles, self.workload, self.measured)

    # ── beliefs ──

    def samples(self) -> Mapping[str, Floats]:
        """Metric → (samples, profiles, loads): what is known and believed. Where everything was measured nothing is trained."""
        return self.beliefs.samples()

    def curve(self, offer: ServingOffer) -> LoadCurve:
        """What is known and believed of an engine on an offer, in the median; each metric by the name of what answers.

        Raises:
            UsageError: nothing considered runs on its profile.
        """
        if offer.profile not in self.profiles:
            raise UsageError(
                f"{offer.name} ({offer.profile}) is not considered: it is too small, excluded or unmeasured"
            )
        return LoadCurve(
            tuple(map(float, self.loads)), self.beliefs.medians(offer.profile), offer.usd_per_h, offer.engines
        )

    def band(self, profile: Profile, metric: str, level: float = 0.8) -> tuple[Floats, Floats, Floats]:
        """See `cloudbandit.recommend.beliefs.Beliefs.band`."""
        return self.beliefs.band(profile, metric, level)

    # ── answers ──

    def recommend(self) -> Answer:
        """The offers that meet the SLOs at the chosen risk, best first."""
        return rank(self.beliefs, self.offers, self._choices, self.risk, self.notes)

    @property
    def engine(self) -> str:
        """Whose load curves are asked about."""
        return self.source.engine

    # ── few-shot ──

    @property
    def regret_left(self) -> float:
        """What the recommendation is expected to cost above the cheapest choice, as a share of it, 0 … 1."""
        ok = self.beliefs.ok()
        return expected_regret(
            ok, self._choices, self.loads, self.users, choose(ok, self._choices, self.loads, self.users, "utility")
        )

    def next_measurement(
        self, kind: str = "sweep", stop_below: float = STOP_BELOW, among: Container[tuple[str, int]] | None = None
    ) -> Measurement | None:
        """What to benchmark next: the profile whose measurement promises most.

        Args:
            kind: ``"sweep"`` (loads that double, and what lies between once these are known) or ``"point"`` (the one load whose
                outcome is least certain).
            stop_below: the stop rule: None is returned once the remaining expected regret is below this.
            among: keys of the profiles that can be measured; None: all.

        Returns:
            None: measuring more is not worth it, or nothing is left.
        """
        if kind not in ("sweep", "point"):
            raise UsageError(f"kind is {kind!r}; allowed: sweep, point")
        if not self.offers:
            return None
        ok = self.beliefs.ok()
        open_ = self.beliefs.open()
        left = self.regret_left
        if not open_.any() or left < stop_below:
            return None
        full = [i for i in range(len(self.profiles)) if not open_[i].any()]
        worth = worth_of_measuring(ok, self._choices, self.loads, self.users, full)
        barred = [i for i, p in enumerate(self.profiles) if among is not None and p.key not in among]
        worth[[*full, *barred]] = -1.0
        best = int(np.argmax(worth.round(12)))
        if worth[best] < 0:
            return None
        columns = [j for j in range(len(self.loads)) if open_[best, j]]
        doublings = [j for j in columns if self.loads[j].bit_count() == 1]
        columns = doublings if kind == "sweep" and len(doublings) > 1 else columns
        if kind == "point":
            p = ok[:, best].mean(0)
            columns = [min(columns, key=lambda j: (abs(p[j] - 0.5), j))]
        return Measurement(self.profiles[best], tuple(self.loads[j] for j in columns), float(worth[best]), left)

    def exclude(self, profile: Profile) -> None:
        """The model does not run on this profile after all: its offers are no longer considered."""
        self._consider([o for o in self.offers if o.profile.key != profile.key])

    def update(self, tests: Iterable[LoadTest]) -> None:
        """Take measurements of this model into account; a repeat is averaged with what is there.

        Raises:
            DataError: they are of another model, or contradict what was measured before.
        """
        tests = list(tests)
        wrong = next((t for t in tests if t.model != self.model.name), None)
        if wrong is not None:
            raise DataError(f"the measurement is of {wrong.model!r}, and the question is about {self.model.name!r}")
        self.measured = merged([*self.measured, *tests])
        self._consider(self.offers)
