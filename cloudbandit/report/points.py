"""What the figures of a study show: every trial that ran, and why one is no answer, before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloudbandit.core.goal import SLO, Goal
from cloudbandit.core.report import Report
from cloudbandit.core.trial import Observation
from cloudbandit.report.figure import slo_title

SEVERAL = "violates several SLOs"
NOT_COUNTED = "ran, and is no answer"


@dataclass(frozen=True, slots=True)
class Point:
    """One trial that has a value of every metric shown.

    Attributes:
        number: of the trial, from 1.
        values: in the order of the metrics asked for.
        verdict: ``""`` where it met every SLO; else which one it violates, or `SEVERAL`.
    """

    number: int
    arm: str
    values: tuple[float, ...]
    verdict: str


def points(report: Report, goal: Goal, metrics: Sequence[str]) -> list[Point]:
    """The trials that have all these metrics, in the order told."""
    return [
        Point(n, o.arm, tuple(o.result.metrics[m] for m in metrics), verdict(o, goal.slos))
        for n, o in enumerate(report.observations, start=1)
        if all(m in o.result.metrics for m in metrics)
    ]


def verdict(o: Observation, slos: Sequence[SLO]) -> str:
    """See `Point`."""
    if o.score is not None and o.score.feasible:
        return ""
    broken = [slo for slo in slos if slo.violation(o.result.metrics) > 0]
    if len(broken) > 1:
        return SEVERAL
    return f"violates {slo_title(broken[0])}" if broken else NOT_COUNTED


def without(report: Report, metrics: Sequence[str]) -> list[int]:
    """The numbers of the trials that lack one of the metrics: most failed."""
    return [n for n, o in enumerate(report.observations, start=1) if not all(m in o.result.metrics for m in metrics)]


def verdicts(found: Sequence[Point], slos: Sequence[SLO]) -> list[str]:
    """Those that occur, in the order of the SLOs."""
    order = ["", *(f"violates {slo_title(slo)}" for slo in slos), SEVERAL, NOT_COUNTED]
    return [text for text in dict.fromkeys(order) if any(p.verdict == text for p in found)]
