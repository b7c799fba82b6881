"""Trials as points: the arm is the colour; filled is an answer, hollow is not, and its shape says which SLO it violates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cloudbandit.core.goal import SLO, Goal
from cloudbandit.report.figure import MEETS, QUIET, legend_below, slo_title
from cloudbandit.report.points import NOT_COUNTED, SEVERAL, Point, verdicts
from cloudbandit.report.styles import arm_colour

_SHAPES = (">", "^", "s", "P", "h")


def shape(verdict: str, slos: Sequence[SLO]) -> str:
    """A marker per SLO violated alone, one for several, one for none."""
    special = {"": "o", SEVERAL: "X", NOT_COUNTED: "."}
    if verdict in special:
        return special[verdict]
    position = [f"violates {slo_title(slo)}" for slo in slos].index(verdict)
    return _SHAPES[position % len(_SHAPES)]


def scatter(
    axes: Any,
    found: Sequence[Point],
    goal: Goal,
    arms: Sequence[str],
    at: Callable[[Point], tuple[float, float]],
    size: float = 34,
) -> None:
    for position, arm in enumerate(arms):
        colour = arm_colour(position)
        for verdict in verdicts(found, goal.slos):
            some = [at(p) for p in found if p.arm == arm and p.verdict == verdict]
            axes.scatter(
                [x for x, _ in some],
                [y for _, y in some],
                s=size,
                marker=shape(verdict, goal.slos),
                edgecolors=colour if verdict else "white",
                facecolors="none" if verdict else colour,
                linewidths=1.1 if verdict else 0.6,
                zorder=2.5 if verdict else 3,
            )


def key(figure: Any, axes: Any, found: Sequence[Point], goal: Goal, arms: Sequence[str]) -> None:
    """The legend, below: what was drawn with a label, then colours, then shapes."""
    lines = len(axes.get_legend_handles_labels()[1])
    for position, arm in enumerate(arms):
        axes.scatter([], [], s=40, color=arm_colour(position), label=arm)
    for verdict in verdicts(found, goal.slos):
        label = verdict or "meets every SLO" * bool(goal.slos)
        if label:
            face = "none" if verdict else QUIET
            axes.scatter([], [], s=40, marker=shape(verdict, goal.slos), edgecolors=QUIET, facecolors=face, label=label)
    shapes = len(axes.get_legend_handles_labels()[1]) - lines - len(arms)
    legend_below(figure, axes, [lines, len(arms), shapes])


def limit(axes: Any, slo: SLO, which: str) -> None:
    """The SLO's limit, and shaded the side that meets it; after the scale of the axis was set."""
    low, high = getattr(axes, f"get_{which}lim")()
    span, line = (axes.axvspan, axes.axvline) if which == "x" else (axes.axhspan, axes.axhline)
    inside = (low, min(max(slo.limit, low), high)) if slo.at_most else (max(min(slo.limit, high), low), high)
    span(*inside, color=MEETS, zorder=0, linewidth=0)
    if low <= slo.limit <= high:
        line(slo.limit, color="#2F6B4F", linewidth=1.2)
    getattr(axes, f"set_{which}lim")(low, high)
