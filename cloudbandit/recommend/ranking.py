"""Beliefs and a risk, turned into an answer: which machines, how many, what they cost, what binds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
from cloudbandit.surrogate.model import from_log, to_log

Floats = npt.NDArray[np.float64]

MEDIAN = 0.5
ACCEPT_TIME = "the accept time, whose median is 4 to 140 ms in LLM-Pilot's load tests"
MANY_MACHINES = 1_000
"""More than any cloud rents out of one type in a region without having been asked."""
_NORMAL_80 = 1.2815515655446004
"""Half the width of a normal's central 80 %, in standard deviations."""


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


def rank(
    beliefs: Beliefs, offers: Sequence[ServingOffer], choices: Choices, risk: str | float, notes: Sequence[str]
) -> Answer:
    """The offers that meet the SLOs at a risk, best first.

    Args:
        choices: the offers', over the profiles of the beliefs.
        risk: see `parse_risk`.
        notes: what the reader must know besides.
    """
    name, users, slos = beliefs.model.name, beliefs.users, beliefs.slos
    if not offers:
        return Answer(name, users, slos, [], f"{name} runs on none of the offers", notes, 1.0)
    ok = beliefs.ok()
    ranking = _Ranking(beliefs, probability(ok), MEDIAN if risk == "utility" else float(risk))
    value = utilities(ok, choices, beliefs.loads, users) if risk == "utility" else None
    confident = confident_load(ranking.p, ranking.wanted)
    ranked: list[tuple[tuple[float, ...], Recommendation]] = []
    for i, offer in enumerate(offers):
        row = int(choices.row[i])
        column = int(confident[row]) if value is None else int(np.argmax(value[i].round(12)))
        if column < 0 or (value is not None and value[i, column] <= 0):
            continue
        first = 0.0 if value is None else -float(value[i, column].round(9))
        r = ranking.entry(offer, row, column)
        ranked.append(((first, round(r.usd_per_h, 9), -float(r.users_per_replica), float(i)), r))
    ranked.sort(key=lambda pair: pair[0])
    best: dict[Offer, Recommendation] = {}
    for _, r in ranked:  # of the layouts of one machine the best
        best.setdefault(r.offer.machine, r)
    decision = choose(ok, choices, beliefs.loads, users, risk)
    return Answer(
        name,
        users,
        slos,
        list(best.values()),
        "" if best else ranking.why_not(),
        [*_stand_ins(beliefs), *notes, *_too_many(list(best.values()))],
        expected_regret(ok, choices, beliefs.loads, users, decision),
    )


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

    def entry(self, offer: ServingOffer, row: int, column: int) -> Recommendation:
        b = self.beliefs
        per_machine = offer.engines * b.loads[column]
        replicas = int(replicas_for(b.users, per_machine))
        load = math.ceil(b.users / (replicas * offer.engines))
        at = min(int(np.searchsorted(b.loads, load)), column)
        samples = b.samples()
        answered_by = {s.metric: b.answered_by(s.metric)[row][at] for s in b.slos}
        medians, intervals = {}, {}
        for metric, name in answered_by.items():
            drawn = samples[metric][:, row, at]
            medians[name] = float(np.median(drawn))
            intervals[name] = self._interval(name, drawn)
        tokens = float(np.median(samples[TOKENS][:, row, at]))  # of an engine, in the median
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
            "measured" if self._was_measured(row, column) else "predicted",
            medians,
            intervals,
            answered_by,
        )

    def _interval(self, metric: str, drawn: Floats) -> tuple[float, float]:
        """Central 80 %, calibrated like `Surrogate.half_width`."""
        if len(drawn) == 1 or np.ptp(drawn) == 0:
            return float(drawn[0]), float(drawn[0])
        low, middle, high = np.quantile(to_log(metric, drawn), [0.1, 0.5, 0.9])
        scale = self.beliefs.surrogate.half_width(metric, 0.8) / _NORMAL_80
        ends = from_log(metric, np.array([middle + scale * (low - middle), middle + scale * (high - middle)]))
        return float(ends[0]), float(ends[1])

    def _was_measured(self, row: int, column: int) -> bool:
        return all(np.isfinite(self.beliefs.known(s.metric)[row, : column + 1]).all() for s in self.beliefs.slos)

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
            parts.append(f"{slo}: the best attainable is {float(middle[best]):.4g} ({where})")
        if alone:
            return "no offer meets " + "; ".join(parts)
        return "each SLO can be met, but no offer meets them together; the hardest two are " + "; ".join(parts)
