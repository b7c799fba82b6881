"""How good recommendations are: LLM-Pilot's score, and a grid of settings around it.

The score of LLM-Pilot (SC 2024, section V): S is the share of LLMs that the recommended machines serve within the SLO, O the
mean overspend against the cheapest choice over those successes, S/O the harmonic mean of S and max(0, 1 − O). Over a grid of
SLOs and users, SOmean is the mean of S/O, and util the mean over decisions of max(0, 1 − overspend), 0 where the users are not
served.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cloudbandit.catalogue.offers import ServingOffer, paper_offers
from cloudbandit.core.curve import max_users
from cloudbandit.core.goal import SLO
from cloudbandit.recommend.decision import Choices, choose, ok_loads, true_costs
from cloudbandit.surrogate.loads import LOADS, LoadTests

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NTTFT, ITL, EXCESS = "nttft_p50_ms", "itl_p50_ms", "failure_rate_excess"
MAX_EXCESS = 0.05


@dataclass(frozen=True, slots=True)
class Setting:
    """One question asked of every LLM."""

    nttft_ms: float
    itl_ms: float
    users: int

    @property
    def slos(self) -> tuple[SLO, SLO]:
        return SLO(NTTFT, self.nttft_ms), SLO(ITL, self.itl_ms)


PAPER = Setting(100, 50, 200)
GRID = tuple(
    Setting(n, i, u)
    for n, i, u in itertools.product((5, 10, 20, 50, 100, 200), (25, 30, 40, 50, 75, 100), (50, 200, 1000))
)


@dataclass(frozen=True)
class Truth:
    """One LLM's measured curves on the profiles it was measured on, in the order of their names."""

    model: str
    offers: Sequence[ServingOffer]
    metrics: Mapping[str, Floats]
    """(1, profiles, loads) each; NaN where unknown."""
    failure_aware: bool = False
    choices: Choices = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", Choices.of(self.offers, [o.profile.key for o in self.offers]))

    def ok(self, setting: Setting) -> Bools:
        slos: tuple[SLO, ...] = setting.slos
        metrics = self.metrics
        if self.failure_aware:  # where failures are unknown none is assumed
            slos = (*slos, SLO(EXCESS, MAX_EXCESS))
            metrics = {**metrics, EXCESS: np.nan_to_num(metrics[EXCESS], nan=0.0)}
        return ok_loads(metrics, slos, LOADS, setting.users)


def truths(tests: LoadTests, offers: Sequence[ServingOffer] | None = None, failure_aware: bool = False) -> list[Truth]:
    """Per LLM, what the load tests say."""
    offers = paper_offers() if offers is None else offers
    out = []
    for model in tests.names:
        rows = tests.of(model)
        present = {t.profile.key for t in rows}
        mine = [o for o in offers if o.profile.key in present]
        index = {o.profile.key: i for i, o in enumerate(mine)}
        metrics = {m: np.full((1, len(mine), len(LOADS)), np.nan) for m in (NTTFT, ITL, EXCESS)}
        for t in rows:
            for m in metrics:
                metrics[m][0, index[t.profile.key], LOADS.index(t.users)] = t.metrics.get(m, np.nan)
        out.append(Truth(model, mine, metrics, failure_aware))
    return out


@dataclass(frozen=True, slots=True)
class Graded:
    """One decision, held against the truth. ``overspend`` is a share of the cheapest cost."""

    model: str
    setting: Setting
    success: bool
    overspend: float
    optimal: bool

    @property
    def utility(self) -> float:
        return max(0.0, 1.0 - self.overspend) if self.success else 0.0


Decider = Callable[[Truth, Setting], tuple[int, int] | None]
"""Which of the truth's offers, and how many."""


def grade(truth: Truth, setting: Setting, decision: tuple[int, int] | None) -> Graded | None:
    """None where not even the truth meets the SLO."""
    ok = truth.ok(setting)
    costs = true_costs(ok, truth.choices, LOADS, setting.users)[0]
    oracle = float(costs.min())
    if not np.isfinite(oracle):
        return None
    if decision is None:
        return Graded(truth.model, setting, False, 0.0, False)
    offer, count = decision
    most = int(max_users(ok, LOADS)[0, offer])
    price = truth.offers[offer].usd_per_h
    success = count * most * truth.offers[offer].engines >= setting.users
    return Graded(
        truth.model, setting, success, count * price / oracle - 1.0, success and count * price <= oracle * (1 + 1e-9)
    )


def so_score(graded: Iterable[Graded]) -> tuple[float, float, float]:
    """S in per cent, O in per cent (NaN without a success), and S/O of one setting's decisions."""
    graded = list(graded)
    over = [g.overspend for g in graded if g.success]
    s = len(over) / len(graded)
    if not over:
        return 0.0, math.nan, 0.0
    o = float(np.mean(over))
    good = max(0.0, 1.0 - o)
    return 100 * s, 100 * o, 2 * s * good / (s + good) if s + good > 0 and good > 0 else 0.0


@dataclass(frozen=True)
class Assessment:
    """Of one method over some settings and LLMs."""

    graded: Sequence[Graded]

    def by_setting(self) -> list[list[Graded]]:
        groups: dict[Setting, list[Graded]] = {}
        for g in self.graded:
            groups.setdefault(g.setting, []).append(g)
        return list(groups.values())

    @property
    def so_mean(self) -> float:
        return float(np.mean([so_score(group)[2] for group in self.by_setting()]))

    @property
    def util(self) -> float:
        return float(np.mean([g.utility for g in self.graded]))

    @property
    def optimal(self) -> float:
        return float(np.mean([g.optimal for g in self.graded]))

    def interval(self, statistic: str, seed: int = 0, draws: int = 1000) -> tuple[float, float]:
        """95 % bootstrap over LLMs; ``statistic``: ``so_mean``, ``util`` or ``optimal``."""
        models = sorted({g.model for g in self.graded})
        by_model = {m: [g for g in self.graded if g.model == m] for m in models}
        settings = {s: i for i, s in enumerate(dict.fromkeys(g.setting for g in self.graded))}
        tables = [_arrays(by_model[m], settings) for m in models]
        rng = np.random.default_rng(seed)
        values = []
        for _ in range(draws):
            drawn = [tables[i] for i in rng.integers(len(models), size=len(models))]
            values.append(_statistic(statistic, drawn))
        low, high = np.percentile(values, [2.5, 97.5])
        return float(low), float(high)


def _arrays(graded: Sequence[Graded], settings: Mapping[Setting, int]) -> Floats:
    """(4, settings): asked, success, overspend where successful, optimal."""
    out = np.zeros((4, len(settings)))
    for g in graded:
        i = settings[g.setting]
        out[:, i] = 1.0, g.success, g.overspend if g.success else 0.0, g.optimal
    return out


def _statistic(name: str, drawn: Sequence[Floats]) -> float:
    table = np.stack(drawn)
    asked, success, over, optimal = (table[:, k] for k in range(4))
    if name == "util":
        return float((success * np.maximum(0, 1 - over)).sum() / asked.sum())
    if name == "optimal":
        return float(optimal.sum() / asked.sum())
    n, k = asked.sum(0), success.sum(0)
    s = k / np.maximum(n, 1)
    good = np.maximum(0.0, 1.0 - over.sum(0) / np.maximum(k, 1)) * (k > 0)
    scores = np.where((s > 0) & (good > 0), 2 * s * good / np.where(s + good > 0, s + good, 1.0), 0.0)
    return float(scores[n > 0].mean())


def evaluate(truth: Sequence[Truth], settings: Sequence[Setting], decider: Decider) -> Assessment:
    """Ask every setting of every LLM."""
    graded = [grade(t, s, decider(t, s)) for s in settings for t in truth]
    return Assessment([g for g in graded if g is not None])


def from_samples(samples: Mapping[str, Mapping[str, Floats]], rule: str | float) -> Decider:
    """Decide by samples (per model: metric → (samples, profiles, loads)); point predictions are one sample."""

    def decide(truth: Truth, setting: Setting) -> tuple[int, int] | None:
        slos: tuple[SLO, ...] = setting.slos
        mine = samples[truth.model]
        if truth.failure_aware and EXCESS in mine:
            slos = (*slos, SLO(EXCESS, MAX_EXCESS))
        ok = ok_loads(mine, slos, LOADS, setting.users)
        return choose(ok, truth.choices, LOADS, setting.users, rule)

    return decide


def static_policy(gpu: str, count: int) -> Decider:
    """The same machine and number for every LLM; nothing where it was not measured."""

    def decide(truth: Truth, setting: Setting) -> tuple[int, int] | None:
        where = next((i for i, o in enumerate(truth.offers) if o.name == gpu), None)
        return None if where is None else (where, count)

    return decide


STATIC_COUNTS = (*range(1, 11), 15, 20, 25, 30, 35)

__all__ = [
    "GRID",
    "PAPER",
    "STATIC_COUNTS",
    "Graded",
    "Setting",
    "Assessment",
    "Truth",
    "evaluate",
    "from_samples",
    "grade",
    "so_score",
    "static_policy",
    "truths",
]
