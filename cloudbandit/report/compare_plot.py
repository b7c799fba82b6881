"""Figures of a comparison: regret against budget, ranks, savings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudbandit.replay.rows import FrontRow, Row
from cloudbandit.report.comparison import below_zero, curves, ranks, savings
from cloudbandit.report.figure import QUIET, caption, figure_of, headline, percent_axis, save
from cloudbandit.report.styles import styles

_TOLD = "* was told of recorded workloads beforehand: an upper limit or a control."


def plot_compare(rows: Sequence[Row], title: str, path: Path) -> None:
    """Mean regret, or hypervolume share, against budget: a line per optimizer, a band for the 95 % interval."""
    shown = curves(rows)
    looks = styles(row.optimizer for row in rows)
    told = {row.optimizer for row in rows if row.learns_from}
    figure, axes = figure_of(10, 6 if len(shown) > 6 else 5)
    for curve in shown:
        look = looks[curve.optimizer]
        colour = look.colour
        axes.fill_between(curve.budgets, curve.low, curve.high, color=colour, alpha=0.08, linewidth=0)
        axes.plot(
            curve.budgets,
            curve.mean,
            color=colour,
            linestyle=look.line,
            linewidth=2.2 if look.line == "-" else 1.5,
            marker=look.marker,
            markersize=6,
            markerfacecolor=colour if look.filled else "white",
            label=curve.optimizer + (" *" if curve.optimizer in told else ""),
        )
    front = isinstance(rows[0], FrontRow)
    if front:
        axes.set_ylim(top=1.0)
        axes.set_ylabel("mean hypervolume, as a share of the true front's")
    else:
        _regret_axis(axes, [v for c in shown for v in (*c.mean, *c.low, *c.high)])
    budgets = sorted({row.budget for row in rows})
    axes.set_xticks(budgets if len(budgets) <= 12 else budgets[:: len(budgets) // 12 + 1])
    axes.set_xlabel("budget [trials]")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9, frameon=False, handlelength=3.2)
    headline(figure, title)
    small = f"n = {rows[0].n} runs per point; bands: 95 % bootstrap interval of the mean. {'' if front else below_zero(rows)}"
    caption(figure, f"{small} {_TOLD if told else ''}", 125)
    save(figure, path)


def _regret_axis(axes: Any, values: Sequence[float]) -> None:
    """Logarithmic above 1 %, linear around 0, where most methods end up."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_yscale("symlog", linthresh=1.0, linscale=0.6)
    ticks = [0.0, *(m * 10.0**e for e in range(6) for m in (1, 2, 5))]
    low = min(values)
    if low < 0:
        ticks = [*(-t for t in reversed(ticks[1:]) if t <= -2 * low), *ticks]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    percent_axis(axes.yaxis)
    axes.set_ylim(1.15 * low - 0.08 if low < 0 else 0, 1.2 * max(1.0, *values))
    axes.axhline(0, color=QUIET, linewidth=0.8)
    axes.set_ylabel("mean regret against the optimum")


def plot_ranks(rows: Sequence[Row], tasks: int, title: str, path: Path) -> None:
    """Mean ranks at the smallest budget; the best first, shaded what lies within Nemenyi's critical difference of it."""
    found = ranks(rows, tasks)
    looks = styles(row.optimizer for row in rows)
    figure, axes = figure_of(8, 1.5 + 0.27 * len(found.bars))
    best = found.bars[0].value
    axes.axvspan(best, best + found.reach, color="#EEF2F7", zorder=0)
    for y, bar in enumerate(found.bars):
        look = looks[bar.optimizer]
        axes.hlines(y, 1, bar.value, color="#E3E5E8", linewidth=1.5)
        face = look.colour if found.within(bar) else "white"
        axes.plot([bar.value], [y], look.marker, color=look.colour, markerfacecolor=face, markersize=7)
    _named(axes, [bar.label for bar in found.bars])
    axes.set_xlim(1, None)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("mean rank (1: best on every task)")
    headline(figure, f"{title}, B = {found.budget}")
    text = f"{tasks} tasks. Shaded and filled: within the critical difference, {found.reach:.2f}, of the best; not told apart."
    caption(figure, f"{text} {_TOLD if any(b.told for b in found.bars) else ''}", 105)
    save(figure, path)


def plot_savings(rows: Sequence[Row], budget: int, title: str, path: Path) -> None:
    """Mean savings at one budget with their 95 % intervals, the largest first."""
    bars = savings(rows, budget)
    looks = styles(row.optimizer for row in rows)
    figure, axes = figure_of(8, 1.5 + 0.27 * len(bars))
    for y, bar in enumerate(bars):
        colour = looks[bar.optimizer].colour
        hatch = "////" if bar.told else None
        axes.barh([y], [bar.value], height=0.72, color=colour, alpha=0.85, hatch=hatch, edgecolor="white", linewidth=0)
        if bar.interval is not None:
            low, high = bar.interval
            axes.hlines(y, low, high, color="black", linewidth=1.2)
            axes.plot([low, high], [y, y], "|", color="black", markersize=6)
    axes.axvline(0, color=QUIET, linewidth=0.8)
    percent_axis(axes.xaxis)
    _named(axes, [bar.label for bar in bars])
    axes.set_xlabel("mean savings against random configs, the search included")
    headline(figure, f"{title}, B = {budget}")
    told = f"Hatched, {_TOLD}" if any(b.told for b in bars) else ""
    caption(figure, f"Lines: 95 % bootstrap interval of the mean. {told}", 105)
    save(figure, path)


def _named(axes: Any, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels, fontsize=9, color="black")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
