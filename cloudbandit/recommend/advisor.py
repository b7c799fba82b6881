"""One question, answered again after every measurement: which machines serve this model, for these users, within these SLOs?"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloudbandit.catalogue.gpus import Profile
from cloudbandit.catalogue.models import ModelSpec
from cloudbandit.catalogue.offers import ServingOffer, fitting
from cloudbandit.core.curve import meets, replicas_for
from cloudbandit.core.errors import DataError, UsageError
from cloudbandit.core.fleet import parse_slos
from cloudbandit.core.goal import SLO
from cloudbandit.recommend.answer import Answer, Recommendation
from cloudbandit.recommend.decision import (
    Choices,
    choose,
    confident_load,
    expected_regret,
    ok_loads,
    probability,
    utilities,
    worth_of_measuring,
)
from cloudbandit.surrogate.loads import LOADS, THROUGHPUTS, LoadTest, RequestLengths, merged
from cloudbandit.surrogate.model import Surrogate, from_log, to_log

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MEDIAN = 0.5
STOP_BELOW = 0.02
"""Expected regret below which measuring more is not worth it."""
_TOKENS = "output_tok_per_s"
_NORMAL_80 = 1.2815515655446004
"""Half the width of a normal's central 80 %, in standard deviations."""


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


def parse_risk(risk: str | float) -> str | float:
    """``"median"``, ``"utility"``, or the probability with which the SLOs must be met.

    Raises:
        UsageError: none of these.
    """
    if risk in ("median", "utility"):
        return MEDIAN if risk == "median" else "utility"
    try:
        p = float(risk)
    except ValueError:
        p = math.nan
    if not 0 < p < 1:
        raise UsageError(f"risk is {risk!r}; allowed: median, utility, or a probability between 0 and 1 such as 0.9")
    return p


class Advisor:
    """A model, offers, a workload, users and SLOs; measurements are added with `update`.

    Args:
        surrogate: trained on other models.
        model: what is to be served.
        offers: what can be rented. Those whose engines cannot hold the model are left out.
        slos: see `loads.parse_slos`.
        users: concurrent users in all, each with one request in flight.
        workload: lengths of requests; by default those of the training data.
        measured: load tests of this model.
        risk: see `parse_risk`.
        loads: users per engine that are considered.
        only_measured: leave out offers whose profile was not measured, and predict nothing: a load that was not measured is
            not considered.
        size: samples.

    Raises:
        UsageError: users < 1, no SLO, or no offer holds the model.
        DataError: measurements contradict each other.
    """

    def __init__(
        self,
        surrogate: Surrogate,
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
        self.surrogate, self.model, self.users, self.loads, self.size = surrogate, model, users, tuple(loads), size
        self.workload = workload or surrogate.tests.workload
        self.slos = parse_slos(slos, max_failure_rate)
        self.risk = parse_risk(risk)
        self.measured = merged(measured)
        self.notes = list(notes)
        here = {t.profile.key for t in self.measured}
        offers = list(offers)
        self._only_measured = only_measured
        if only_measured:
            kept = [o for o in offers if o.profile.key in here]
            if len(kept) < len(offers):
                self.notes.append(
                    f"{len(offers) - len(kept)} offers on which {model.name} was not measured are left out"
                )
            offers = kept
        self.offers = [o for o in offers if o.profile.key in here]
        rest = [o for o in offers if o.profile.key not in here]
        if rest or not self.offers:
            try:
                self.offers += fitting(model, rest, self.workload.longest)
            except UsageError:
                if not self.offers:
                    raise
        self.offers.sort(key=offers.index)
        self._consider(self.offers)
        self._notes()

    def _consider(self, offers: list[ServingOffer]) -> None:
        self.offers = offers
        self.profiles = list({o.profile.key: o.profile for o in offers}.values())
        self._choices = Choices.of(offers, [p.key for p in self.profiles])
        self._samples: Mapping[str, Floats] | None = None

    def _notes(self) -> None:
        if any("ttft" in s.metric for s in self.slos):
            self.notes.append(
                "time to first token is without the accept time, whose median is 4 to 140 ms in the training data"
            )
        recorded = self.surrogate.tests.workload
        for name, mine, theirs in (
            ("input", self.workload.input_mean, recorded.input_mean),
            ("output", self.workload.output_mean, recorded.output_mean),
        ):
            if not 2 / 3 <= mine / theirs <= 3 / 2:
                self.notes.append(
                    f"requests of {mine:g} {name} tokens are extrapolated from measurements with {theirs:.3g}: "
                    "measure before you rent"
                )
        known = {t.profile.gpu.part for t in self.surrogate.tests.tests}
        new = sorted({p.gpu.part for p in self.profiles} - known - {t.profile.gpu.part for t in self.measured})
        if new:
            self.notes.append(f"never measured with any model, so extrapolated from datasheets: {', '.join(new)}")

    # ── beliefs ──

    @property
    def _metrics(self) -> list[str]:
        return list(dict.fromkeys([*(s.metric for s in self.slos), _TOKENS]))

    def _known(self, metric: str) -> Floats:
        """(profiles, loads), NaN where not measured."""
        row, column = {p.key: i for i, p in enumerate(self.profiles)}, {u: j for j, u in enumerate(self.loads)}
        out = np.full((len(self.profiles), len(self.loads)), np.nan)
        for t in self.measured:
            if metric in t.metrics and t.profile.key in row and t.users in column:
                out[row[t.profile.key], column[t.users]] = t.metrics[metric]
        return out

    def samples(self) -> Mapping[str, Floats]:
        """Metric → (samples, profiles, loads). Where everything was measured nothing is trained."""
        if self._samples is None:
            known = {m: self._known(m) for m in self._metrics}
            slo_metrics = {s.metric for s in self.slos}
            settled = np.logical_or.reduce([self._decided(known, s) for s in self.slos])
            if self._only_measured or all((np.isfinite(known[m]) | settled).all() for m in slo_metrics):
                self._samples = {m: v[None] for m, v in known.items()}
            else:
                self._samples = self.surrogate.samples(
                    self.model, self.profiles, self.loads, self._metrics, self.measured, self.workload, self.size
                )
        return self._samples

    def _decided(self, known: Mapping[str, Floats], slo: SLO) -> Bools:
        """Where an SLO is known to be violated at this load or a lower one, so that nothing else matters."""
        bad = np.isfinite(known[slo.metric]) & ~meets(slo, known[slo.metric], self.loads, self.users)
        out: Bools = np.logical_or.accumulate(bad, axis=-1)
        return out

    def ok(self) -> Bools:
        """(samples, profiles, loads): every SLO met at this load and all lower ones."""
        return ok_loads(self.samples(), self.slos, self.loads, self.users)

    # ── answers ──

    def recommend(self) -> Answer:
        """The offers that meet the SLOs at the chosen risk, best first."""
        if not self.offers:
            why = f"{self.model.name} runs on none of the offers"
            return Answer(self.model.name, self.users, self.slos, [], why, self.notes, 1.0)
        ok = self.ok()
        p = probability(ok)
        ranked: list[tuple[tuple[float, ...], Recommendation]] = []
        value = utilities(ok, self._choices, self.loads, self.users) if self.risk == "utility" else None
        confident = None if self.risk == "utility" else confident_load(p, float(self.risk))
        for i, offer in enumerate(self.offers):
            row = int(self._choices.row[i])
            if value is not None:
                column = int(np.argmax(value[i].round(12)))
                if value[i, column] <= 0:
                    continue
                first = -float(value[i, column].round(9))
            else:
                assert confident is not None
                column = int(confident[row])
                if column < 0:
                    continue
                first = 0.0
            r = self._entry(offer, row, column, p)
            ranked.append(((first, round(r.usd_per_h, 9), -float(r.users_per_replica), float(i)), r))
        ranked.sort(key=lambda pair: pair[0])
        best: dict[str, Recommendation] = {}
        for _, r in ranked:  # of the layouts of one machine the best
            best.setdefault(r.offer.name, r)
        decision = choose(ok, self._choices, self.loads, self.users, self.risk)
        return Answer(
            self.model.name,
            self.users,
            self.slos,
            list(best.values()),
            "" if best else self._why_not(),
            self.notes,
            expected_regret(ok, self._choices, self.loads, self.users, decision),
        )

    def _entry(self, offer: ServingOffer, row: int, column: int, p: Floats) -> Recommendation:
        per_machine = offer.engines * self.loads[column]
        replicas = int(replicas_for(self.users, per_machine))
        load = math.ceil(self.users / (replicas * offer.engines))
        at = min(int(np.searchsorted(self.loads, load)), column)
        samples = self.samples()
        medians, intervals = {}, {}
        for slo in self.slos:
            drawn = samples[slo.metric][:, row, at]
            medians[slo.metric] = float(np.median(drawn))
            intervals[slo.metric] = self._interval(slo.metric, drawn)
        tokens = float(np.median(samples[_TOKENS][:, row, at]))  # of an engine, in the median
        known = tokens > 0 and math.isfinite(tokens)
        return Recommendation(
            offer,
            replicas,
            per_machine,
            load,
            replicas * offer.usd_per_h,
            offer.usd_per_h / offer.engines / (tokens * 3600) * 1e6 if known else None,
            float(p[row, at]),
            self._binding(row, column),
            "measured" if self._was_measured(row, column) else "predicted",
            medians,
            intervals,
        )

    def _interval(self, metric: str, drawn: Floats) -> tuple[float, float]:
        """Central 80 %, calibrated like `Surrogate.half_width`."""
        if len(drawn) == 1 or np.ptp(drawn) == 0:
            return float(drawn[0]), float(drawn[0])
        low, middle, high = np.quantile(to_log(metric, drawn), [0.1, 0.5, 0.9])
        scale = self.surrogate.half_width(metric, 0.8) / _NORMAL_80
        ends = from_log(metric, np.array([middle + scale * (low - middle), middle + scale * (high - middle)]))
        return float(ends[0]), float(ends[1])

    def _was_measured(self, row: int, column: int) -> bool:
        return all(np.isfinite(self._known(s.metric)[row, : column + 1]).all() for s in self.slos)

    def _binding(self, row: int, column: int) -> str:
        if column + 1 == len(self.loads):
            return f"none up to {self.loads[-1]} users"
        met = [self._share_met(s, row, column + 1) for s in self.slos]
        return str(self.slos[int(np.argmin(met))])

    def _share_met(self, slo: SLO, row: int, column: int) -> float:
        values = self.samples()[slo.metric][:, row]
        return float(meets(slo, values, self.loads, self.users)[:, column].mean())

    def _why_not(self) -> str:
        """The binding SLO, and the best that is attainable of it."""
        each = {s: probability(ok_loads(self.samples(), [s], self.loads, self.users)).max() for s in self.slos}
        wanted = MEDIAN if self.risk == "utility" else float(self.risk)
        alone = [s for s in self.slos if each[s] < wanted]
        parts = []
        for slo in alone or sorted(self.slos, key=lambda s: each[s])[:2]:
            values = self.samples()[slo.metric]
            scaled = values * (self.users / np.asarray(self.loads, float)) if slo.metric in THROUGHPUTS else values
            middle = np.median(scaled, axis=0)
            best = np.unravel_index(int(np.argmin(middle) if slo.at_most else np.argmax(middle)), middle.shape)
            where = f"{self.profiles[int(best[0])]} at {self.loads[int(best[1])]} users per engine"
            parts.append(f"{slo}: the best attainable is {float(middle[best]):.4g} ({where})")
        if alone:
            return "no offer meets " + "; ".join(parts)
        return "each SLO can be met, but no offer meets them together; the hardest two are " + "; ".join(parts)

    # ── few-shot ──

    @property
    def regret_left(self) -> float:
        """What the recommendation is expected to cost above the cheapest choice, as a share of it, 0 … 1."""
        ok = self.ok()
        return expected_regret(
            ok, self._choices, self.loads, self.users, choose(ok, self._choices, self.loads, self.users, "utility")
        )

    def next_measurement(
        self, kind: str = "sweep", stop_below: float = STOP_BELOW, among: Container[tuple[str, int]] | None = None
    ) -> Measurement | None:
        """What to benchmark next: the profile whose measurement promises most.

        Args:
            kind: ``"sweep"`` (every load) or ``"point"`` (the one load whose outcome is least certain).
            stop_below: the stop rule: None is returned once the remaining expected regret is below this.
            among: keys of the profiles that can be measured; None: all.

        Returns:
            None: measuring more is not worth it, or nothing is left.
        """
        if kind not in ("sweep", "point"):
            raise UsageError(f"kind is {kind!r}; allowed: sweep, point")
        if not self.offers:
            return None
        ok = self.ok()
        known = np.logical_and.reduce([np.isfinite(self._known(s.metric)) for s in self.slos])
        settled = np.logical_or.reduce([self._decided({s.metric: self._known(s.metric)}, s) for s in self.slos])
        open_ = ~(known | settled)
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
        self._samples = None

    def curve(self, offer: ServingOffer, metric: str) -> tuple[Floats, Floats]:
        """Over the loads: USD per hour of the fleet, and the metric's median."""
        row = [p.key for p in self.profiles].index(offer.profile.key)
        cost = replicas_for(self.users, offer.engines * np.array(self.loads)) * offer.usd_per_h
        return cost, np.median(self.samples()[metric][:, row], axis=0)

    def band(self, profile: Profile, metric: str, level: float = 0.8) -> tuple[Floats, Floats, Floats]:
        """Low, median and high of a metric over the loads on one profile: a calibrated central predictive interval."""
        belief = self.surrogate.belief(self.model, [profile], self.loads, metric, self.measured, self.workload)
        width = self.surrogate.half_width(metric, level) * np.sqrt(np.maximum(np.diag(belief.covariance), 0.0))
        low, middle, high = (from_log(metric, belief.mean + s * width) for s in (-1, 0, 1))
        return low, middle, high
