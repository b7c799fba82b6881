"""What the figure of a recommendation shows: per offer what a fleet costs and how it answers at each load, before anything is
drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cloudbandit.core.curve import replicas_for
from cloudbandit.core.goal import SLO
from cloudbandit.core.metrics import FAILURES
from cloudbandit.recommend.advisor import Advisor
from cloudbandit.recommend.answer import Answer, Recommendation

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Line:
    """One choice of the ranking against one SLO.

    Attributes:
        usd_per_h, values: of the whole fleet, and the SLO's metric in the median, one entry per load of an engine, the least
            first; only where both are known.
        chosen: USD per hour and median at the load that is recommended.
        interval: the central 80 % predictive interval there; a point where it was measured.
    """

    label: str
    usd_per_h: Floats
    values: Floats
    chosen: tuple[float, float]
    interval: tuple[float, float]


def shown_slos(answer: Answer) -> list[SLO]:
    """A panel each: all but those on failures, unless there are no others."""
    return [s for s in answer.slos if s.metric not in FAILURES] or list(answer.slos)


def lines(advisor: Advisor, answer: Answer, slo: SLO, top: int) -> list[Line]:
    """The first ``top`` choices, best first."""
    return [
        _line(advisor, answer, r, f"{position}. {_name(r, regions)}", slo)
        for position, (r, regions) in enumerate(answer.choices()[:top], start=1)
    ]


def _line(advisor: Advisor, answer: Answer, r: Recommendation, label: str, slo: SLO) -> Line:
    curve = advisor.curve(r.offer)
    usd = replicas_for(answer.users, curve.engines * np.array(curve.loads)) * curve.usd_per_h
    values = np.asarray(curve.values(slo.metric), float)
    known = np.isfinite(usd) & np.isfinite(values)
    name = r.answered_by[slo.metric]
    return Line(label, usd[known], values[known], (r.usd_per_h, r.medians[name]), r.intervals[name])


def _name(r: Recommendation, regions: list[str]) -> str:
    """The instance, and what one engine runs on."""
    machine = replace(r.offer.machine, region="").name if regions[0] else r.offer.name
    profile = str(r.offer.profile)
    engines = f"{r.offer.engines} × ({profile})" if r.offer.engines > 1 else profile
    return machine if machine.endswith(profile) else f"{machine}: {engines}"
