"""The surrogate: for an LLM never measured before, what each metric is believed to be on each profile at each load.

A point model of log metrics (`means`) is the prior mean, the process of its leave-one-LLM-out errors (`residuals`) the
prior covariance; measurements of the LLM condition it. Each metric is fitted when it is first asked for, and never again:
SLOs enter only where decisions are made.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cloudbandit.catalogue.gpus import Profile
from cloudbandit.catalogue.models import ModelSpec
from cloudbandit.core.errors import UsageError
from cloudbandit.core.metrics import FAILURES, entry, of_fleet
from cloudbandit.surrogate.loads import (
    METRICS,
    PERCENTILES,
    LoadTest,
    LoadTests,
    RequestLengths,
)
from cloudbandit.surrogate.means import Mean, components, fit_component, isotonic, one_thread, training_set
from cloudbandit.surrogate.physics import features, workload_offset
from cloudbandit.surrogate.residuals import Belief, Covariance, Points, condition, fit_covariance, grid

Floats = npt.NDArray[np.float64]

DEFAULT_MEAN = "boosted+extra-trees+gp"
_KEPT = 64
"""So many prior means are kept."""
_FLOOR = dict.fromkeys(FAILURES, 0.001)
"""Added before the logarithm, so that no failures at all have one."""


def to_log(metric: str, values: npt.ArrayLike) -> Floats:
    """A metric on the scale it is modelled on."""
    out: Floats = np.log(np.maximum(np.asarray(values, float) + _FLOOR.get(metric, 0.0), 1e-3))
    return out


def from_log(metric: str, values: Floats) -> Floats:
    """Undo `to_log`; a failure rate lies in [0, 1]."""
    plain = np.exp(values) - _FLOOR.get(metric, 0.0)
    return np.clip(plain, 0.0, 1.0) if metric in FAILURES else plain


def grows_with_users(metric: str) -> bool:
    """Latencies and failures can only get worse with load; throughput may go either way."""
    return not of_fleet(metric)


def quantity(metric: str) -> str:
    """Metrics of one family are percentiles of one quantity, and are ordered."""
    found = entry(metric)
    return found.name if found is not None else metric


_MEDIANS = ("nttft_p50_ms", "itl_p50_ms")
TOGETHER: tuple[tuple[str, ...], ...] = (_MEDIANS, tuple(m for m in METRICS if m not in _MEDIANS))
"""Metrics whose trees are grown together. Fixed, so that what is believed of one does not depend on what else was asked for."""

MetricMean = Callable[[Floats], Floats]
"""A fitted point model of one metric: (n, features) → (n,), logarithms."""


@dataclass(frozen=True)
class Fit:
    """One metric, fitted: the mean model on all training data, and the covariance of its leave-one-LLM-out errors."""

    mean: MetricMean
    covariance: Covariance
    errors: Floats
    """The leave-one-LLM-out errors over their standard deviation, absolute and sorted: what an interval is calibrated on."""


class Fitter:
    """Fits means on training data with some LLMs left out, each once.

    Args:
        tests: everything that may be learned from.
        mean: name of the point model; see `means.MEANS`.
        progress: called before each fit with a text.
    """

    def __init__(
        self, tests: LoadTests, mean: str = DEFAULT_MEAN, seed: int = 0, progress: Callable[[str], None] | None = None
    ) -> None:
        self.tests, self.mean, self.seed = tests, mean, seed
        self._progress = progress or (lambda text: None)
        self._x: dict[tuple[str, tuple[str, int], int], Floats] = {}
        self._means: dict[tuple[frozenset[str], tuple[str, ...], str, frozenset[str]], Mean] = {}

    def share(self, other: Fitter) -> None:
        """Use and fill the fits of another fitter of the same tests and seed."""
        self._x, self._means = other._x, other._means

    def x_of(self, test: LoadTest) -> Floats:
        """The features of a load test."""
        key = (test.model, test.profile.key, test.users)
        if key not in self._x:
            model = self.tests.models[test.model]
            self._x[key] = features(model, test.profile, [test.users], self.tests.workload)[0]
        return self._x[key]

    def fit(self, metric: str, without: frozenset[str] = frozenset(), base: frozenset[str] = frozenset()) -> MetricMean:
        """The point model of a metric, trained without some LLMs.

        Args:
            base: those of ``without`` whose data no hyperparameter may have seen either.
        """
        fitted = []
        for part in components(self.mean):
            group = self._group(metric) if part == "extra-trees" else (metric,)
            fitted.append((self._component(part, group, without, base), group.index(metric)))

        def predict(x: Floats) -> Floats:
            with one_thread():
                out: Floats = np.mean([f(x)[:, k] for f, k in fitted], axis=0)
            return out

        return predict

    def _group(self, metric: str) -> tuple[str, ...]:
        """The metrics of `TOGETHER` that were measured in the same tests."""
        mates = next(group for group in TOGETHER if metric in group)
        have = [metric in t.metrics for t in self.tests.tests]
        return tuple(m for m in mates if [m in t.metrics for t in self.tests.tests] == have)

    def _component(self, part: str, metrics: tuple[str, ...], without: frozenset[str], base: frozenset[str]) -> Mean:
        key = (without, metrics, part, base if part == "gp" else without)
        if key not in self._means:
            like = None if part != "gp" or without == base else self._component(part, metrics, base, base)
            rows = [t for t in self.tests.tests if t.model not in without and metrics[0] in t.metrics]
            self._progress(f"{part}, {metrics[0]}, {len(rows)} load tests")
            training = training_set(
                np.stack([self.x_of(t) for t in rows]),
                np.column_stack([to_log(m, [t.metrics[m] for t in rows]) for m in metrics]),
                [t.model for t in rows],
                [(t.model, t.profile.key) for t in rows],
                [grows_with_users(m) for m in metrics],
            )
            with one_thread():
                self._means[key] = fit_component(part, training, self.seed, like)
        return self._means[key]

    def fit_errors(self, metric: str, base: frozenset[str] = frozenset()) -> Fit:
        """The model trained without ``base``, and how wrong such a model is on each other LLM when trained without it too."""
        models = [m for m in self.tests.names if m not in base and any(metric in t.metrics for t in self.tests.of(m))]
        if len(models) < 2:
            raise UsageError(
                f"there are load tests of {len(models)} models with {metric}; a model not among them can be predicted from two "
                "or more. Cure: add measurements"
            )
        blocks = []
        for name in models:
            rows = [t for t in self.tests.of(name) if metric in t.metrics]
            mean = self.fit(metric, base | {name}, base)
            y = to_log(metric, [t.metrics[metric] for t in rows])
            blocks.append((points_of(rows), y - smooth(mean(np.stack([self.x_of(t) for t in rows])), rows, metric)))
        with one_thread():
            covariance = fit_covariance(blocks)
        scaled = [
            np.abs(r) / np.sqrt(np.diag(covariance.between(points, points)) + covariance.noise) for points, r in blocks
        ]
        return Fit(self.fit(metric, base, base), covariance, np.sort(np.concatenate(scaled)))


def smooth(predicted: Floats, rows: Sequence[LoadTest], metric: str) -> Floats:
    """Make predictions monotone in users, curve by curve."""
    out = predicted.copy()
    if grows_with_users(metric):
        curves: dict[tuple[str, int], list[int]] = {}
        for i, t in enumerate(rows):
            curves.setdefault(t.profile.key, []).append(i)
        for which in curves.values():
            order = sorted(which, key=lambda i: rows[i].users)
            out[order] = isotonic(out[order])
    return out


def points_of(rows: Sequence[LoadTest]) -> Points:
    """The points of one LLM's load tests."""
    profiles = list({t.profile.key: t.profile for t in rows}.values())
    number = {p.key: i for i, p in enumerate(profiles)}
    every = grid(profiles, [1])
    which = np.array([number[t.profile.key] for t in rows], np.int64)
    return Points(every.coordinates[which], which, np.log2(np.array([t.users for t in rows], float)))


@dataclass
class Surrogate:
    """What is believed of every metric of any LLM.

    Args:
        tests: load tests to learn from; none of the LLM asked about.
        mean: name of the point model.
        seed: determines everything.
        progress: called before each fit.
    """

    tests: LoadTests
    mean: str = DEFAULT_MEAN
    seed: int = 0
    progress: Callable[[str], None] | None = None
    _fits: dict[str, Fit] = field(default_factory=dict, repr=False)
    _priors: dict[Hashable, Floats] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._fitter = Fitter(self.tests, self.mean, self.seed, self.progress)

    def fit(self, metrics: Sequence[str]) -> None:
        """Train for these metrics, those not trained yet."""
        for metric in dict.fromkeys(metrics):
            if metric not in self._fits:
                self._fits[metric] = self._fitter.fit_errors(metric)

    def put(self, metric: str, fit: Fit) -> None:
        """Use a fit made elsewhere."""
        self._fits[metric] = fit

    def fitted(self, metric: str) -> Fit:
        """The fit of one metric, made if need be."""
        self.fit([metric])
        return self._fits[metric]

    def half_width(self, metric: str, level: float) -> float:
        """Of a central predictive interval, in standard deviations: the quantile of the leave-one-LLM-out errors (a normal's
        would be too wide, for their tails are heavy)."""
        return float(np.quantile(self.fitted(metric).errors, level))

    def belief(
        self,
        model: ModelSpec,
        profiles: Sequence[Profile],
        loads: Sequence[int],
        metric: str,
        measured: Sequence[LoadTest] = (),
        workload: RequestLengths | None = None,
    ) -> Belief:
        """Of the metric's logarithm (`to_log`) at every profile and load, profile by profile, given measurements of the model.
        Measurements elsewhere (on another profile, at another load) count too."""
        self.fit([metric])
        fit = self._fits[metric]
        workload = workload or self.tests.workload
        known = [t for t in measured if metric in t.metrics]
        every = list({p.key: p for p in (*profiles, *(t.profile for t in known))}.values())
        levels = sorted({*loads, *(t.users for t in known)})
        prior = self._prior(model, every, levels, metric, workload)
        place = {(p.key, u): i * len(levels) + j for i, p in enumerate(every) for j, u in enumerate(levels)}
        wanted = [place[p.key, u] for p in profiles for u in loads]
        extra = [place[t.profile.key, t.users] for t in known if place[t.profile.key, t.users] not in set(wanted)]
        chosen = np.array([*wanted, *extra], np.int64)
        where = {p: i for i, p in enumerate(chosen)}
        at = np.array([where[place[t.profile.key, t.users]] for t in known], np.int64)
        values = to_log(metric, [t.metrics[metric] for t in known])
        belief = condition(prior.ravel()[chosen], fit.covariance, grid(every, levels)[chosen], at, values)
        n = len(wanted)
        return Belief(belief.mean[:n], belief.covariance[:n, :n])

    def _prior(
        self,
        model: ModelSpec,
        profiles: Sequence[Profile],
        levels: Sequence[int],
        metric: str,
        workload: RequestLengths,
    ) -> Floats:
        """The point model, (profiles, levels); the latest few are kept."""
        key = (model, tuple(profiles), tuple(levels), metric, workload)
        if key not in self._priors:
            fit = self.fitted(metric)
            x = np.concatenate([features(model, p, levels, workload) for p in profiles])
            prior = fit.mean(x).reshape(len(profiles), len(levels))
            prior = isotonic(prior) if grows_with_users(metric) else prior
            while len(self._priors) >= _KEPT:
                del self._priors[next(iter(self._priors))]
            self._priors[key] = prior + workload_offset(metric, workload, self.tests.workload)
        return self._priors[key]

    def samples(
        self,
        model: ModelSpec,
        profiles: Sequence[Profile],
        loads: Sequence[int],
        metrics: Sequence[str],
        measured: Sequence[LoadTest] = (),
        workload: RequestLengths | None = None,
        size: int = 256,
    ) -> dict[str, Floats]:
        """Joint draws of each metric in its own unit, (size, profiles, loads): monotone in users where the metric is, and
        ordered by percentile within a family. Measured points are as measured.

        The draws of two families are independent (an assumption).
        """
        self.fit(metrics)
        out: dict[str, Floats] = {}
        for name in dict.fromkeys(quantity(m) for m in metrics):
            rng = np.random.default_rng([self.seed, *name.encode()])
            normal = rng.standard_normal((size, len(profiles) * len(loads)))
            below: Floats | None = None
            for metric in sorted((m for m in metrics if quantity(m) == name), key=_percentile):
                drawn = self.belief(model, profiles, loads, metric, measured, workload).samples(normal)
                drawn = drawn.reshape(size, len(profiles), len(loads))
                if grows_with_users(metric):
                    drawn = isotonic(drawn)
                drawn = from_log(metric, drawn)
                drawn = drawn if below is None else np.maximum(drawn, below)
                below = drawn
                out[metric] = drawn
        _put_measured(out, profiles, loads, measured)
        return out


def _percentile(metric: str) -> int:
    return next((i for i, p in enumerate(PERCENTILES) if f"_{p}_" in metric), -1)


def _put_measured(
    out: dict[str, Floats], profiles: Sequence[Profile], loads: Sequence[int], measured: Sequence[LoadTest]
) -> None:
    row, column = {p.key: i for i, p in enumerate(profiles)}, {u: j for j, u in enumerate(loads)}
    for t in measured:
        if t.profile.key in row and t.users in column:
            for metric in out:
                if metric in t.metrics:
                    out[metric][:, row[t.profile.key], column[t.users]] = t.metrics[metric]
