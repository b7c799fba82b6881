"""What is known and believed of one model's metrics, on some profiles, over the loads.

A metric is answered by its own measurement; where that is missing by its stand-in's (`cloudbandit.core.metrics.stand_in`); where
nothing was measured by the source's prediction, of the stand-in where the source does not know the metric itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cloudbandit.catalogue.gpus import Profile
from cloudbandit.catalogue.models import ModelSpec
from cloudbandit.core.curve import answers, meets
from cloudbandit.core.goal import SLO
from cloudbandit.core.metrics import of_fleet, stand_in
from cloudbandit.recommend.decision import ok_loads
from cloudbandit.recommend.source import Source
from cloudbandit.surrogate.loads import LoadTest, RequestLengths
from cloudbandit.surrogate.model import from_log, to_log

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Beliefs:
    """Of a model, given load tests of it.

    Args:
        source: predicts what was not measured.
        model: what is served.
        profiles, loads: where metrics are asked for: an engine each, and its concurrent users.
        slos, users: what is asked of a fleet.
        metrics: that are wanted besides those of the SLOs.
        measured: load tests of the model, merged; those of another engine inform and are not known.
        predict: False: only what was measured is considered.
        size: samples.
    """

    def __init__(
        self,
        source: Source,
        model: ModelSpec,
        profiles: Sequence[Profile],
        loads: Sequence[int],
        slos: Sequence[SLO],
        users: int,
        *,
        metrics: Iterable[str],
        measured: Sequence[LoadTest],
        workload: RequestLengths,
        predict: bool = True,
        size: int = 256,
    ) -> None:
        self.source, self.model, self.workload = source, model, workload
        self.profiles, self.loads, self.slos, self.users = profiles, loads, slos, users
        self.metrics = tuple(dict.fromkeys([*(s.metric for s in slos), *metrics]))
        self.measured, self._trained = measured, source.metrics
        self._mine = [t for t in measured if t.engine in ("", source.engine)]
        self._predict, self._size = predict, size
        self._known: dict[str, Floats] = {}
        self._names: dict[str, list[list[str]]] = {}
        self._samples: Mapping[str, Floats] | None = None

    def _own(self, metric: str) -> Floats:
        row, column = {p.key: i for i, p in enumerate(self.profiles)}, {u: j for j, u in enumerate(self.loads)}
        out = np.full((len(self.profiles), len(self.loads)), np.nan)
        for t in self._mine:
            if metric in t.metrics and t.profile.key in row and t.users in column:
                out[row[t.profile.key], column[t.users]] = t.metrics[metric]
        return out

    def known(self, metric: str) -> Floats:
        """(profiles, loads): what was measured, of the metric or of its stand-in; NaN elsewhere."""
        if metric not in self._known:
            own = {m: self._own(m) for m in (metric, stand_in(metric)) if m is not None}
            self._known[metric] = answers(own, metric, self.loads)
        return self._known[metric]

    def predicted_by(self, metric: str) -> str:
        """The metric that the source predicts for this one."""
        other = stand_in(metric)
        return other if other is not None and metric not in self._trained and other in self._trained else metric

    def answered_by(self, metric: str) -> list[list[str]]:
        """(profiles, loads): the metric that answers for this one."""
        if metric not in self._names:
            own, known, other = self._own(metric), self.known(metric), stand_in(metric) or metric
            elsewhere = self.predicted_by(metric)
            self._names[metric] = [
                [
                    metric if np.isfinite(a) else other if np.isfinite(b) else elsewhere
                    for a, b in zip(*rows, strict=True)
                ]
                for rows in zip(own, known, strict=True)
            ]
        return self._names[metric]

    def bounds(self, metric: str) -> tuple[Floats, Floats]:
        """(profiles, loads) each: between which values the metric lies by what was measured at lower and at higher loads, for
        latencies and failures grow with users, and a user's share of the throughput falls. Infinite where nothing tells."""
        per_user = np.asarray(self.loads, float) if of_fleet(metric) else np.ones(len(self.loads))
        known = self.known(metric) / per_user
        up, down = (known[:, ::-1], known) if of_fleet(metric) else (known, known[:, ::-1])
        low = np.maximum.accumulate(np.where(np.isnan(up), -np.inf, up), axis=1)
        high = np.minimum.accumulate(np.where(np.isnan(down), np.inf, down), axis=1)
        low, high = (low[:, ::-1], high) if of_fleet(metric) else (low, high[:, ::-1])
        return low * per_user, high * per_user

    def decided(self, slo: SLO) -> Bools:
        """(profiles, loads): where an SLO is known to be violated at this load or a lower one, so that nothing else matters."""
        low, high = self.bounds(slo.metric)
        best = low if slo.at_most else high
        bad = np.isfinite(best) & ~meets(slo, best, self.loads, self.users)
        out: Bools = np.logical_or.accumulate(bad, axis=-1)
        return out

    def known_to_meet(self, slo: SLO) -> Bools:
        """(profiles, loads): where an SLO was measured to be met, here or at a higher load; or is taken for granted."""
        low, high = self.bounds(slo.metric)
        worst = high if slo.at_most else low
        out: Bools = np.isfinite(worst) & meets(slo, worst, self.loads, self.users)
        return out | (~np.isfinite(worst) if slo.metric in self.source.assumed else False)

    def open(self) -> Bools:
        """(profiles, loads): where a measurement could tell whether the SLOs are met."""
        known = np.logical_and.reduce([self.known_to_meet(s) for s in self.slos])
        out: Bools = ~(known | np.logical_or.reduce([self.decided(s) for s in self.slos]))
        return out

    def samples(self) -> Mapping[str, Floats]:
        """Metric → (samples, profiles, loads). Where all that matters was measured nothing is trained."""
        if self._samples is None:
            known = {m: self.known(m) for m in self.metrics}
            settled = np.logical_or.reduce([self.decided(s) for s in self.slos])
            if not self._predict or all((np.isfinite(known[s.metric]) | settled).all() for s in self.slos):
                self._samples = {m: v[None] for m, v in known.items()}
            else:
                drawn = self.source.samples(
                    self.model,
                    self.profiles,
                    self.loads,
                    list(dict.fromkeys(self.predicted_by(m) for m in self.metrics)),
                    self.measured,
                    self.workload,
                    self._size,
                )
                self._samples = {
                    m: np.where(np.isnan(known[m]), np.clip(drawn[self.predicted_by(m)], *self.bounds(m)), known[m])
                    for m in self.metrics
                }
        return self._samples

    def ok(self) -> Bools:
        """(samples, profiles, loads): every SLO met at this load and all lower ones."""
        return ok_loads(self.samples(), self.slos, self.loads, self.users)

    def medians(self, profile: Profile) -> dict[str, Floats]:
        """Over the loads on one profile: each metric by the name of what answers; NaN where another one does."""
        row = [p.key for p in self.profiles].index(profile.key)
        out: dict[str, Floats] = {}
        for metric in self.metrics:
            middle = np.median(self.samples()[metric][:, row], axis=0)
            for j, name in enumerate(self.answered_by(metric)[row]):
                out.setdefault(name, np.full(len(self.loads), np.nan))[j] = middle[j]
        return out

    def band(self, profile: Profile, metric: str, level: float = 0.8) -> tuple[Floats, Floats, Floats]:
        """Low, median and high of what is predicted for a metric, over the loads on one profile: a central interval."""
        name = self.predicted_by(metric)
        drawn = self.source.samples(
            self.model, [profile], self.loads, [name], self.measured, self.workload, self._size
        )[name][:, 0]
        return self.interval(name, drawn, level)

    def interval(self, metric: str, drawn: Floats, level: float = 0.8) -> tuple[Floats, Floats, Floats]:
        """Low, median and high of draws (first axis), calibrated by the source."""
        logs = to_log(metric, drawn)
        low, middle, high = np.quantile(logs, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
        stretch = self.source.spread(metric, level)
        ends = (middle + stretch * (end - middle) for end in (low, middle, high))
        low, middle, high = (from_log(metric, end) for end in ends)
        return low, middle, high
