"""Leave-one-LLM-out evaluation of the recommender, with everything chosen inside.

For each held-out LLM, every entry of a list fixed beforehand (a point model and a decision rule) is scored by leaving out, in
turn, each of the other LLMs; the entry with the best inner util is the one used for the held-out LLM. Nothing of the held-out
LLM enters training, covariance or choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cloudbandit.catalogue.gpus import Profile
from cloudbandit.core.goal import SLO
from cloudbandit.recommend.assess.evaluation import (
    EXCESS,
    GRID,
    ITL,
    MAX_EXCESS,
    NTTFT,
    Assessment,
    Graded,
    Setting,
    Truth,
    evaluate,
    from_samples,
    grade,
)
from cloudbandit.recommend.decision import choose, ok_loads, worth_of_measuring
from cloudbandit.surrogate.loads import LOADS, LoadTest, LoadTests
from cloudbandit.surrogate.model import Fitter, Surrogate, from_log, to_log
from cloudbandit.surrogate.residuals import Belief

Floats = npt.NDArray[np.float64]

MEANS_TRIED = ("boosted", "extra-trees", "gp", "boosted+extra-trees", "boosted+extra-trees+gp")
RULES: tuple[str | float, ...] = (0.5, "utility")
ENTRIES = tuple((mean, rule) for mean in MEANS_TRIED for rule in RULES)
"""What the inner choice picks from. Fixed before any held-out score was computed."""

Entry = tuple[str, str | float]
Samples = Mapping[str, Floats]


class Folds:
    """Surrogates with LLMs left out, each fitted once.

    Args:
        tests: all load tests.
        metrics: what is predicted.
        size: samples per belief.
        progress: called before each fit.
    """

    def __init__(
        self,
        tests: LoadTests,
        metrics: Sequence[str] = (NTTFT, ITL),
        *,
        seed: int = 0,
        size: int = 256,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.tests, self.metrics, self.seed, self.size = tests, tuple(metrics), seed, size
        self._progress = progress or (lambda text: None)
        self._fitters: dict[str, Fitter] = {}
        self._surrogates: dict[tuple[str, str, str | None], Surrogate] = {}

    def _fitter(self, mean: str) -> Fitter:
        if mean not in self._fitters:
            fitter = Fitter(self.tests, mean, self.seed, self._progress)
            for other in self._fitters.values():  # components are shared: boosted is fitted once
                fitter.share(other)
                break
            self._fitters[mean] = fitter
        return self._fitters[mean]

    def surrogate(self, mean: str, outer: str, inner: str | None = None) -> Surrogate:
        """Trained without ``outer`` (and ``inner``). The covariance of errors and the hyperparameters of the Gaussian process are
        those of the LLMs left when ``outer`` is gone: for an inner fold the same few numbers."""
        key = (mean, outer, inner)
        if key not in self._surrogates:
            fitter, base = self._fitter(mean), frozenset({outer})
            surrogate = Surrogate(self.tests.without(outer), mean, self.seed)
            for metric in self.metrics:
                if inner is None:
                    fit = fitter.fit_errors(metric, base)
                else:
                    fit = self.surrogate(mean, outer).fitted(metric)
                    fit = replace(fit, mean=fitter.fit(metric, base | {inner}, base))
                surrogate.put(metric, fit)
            self._surrogates[key] = surrogate
        return self._surrogates[key]

    def samples(
        self, mean: str, truth: Truth, outer: str, inner: str | None = None, measured: Sequence[LoadTest] = ()
    ) -> Samples:
        """Of every metric for the truth's LLM on its profiles, (size, profiles, loads)."""
        surrogate = self.surrogate(mean, outer, inner)
        profiles = [o.profile for o in truth.offers]
        return surrogate.samples(
            self.tests.models[truth.model], profiles, LOADS, self.metrics, measured, size=self.size
        )

    def beliefs(self, mean: str, truth: Truth, metric: str) -> Belief:
        profiles = [o.profile for o in truth.offers]
        return self.surrogate(mean, truth.model).belief(self.tests.models[truth.model], profiles, LOADS, metric)


@dataclass(frozen=True)
class Nested:
    """The outcome: every entry on the held-out LLMs, and the one that was chosen for each."""

    entries: Mapping[Entry, Assessment]
    chosen: Mapping[str, Entry]
    inner_util: Mapping[str, Mapping[Entry, float]]

    def summary(self) -> Assessment:
        """The nested choice."""
        return Assessment([g for entry, s in self.entries.items() for g in s.graded if self.chosen[g.model] == entry])


def nested(
    folds: Folds, truth: Sequence[Truth], settings: Sequence[Setting] = GRID, entries: Sequence[Entry] = ENTRIES
) -> Nested:
    """Choose by inner leave-one-LLM-out, score on the held-out LLM."""
    chosen: dict[str, Entry] = {}
    inner_util: dict[str, dict[Entry, float]] = {}
    outer_graded: dict[Entry, list[Graded]] = {e: [] for e in entries}
    for held in truth:
        others = [t for t in truth if t.model != held.model]
        inner: dict[Entry, float] = {}
        for mean in dict.fromkeys(m for m, _ in entries):
            samples = {t.model: folds.samples(mean, t, held.model, t.model) for t in others}
            mine = {held.model: folds.samples(mean, held, held.model)}
            for entry in (e for e in entries if e[0] == mean):
                inner[entry] = evaluate(others, settings, from_samples(samples, entry[1])).util
                outer_graded[entry] += evaluate([held], settings, from_samples(mine, entry[1])).graded
        inner_util[held.model] = inner
        chosen[held.model] = max(inner, key=lambda e: (round(inner[e], 12), -list(entries).index(e)))
    return Nested({e: Assessment(g) for e, g in outer_graded.items()}, chosen, inner_util)


def choose_entry(folds: Folds, truth: Sequence[Truth], entries: Sequence[Entry] = ENTRIES) -> Entry:
    """The entry for LLMs not in the data: the same choice with all LLMs as inner ones."""
    scores = {}
    for mean in dict.fromkeys(m for m, _ in entries):
        samples = {t.model: folds.samples(mean, t, t.model) for t in truth}
        for entry in (e for e in entries if e[0] == mean):
            scores[entry] = evaluate(truth, GRID, from_samples(samples, entry[1])).util
    return max(scores, key=lambda e: (round(scores[e], 12), -list(entries).index(e)))


def coverage(
    folds: Folds, truth: Sequence[Truth], chosen: Mapping[str, Entry], metric: str, level: float = 0.8
) -> dict[str, float]:
    """Per LLM: the share of its measured points inside the central predictive interval of that level."""
    out = {}
    for t in truth:
        mean = chosen[t.model][0]
        belief = folds.beliefs(mean, t, metric)
        width = folds.surrogate(mean, t.model).half_width(metric, level) * np.sqrt(np.diag(belief.covariance))
        real = to_log(metric, t.metrics[metric]).ravel()
        known = np.isfinite(t.metrics[metric]).ravel()
        out[t.model] = float((np.abs(real - belief.mean) <= width)[known].mean())
    return out


def percentage_error(folds: Folds, truth: Sequence[Truth], chosen: Mapping[str, Entry], metric: str) -> float:
    """Mean absolute percentage error of the medians, over all points of all held-out LLMs."""
    errors = []
    for t in truth:
        predicted = from_log(metric, folds.beliefs(chosen[t.model][0], t, metric).mean)
        real = t.metrics[metric].ravel()
        errors.append(np.abs(predicted - real)[np.isfinite(real)] / real[np.isfinite(real)])
    return float(np.concatenate(errors).mean())


def few_shot_curve(
    folds: Folds,
    truth: Sequence[Truth],
    chosen: Mapping[str, Entry],
    settings: Sequence[Setting] = GRID,
    *,
    steps: int = 3,
    single: bool = False,
) -> list[Assessment]:
    """Measure, condition, recommend again: one summary per number of measurements, 0 to ``steps``.

    A measurement is a sweep (all loads on one profile) or a single load. The profile is the one worth most
    (`decision.worth_of_measuring`); the single load the one whose outcome is least certain.
    """
    graded: list[list[Graded]] = [[] for _ in range(steps + 1)]
    for t in truth:
        mean, rule = chosen[t.model]
        cache: dict[frozenset[tuple[int, int]], Samples] = {}
        for setting in settings:
            if grade(t, setting, None) is None:
                continue
            for k, decision in enumerate(_walk(folds, t, mean, rule, setting, steps, single, cache)):
                result = grade(t, setting, decision)
                assert result is not None
                graded[k].append(result)
    return [Assessment(g) for g in graded]


def _walk(
    folds: Folds,
    truth: Truth,
    mean: str,
    rule: str | float,
    setting: Setting,
    steps: int,
    single: bool,
    cache: dict[frozenset[tuple[int, int]], Samples],
) -> Iterator[tuple[int, int] | None]:
    slos: tuple[SLO, ...] = setting.slos
    if truth.failure_aware:
        slos = (*slos, SLO(EXCESS, MAX_EXCESS))
    known: frozenset[tuple[int, int]] = frozenset()
    for step in range(steps + 1):
        if known not in cache:
            cache[known] = folds.samples(mean, truth, truth.model, measured=_measured(truth, known))
        ok = ok_loads(cache[known], slos, LOADS, setting.users)
        yield choose(ok, truth.choices, LOADS, setting.users, rule if step == 0 else "utility")
        full = [i for i in range(len(truth.offers)) if all((i, j) in known for j in range(len(LOADS)))]
        worth = worth_of_measuring(ok, truth.choices, LOADS, setting.users, full)
        worth[full] = -1.0
        best = int(np.argmax(worth.round(12)))
        if worth[best] < 0:
            continue
        if single:
            p = ok[:, best].mean(0)
            open_loads = [j for j in range(len(LOADS)) if (best, j) not in known]
            known |= {(best, min(open_loads, key=lambda j: (abs(p[j] - 0.5), j)))}
        else:
            known |= {(best, j) for j in range(len(LOADS))}


def _measured(truth: Truth, known: frozenset[tuple[int, int]]) -> list[LoadTest]:
    out = []
    for i, j in sorted(known):
        profile: Profile = truth.offers[i].profile
        metrics = {m: float(v[0, i, j]) for m, v in truth.metrics.items() if np.isfinite(v[0, i, j])}
        out.append(LoadTest(truth.model, profile, LOADS[j], metrics))
    return out
