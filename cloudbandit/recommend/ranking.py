"""Beliefs and a risk, turned into an answer: which machines, how many, what they cost, what binds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cloudbandit.catalogue.offers import ServingOffer
from cloudbandit.core.curve import meets, of_the_fleet, replicas_for
from cloudbandit.core.errors import UsageError
from cloudbandit.core.fleet import TOKENS
from cloudbandit.core.goal import SLO
from cloudbandit.core.offer import Offer
from cloudbandit.recommend.answer import Answer, Recommendation
from cloudbandit.recommend.beliefs import Beliefs
from cloudbandit.recommend.decision import (
    Choices,
    choose,
    confident_load,
    expected_regret,
    ok_loads,
    probability,
    utilities,
)
from cloudbandit.recommend.source import ACCEPT_TIME

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MEDIAN, LIKELY = 0.5, "likely"
STEPS = (0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Probabilities that ``likely`` tries, the highest first. On measured deployments of families left out, 0.7 was as good as any
rule that was tried and better than the median (docs/recommender-results.md), and it is a promise that can be read."""
MANY_MACHINES = 1_000
"""More than any cloud rents out of one type in a region without having been asked."""


def parse_risk(risk: str | float) -> str | float:
    """``"median"``, ``"utility"``, ``"likely"`` (0.7, or the highest tenth that any offer reaches), or the probability with which
    the SLOs must be met.

    Raises:
        UsageError: none of these.
    """
    if risk in ("median", "utility", LIKELY):
        return MEDIAN if risk == "median" else risk
    try:
        p = float(risk)
    except ValueError:
        p = math.nan
    if not 0 < p < 1:
        raise UsageError(
            f"risk is {risk!r}; allowed: median, utility, likely, or a probability between 0 and 1 such as 0.9"
        )
    return p


def settled(risk: str | float, ok: Bools) -> str | float:
    """``likely`` as the probability it comes to: the first of `STEPS` that anything reaches; another risk as it is.

    Args:
        ok: (samples, profiles, loads), prefix-closed.
    """
    if risk != LIKELY:
        return risk
    most = probability(ok)[:, 0].max(initial=0.0)  # no load is likelier than the least
    return next((step for step in STEPS if most >= step - 1e-12), STEPS[-1])


def rank(
    beliefs: Beliefs, offers: Sequence[ServingOffer], choices: Choices, risk: str | float, notes: Sequence[str]
) -> Answer:
    """The offers that meet the SLOs at a risk, best first.

    Args:
        choices: the offers', over the profiles of the beliefs.
        risk: see `parse_risk`.
        notes: what the reader must know besides.
    """
    name, users, slos, engine = beliefs.model.name, beliefs.users, beliefs.slos, beliefs.source.engine
    if not offers:
        return Answer(name, users, slos, [], f"{name} runs on none of the offers", notes, 1.0, engine)
    ok = beliefs.ok()
    level = settled(risk, ok)
    ranking = _Ranking(beliefs, probability(ok), MEDIAN if level == "utility" else float(level))
    value = utilities(ok, choices, beliefs.loads, users) if level == "utility" else None
    confident = confident_load(ranking.p, ranking.wanted)
    places: list[tuple[tuple[float, ...], int, int]] = []
    for i, offer in enumerate(offers):
        row = int(choices.row[i])
        column = int(confident[row]) if value is None else int(np.argmax(value[i].round(12)))
        if column < 0 or (value is not None and value[i, column] <= 0):
            continue
        first = 0.0 if value is None else -float(value[i, column].round(9))
        per_machine = offer.engines * beliefs.loads[column]
        usd_per_h = float(replicas_for(users, per_machine)) * offer.usd_per_h
        places.append(((first, round(usd_per_h, 9), -float(per_machine), float(i)), i, column))
    best: dict[Offer, tuple[int, int]] = {}
    for _, i, column in sorted(places):  # of the layouts of one machine the best
        best.setdefault(offers[i].machine, (i, column))
    ranked = [ranking.entry(offers[i], int(choices.row[i]), column) for i, column in best.values()]
    decision = choose(ok, choices, beliefs.loads, users, level)
    unsure = [_unsure(level)] if risk == LIKELY and level != STEPS[0] and ranked else []
    return Answer(
        name,
        users,
        slos,
        ranked,
        "" if ranked else ranking.why_not(),
        [*unsure, *_stand_ins(beliefs), *notes, *_too_many(ranked)],
        expected_regret(ok, choices, beliefs.loads, users, decision),
        engine,
        None if level == "utility" else float(level),
    )


def _unsure(level: str | float) -> str:
    return f"nothing meets the SLOs with probability {STEPS[0]:g}; these do with {level:g}. measure, or loosen an SLO"


def _too_many(ranking: Sequence[Recommendation]) -> list[str]:
    """A note where nobody could rent out the answer."""
    machines = ranking[0].replicas if ranking else 0
    if machines <= MANY_MACHINES:
        return []
    return [
        f"{machines:,} machines of one type are more than a region has: check the number of users (requests in flight at once), "
        "ask the provider for a quota, or split the users over regions and offers"
    ]


def _stand_ins(beliefs: Beliefs) -> list[str]:
    """A note per SLO that another metric answers."""
    out = []
    for metric in dict.fromkeys(s.metric for s in beliefs.slos):
        names = beliefs.answered_by(metric)
        others = sum(any(name != metric for name in row) for row in names)
        if others:
            (other,) = {name for row in names for name in row} - {metric}
            where = "" if others == len(names) else f", on {others} of {len(names)} GPU profiles"
            out.append(f"{metric} is answered by {other}{where}: it leaves out {ACCEPT_TIME}")
    return out


@dataclass(frozen=True)
class _Ranking:
    """``p``: (profiles, loads), the probability that the SLOs are met; ``wanted``: how probable that must be."""

    beliefs: Beliefs
    p: Floats
    wanted: float
    _summaries: dict[tuple[str, int, int], tuple[float, tuple[float, float]]] = field(default_factory=dict, repr=False)

    def entry(self, offer: ServingOffer, row: int, column: int) -> Recommendation:
        b = self.beliefs
        per_machine = offer.engines * b.loads[column]
        replicas = int(replicas_for(b.users, per_machine))
        load = math.ceil(b.users / (replicas * offer.engines))
        at = min(int(np.searchsorted(b.loads, load)), column)
        answered_by = {s.metric: b.answered_by(s.metric)[row][at] for s in b.slos}
        medians, intervals = {}, {}
        for metric, name in answered_by.items():
            medians[name], intervals[name] = self._summary(metric, name, row, at)
        tokens, _ = self._summary(TOKENS, TOKENS, row, at)  # of an engine
        known = tokens > 0 and math.isfinite(tokens)
        return Recommendation(
            offer,
            replicas,
            per_machine,
            load,
            replicas * offer.usd_per_h,
            offer.usd_per_h / offer.engines / (tokens * 3600) * 1e6 if known else None,
            float(self.p[row, at]),
            self._binding(row, column),
            "measured" if self._was_measured(row, at) else "predicted",
            medians,
            intervals,
            answered_by,
            "; ".join([b.source.basis(b.model, offer.profile, b.measured), *self._derived(row, at)]),
        )

    def _summary(self, metric: str, name: str, row: int, at: int) -> tuple[float, tuple[float, float]]:
        """Median and interval; kept, for many offers run one profile."""
        key = (metric, row, at)
        if key not in self._summaries:
            drawn = self.beliefs.samples()[metric][:, row, at]
            self._summaries[key] = float(np.median(drawn)), self._interval(name, drawn)
        return self._summaries[key]

    def _interval(self, metric: str, drawn: Floats) -> tuple[float, float]:
        if len(drawn) == 1 or np.ptp(drawn) == 0:
            return float(drawn[0]), float(drawn[0])
        low, _, high = self.beliefs.interval(metric, drawn)
        return float(low), float(high)

    def _derived(self, row: int, at: int) -> list[str]:
        """SLO metrics that follow from others here."""
        names = [s.metric for s in self.beliefs.slos if np.isnan(self.beliefs.known(s.metric)[row, at])]
        return [f"{name} by its {how}" for name in names if (how := self.beliefs.source.follows(name))]

    def _was_measured(self, row: int, column: int) -> bool:
        return all(self.beliefs.known_to_meet(s)[row, : column + 1].all() for s in self.beliefs.slos)

    def _binding(self, row: int, column: int) -> str:
        if column + 1 == len(self.beliefs.loads):
            return f"none up to {self.beliefs.loads[-1]} users"
        met = [self._share_met(s, row, column + 1) for s in self.beliefs.slos]
        return str(self.beliefs.slos[int(np.argmin(met))])

    def _share_met(self, slo: SLO, row: int, column: int) -> float:
        values = self.beliefs.samples()[slo.metric][:, row]
        return float(meets(slo, values, self.beliefs.loads, self.beliefs.users)[:, column].mean())

    def why_not(self) -> str:
        """The binding SLO, and the best that is attainable of it."""
        b = self.beliefs
        each = {s: probability(ok_loads(b.samples(), [s], b.loads, b.users)).max() for s in b.slos}
        alone = [s for s in b.slos if each[s] < self.wanted]
        parts = []
        for slo in alone or sorted(b.slos, key=lambda s: each[s])[:2]:
            whole = of_the_fleet(slo.metric, b.samples()[slo.metric], b.loads, b.users)
            middle = np.median(whole, axis=0)
            if np.isnan(middle).all():
                parts.append(f"{slo}: it was not measured")
                continue
            best = np.unravel_index(int(np.nanargmin(middle) if slo.at_most else np.nanargmax(middle)), middle.shape)
            where = f"{b.profiles[int(best[0])]} at {b.loads[int(best[1])]} users per engine"
            sure = f" with probability {self.wanted:g} (at most {each[slo]:.2g})" if 0 < each[slo] < self.wanted else ""
            parts.append(f"{slo}{sure}: the best attainable is {float(middle[best]):.4g} ({where})")
        if alone:
            return "no offer meets " + "; ".join(parts)
        return "each SLO can be met, but no offer meets them together; the hardest two are " + "; ".join(parts)
