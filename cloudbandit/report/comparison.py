"""What the figures of a comparison show, before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloudbandit.replay.rows import CompareRow, FrontRow, Row
from cloudbandit.replay.statistics import critical_difference


@dataclass(frozen=True, slots=True)
class Curve:
    """One method over the budgets: its mean and the 95 % interval of it, ``[low, high]``."""

    optimizer: str
    budgets: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def curves(rows: Sequence[Row]) -> list[Curve]:
    """Mean regret in percent, or hypervolume share; the best at the smallest budget first."""
    out = []
    for name in dict.fromkeys(row.optimizer for row in rows):
        mine = sorted((row for row in rows if row.optimizer == name), key=lambda row: row.budget)
        mean = tuple(r.mean_hypervolume_share if isinstance(r, FrontRow) else r.mean_regret_percent for r in mine)
        low, high = zip(*(r.ci95 for r in mine), strict=True)
        out.append(Curve(name, tuple(r.budget for r in mine), mean, low, high))
    sign = -1 if isinstance(rows[0], FrontRow) else 1
    return sorted(out, key=lambda curve: (sign * curve.mean[0], curve.optimizer))


def below_zero(rows: Sequence[Row]) -> str:
    """Why a regret is below 0, where one is."""
    if any(isinstance(r, CompareRow) and r.mean_regret_percent < 0 for r in rows):
        return (
            "Below 0: a failed run is charged for its time, and on some workload that is less than the best success costs. "
            "The answer of a study is never such a run."
        )
    return ""


@dataclass(frozen=True, slots=True)
class Bar:
    """One method's figure and its 95 % interval, None where unknown; ``told``: of recorded workloads beforehand."""

    optimizer: str
    value: float
    interval: tuple[float, float] | None
    told: bool

    @property
    def label(self) -> str:
        return self.optimizer + (" *" if self.told else "")


def savings(rows: Sequence[Row], budget: int) -> list[Bar]:
    """Mean savings in percent at one budget, the largest first; nothing where nothing is saved."""
    found = [
        Bar(row.optimizer, row.mean_savings_percent, row.savings_ci95, bool(row.learns_from))
        for row in rows
        if isinstance(row, CompareRow) and row.budget == budget and row.mean_savings_percent is not None
    ]
    return sorted(found, key=lambda bar: (-bar.value, bar.optimizer))


@dataclass(frozen=True, slots=True)
class Ranks:
    """Mean ranks at one budget, the best first, and Nemenyi's critical difference."""

    budget: int
    bars: tuple[Bar, ...]
    reach: float

    def within(self, bar: Bar) -> bool:
        """Not told apart from the best."""
        return bar.value <= self.bars[0].value + self.reach


def ranks(rows: Sequence[Row], tasks: int) -> Ranks:
    """At the smallest budget, where methods differ most."""
    budget = min(row.budget for row in rows)
    bars = [Bar(r.optimizer, r.mean_rank, None, bool(r.learns_from)) for r in rows if r.budget == budget]
    best_first = tuple(sorted(bars, key=lambda bar: (bar.value, bar.optimizer)))
    return Ranks(budget, best_first, critical_difference(len(bars), tasks))
